//! An owner of the embedded store that lets another process open it.

use super::*;

#[test]
fn an_owner_that_releases_continues_as_a_client_without_an_error() {
    const CLIENTS: u64 = 4;
    const INCREMENTS: u64 = 40;
    let add = || Operation::Increment("n".into(), 1);
    let place = embedded("embedded");
    let owner = Store::new(&place.options, Limits::default());
    ask(&owner, add()).expect("added");
    let next = Store::new(&place.options, Limits::default());
    next.open();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            for store in [&owner, &next] {
                scope.spawn(|| {
                    for _ in 0..INCREMENTS {
                        ask(store, add()).expect("added");
                    }
                });
            }
        }
        owner.release();
    });
    let expected = (1 + 2 * CLIENTS * INCREMENTS).to_string().into_bytes();
    for store in [&owner, &next] {
        assert_eq!(get(store, "n"), Some(expected.clone()));
    }
    owner.close();
    assert_eq!(get(&next, "n"), Some(expected));
}
