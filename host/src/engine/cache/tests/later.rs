//! Entries that are written after their programs are served.

use super::*;

#[test]
fn code_is_kept_when_its_program_is_served_and_mapped_anew_where_it_is_long() {
    let Fixture {
        above: _above,
        cache,
        ..
    } = Fixture::new();
    let cache = Arc::new(cache);
    let entry = |name: &str| cache.entry(Version::from_content(name.as_bytes()));
    for (name, size, renewal) in [
        ("short", 100_000, Renewal::Unneeded),
        ("long", 2 << 20, Renewal::Recall),
    ] {
        let later = Later::default();
        let stored = cache.store_later(entry(name), &noise(name, size), &later);
        assert!(stored.is_none() && cache.read(&entry(name)).is_none());
        assert_eq!(later.run(), renewal);
        assert!(cache.read(&entry(name)).is_some());
    }
    // The number of programs that wait for the disk is limited.
    let waiting: Vec<Later> = (0..WRITES_LATER).map(|_| Later::default()).collect();
    for (number, later) in waiting.iter().enumerate() {
        let name = number.to_string();
        let stored = cache.store_later(entry(&name), &noise(&name, 10_000), later);
        assert!(stored.is_none());
    }
    let more = Later::default();
    let stored = cache.store_later(entry("more"), &noise("more", 10_000), &more);
    assert!(stored.is_some());
    drop(waiting);
    let again = cache.store_later(entry("again"), &noise("again", 10_000), &more);
    assert!(again.is_none());
}

#[test]
fn code_that_can_not_be_kept_later_is_served_on() {
    let fixture = Fixture::with(1 << 20);
    let cache = Arc::new(fixture.cache);
    let entry = cache.entry(Version::from_content(b"large"));
    let later = Later::default();
    let stored = cache.store_later(entry, &noise("large", 2 << 20), &later);
    assert!(stored.is_none());
    assert_eq!(later.run(), Renewal::Unneeded);
    assert!(cache.read(&entry).is_none());
}
