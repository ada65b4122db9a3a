//! Tests of whole stores. Each kind has the same semantics: the embedded one in its own process and
//! through its socket, and Redis.

mod release;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::operation::{MAX_BATCH_BYTES, MAX_BATCH_COUNT};
use super::*;

/// A store in a temporary place.
struct Place {
    kind: &'static str,
    options: StateOptions,
    redis: Option<Redis>,
    _folder: TempDir,
}

/// A Redis server. Dropping it kills it.
struct Redis {
    child: Child,
    folder: PathBuf,
}

impl Redis {
    /// Starts a server that writes each change to its disk before it replies. Returns `None` if the
    /// program is not installed.
    fn start(folder: &Path) -> Option<Self> {
        let folder = folder.to_owned();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "always", "--dir"])
            .arg(&folder)
            .arg("--unixsocket")
            .arg(folder.join("redis.sock"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self { child, folder };
        redis.wait();
        Some(redis)
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(self.folder.join("redis.sock")).is_err() {
            assert!(Instant::now() < until, "redis-server doesn't listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn embedded(kind: &'static str) -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    Place {
        kind,
        options: StateOptions {
            folder: Some(folder.path().join("state")),
            ..StateOptions::default()
        },
        redis: None,
        _folder: folder,
    }
}

/// Returns a place of each kind.
fn places() -> Vec<Place> {
    let mut places = vec![embedded("embedded"), embedded("through a socket")];
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("redis.sock");
    match Redis::start(folder.path()) {
        Some(redis) => places.push(Place {
            kind: "redis",
            options: StateOptions {
                url: Some(format!("unix://{}", socket.display())),
                ..StateOptions::default()
            },
            redis: Some(redis),
            _folder: folder,
        }),
        None => eprintln!("redis is not tested: install it with apt-get install redis-server"),
    }
    places
}

/// Calls `test` with a store of each kind.
fn with_each(test: impl Fn(&str, &Store, &Place)) {
    for place in places() {
        let store = Store::new(&place.options, Limits::default());
        let owner = Store::new(&place.options, Limits::default());
        if place.kind == "through a socket" {
            set(&owner, "first", b"");
            ask(&owner, Operation::Delete("first".into())).expect("deleted");
        }
        test(place.kind, &store, &place);
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(work)
}

fn bucket() -> BucketId {
    BucketId::of_handler("test", "default")
}

fn ask(store: &Store, operation: Operation) -> Result<Reply, Failure> {
    block_on(store.call(bucket(), operation))
}

#[track_caller]
fn set(store: &Store, key: &str, value: &[u8]) {
    let set = Operation::Set(key.into(), value.into());
    assert_eq!(ask(store, set), Ok(Reply::Done));
}

fn get(store: &Store, key: &str) -> Option<Vec<u8>> {
    match ask(store, Operation::Get(key.into())) {
        Ok(Reply::Value(value)) => value,
        other => panic!("{other:?}"),
    }
}

fn size(store: &Store) -> (u64, u64) {
    let Ok(Reply::Buckets(buckets)) = ask(store, Operation::Buckets) else {
        return (u64::MAX, u64::MAX);
    };
    let of = buckets
        .iter()
        .find(|of| of.bucket == bucket().as_str())
        .map(|of| (of.keys_count, of.bytes));
    of.unwrap_or((0, 0))
}

fn digest(value: &[u8]) -> Option<Digest> {
    Some(*blake3::hash(value).as_bytes())
}

#[test]
fn each_operation_has_the_same_result_in_each_store() {
    with_each(|kind, store, _| {
        let exists = |key: &str| ask(store, Operation::Exists(key.into()));
        assert_eq!(get(store, "a"), None, "{kind}");
        assert_eq!(exists("a"), Ok(Reply::Flag(false)), "{kind}");
        for (key, value) in [
            ("a", &b"one"[..]),
            ("", b"empty key"),
            ("b", b""),
            ("\0\u{ffff}", b"\0\xff"),
        ] {
            set(store, key, value);
            assert_eq!(get(store, key).as_deref(), Some(value), "{kind}: {key:?}");
            assert_eq!(exists(key), Ok(Reply::Flag(true)), "{kind}: {key:?}");
        }
        set(store, "a", b"two");
        assert_eq!(get(store, "a").as_deref(), Some(&b"two"[..]), "{kind}");
        let many = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let values = ask(store, Operation::GetMany(many(&["a", "none", "b"])));
        let expected = vec![Some(b"two".to_vec()), None, Some(Vec::new())];
        assert_eq!(values, Ok(Reply::Values(expected)), "{kind}");
        let none = ask(store, Operation::GetMany(Vec::new()));
        assert_eq!(none, Ok(Reply::Values(Vec::new())), "{kind}");
        for _ in 0..2 {
            let deleted = ask(store, Operation::Delete("a".into()));
            assert_eq!(deleted, Ok(Reply::Done), "{kind}");
            assert_eq!(exists("a"), Ok(Reply::Flag(false)), "{kind}");
        }
        let pairs = ["c", "d", "c"].map(|key| (key.to_owned(), key.as_bytes().to_vec()));
        let done = ask(store, Operation::SetMany(pairs.to_vec()));
        assert_eq!(done, Ok(Reply::Done), "{kind}");
        for empty in [
            Operation::SetMany(Vec::new()),
            Operation::DeleteMany(Vec::new()),
        ] {
            assert_eq!(ask(store, empty), Ok(Reply::Done), "{kind}");
        }
        let all = ask(store, Operation::Keys(None));
        let keys = many(&["", "\0\u{ffff}", "b", "c", "d"]);
        assert_eq!(all, Ok(Reply::Keys(keys, false)), "{kind}");
        let bytes = "empty key".len() + 4 + 2 + 1 + 2 + 2;
        assert_eq!(size(store), (5, bytes as u64), "{kind}");
        let gone = many(&["c", "none", "d", "", "b", "\0\u{ffff}", "c"]);
        let done = ask(store, Operation::DeleteMany(gone));
        assert_eq!(done, Ok(Reply::Done), "{kind}");
        assert_eq!(size(store), (0, 0), "{kind}");
        let none = ask(store, Operation::Keys(None));
        assert_eq!(none, Ok(Reply::Keys(Vec::new(), false)), "{kind}");
    });
}

#[test]
fn an_increment_adds_to_a_number_and_to_nothing_else() {
    with_each(|kind, store, _| {
        let add = |key: &str, delta| ask(store, Operation::Increment(key.into(), delta));
        assert_eq!(add("n", 5), Ok(Reply::Number(5)), "{kind}");
        assert_eq!(add("n", -7), Ok(Reply::Number(-2)), "{kind}");
        assert_eq!(get(store, "n").as_deref(), Some(&b"-2"[..]), "{kind}");
        set(store, "n", b"9223372036854775806");
        assert_eq!(add("n", 1), Ok(Reply::Number(i64::MAX)), "{kind}");
        let failure = add("n", 1).expect_err("beyond the range").0;
        assert!(failure.contains("range"), "{kind}: {failure}");
        set(store, "n", b"0");
        assert_eq!(add("n", i64::MIN), Ok(Reply::Number(i64::MIN)), "{kind}");
        for text in ["", "x", "1.5", " 1", "01", "+1", "9223372036854775808"] {
            set(store, "x", text.as_bytes());
            let failure = add("x", 1).expect_err(text).0;
            assert!(failure.contains("not a number"), "{kind}: {failure}");
            assert_eq!(get(store, "x").as_deref(), Some(text.as_bytes()), "{kind}");
        }
        let (count, bytes) = size(store);
        let expected = "n-9223372036854775808x9223372036854775808".len() as u64;
        assert_eq!((count, bytes), (2, expected), "{kind}");
    });
}

#[test]
fn a_swap_succeeds_only_if_the_value_is_the_expected_one() {
    with_each(|kind, store, _| {
        let swap = |expected, value: &[u8]| {
            ask(store, Operation::Swap("k".into(), expected, value.into()))
        };
        assert_eq!(swap(digest(b""), b"x"), Ok(Reply::Flag(false)), "{kind}");
        assert_eq!(swap(None, b""), Ok(Reply::Flag(true)), "{kind}");
        assert_eq!(swap(None, b"x"), Ok(Reply::Flag(false)), "{kind}");
        assert_eq!(swap(digest(b""), b"one"), Ok(Reply::Flag(true)), "{kind}");
        assert_eq!(swap(digest(b""), b"x"), Ok(Reply::Flag(false)), "{kind}");
        assert_eq!(
            swap(digest(b"one"), b"two"),
            Ok(Reply::Flag(true)),
            "{kind}"
        );
        assert_eq!(get(store, "k").as_deref(), Some(&b"two"[..]), "{kind}");
    });
}

#[test]
fn all_keys_of_a_large_bucket_are_listed_once_in_order_and_none_of_another() {
    with_each(|kind, store, _| {
        let other = |bucket, key: &str| {
            let set = Operation::Set(key.into(), Vec::new());
            block_on(store.call(bucket, set)).expect("set");
        };
        other(BucketId::of_handler("test", "defaul"), "z");
        other(BucketId::of_handler("test", "default0"), "a");
        other(BucketId::shared("default"), "a");
        let count = 2 * MAX_BATCH_COUNT + 1;
        let long = "x".repeat(900);
        let keys: Vec<String> = (0..count).map(|at| format!("{at:05}{long}")).collect();
        for keys in keys.chunks(500) {
            let pairs = keys.iter().map(|key| (key.clone(), b"v".to_vec()));
            let set = Operation::SetMany(pairs.collect());
            assert_eq!(ask(store, set), Ok(Reply::Done), "{kind}");
        }
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = ask(store, Operation::Keys(after));
            let Ok(Reply::Keys(keys, has_more)) = page else {
                panic!("{kind}: {page:?}");
            };
            let bytes: usize = keys.iter().map(String::len).sum();
            assert!(bytes <= 256 << 10, "{kind}: {bytes}");
            after = keys.last().cloned();
            listed.extend(keys);
            if !has_more {
                break;
            }
        }
        assert_eq!(listed, keys, "{kind}");
        // A cursor need not be a key.
        let rest = ask(store, Operation::Keys(Some("02000".into())));
        assert_eq!(
            rest,
            Ok(Reply::Keys(vec![keys[2000].clone()], false)),
            "{kind}"
        );
    });
}

#[test]
fn all_buckets_together_grow_to_their_limit_and_one_that_is_full_may_shrink() {
    with_each(|kind, store, _| {
        let limit_to = |total_bytes| {
            store.set_limits(Limits {
                total_bytes,
                ..Limits::default()
            });
        };
        limit_to(100);
        let other = || BucketId::of_handler("other", "default");
        let long = |key: &str, bytes| Operation::Set(key.into(), vec![b'1'; bytes]);
        let full = |result: Result<Reply, Failure>| {
            let text = result.expect_err("full").0;
            assert!(text.contains("state.total-size"), "{kind}: {text}");
        };
        assert_eq!(ask(store, long("a", 49)), Ok(Reply::Done), "{kind}");
        let ask_other = |operation| block_on(store.call(other(), operation));
        full(ask_other(long("a", 50)));
        assert_eq!(ask_other(long("a", 49)), Ok(Reply::Done), "{kind}");
        full(ask_other(Operation::Increment("n".into(), 1)));
        full(ask(store, Operation::Swap("b".into(), None, vec![])));
        full(ask(store, Operation::SetMany(vec![("b".into(), vec![1])])));
        // What shrinks one makes room for the other, also when the limit is lower.
        limit_to(90);
        assert_eq!(ask(store, long("a", 48)), Ok(Reply::Done), "{kind}");
        full(ask_other(long("a", 50)));
        assert_eq!(
            ask(store, Operation::Delete("a".into())),
            Ok(Reply::Done),
            "{kind}"
        );
        assert_eq!(ask_other(long("a", 89)), Ok(Reply::Done), "{kind}");
        full(ask(store, long("a", 0)));
    });
}

#[test]
fn a_bucket_grows_to_its_limits_and_a_batch_is_executed_as_a_whole_or_not() {
    with_each(|kind, store, _| {
        store.set_limits(Limits {
            keys_count: 3,
            bucket_bytes: 40,
            ..Limits::default()
        });
        let failure = |operation| ask(store, operation).expect_err("too much").0;
        let pairs = |count: usize, bytes: usize| {
            let pairs = (0..count).map(|at| (at.to_string(), vec![b'7'; bytes]));
            Operation::SetMany(pairs.collect())
        };
        assert!(failure(pairs(4, 1)).contains("state.keys"), "{kind}");
        assert!(
            failure(pairs(3, 13)).contains("state.bucket-size"),
            "{kind}"
        );
        assert_eq!(size(store), (0, 0), "{kind}");
        assert_eq!(ask(store, pairs(3, 12)), Ok(Reply::Done), "{kind}");
        let long = |key: &str, bytes| Operation::Set(key.into(), vec![0; bytes]);
        assert!(failure(long("new", 0)).contains("state.keys"), "{kind}");
        assert!(
            failure(long("1", 14)).contains("state.bucket-size"),
            "{kind}"
        );
        let new = Operation::Increment("new".into(), 1);
        assert!(failure(new).contains("state.keys"), "{kind}");
        let swap = Operation::Swap("new".into(), None, Vec::new());
        assert!(failure(swap).contains("state.keys"), "{kind}");
        assert_eq!(size(store), (3, 39), "{kind}");
        assert_eq!(ask(store, long("1", 13)), Ok(Reply::Done), "{kind}");
        assert_eq!(ask(store, long("2", 1)), Ok(Reply::Done), "{kind}");
        // An increment that makes its number longer than there is room for.
        let limit_to = |bucket_bytes| {
            store.set_limits(Limits {
                keys_count: 3,
                bucket_bytes,
                ..Limits::default()
            });
        };
        limit_to(29);
        set(store, "2", b"9");
        let longer = Operation::Increment("2".into(), 1);
        assert!(failure(longer).contains("state.bucket-size"), "{kind}");
        assert_eq!(get(store, "2").as_deref(), Some(&b"9"[..]), "{kind}");
        // Above lowered limits, it may shrink and not grow.
        limit_to(5);
        assert_eq!(ask(store, long("1", 12)), Ok(Reply::Done), "{kind}");
        assert!(
            failure(long("1", 13)).contains("state.bucket-size"),
            "{kind}"
        );
        assert_eq!(
            ask(store, Operation::Delete("1".into())),
            Ok(Reply::Done),
            "{kind}"
        );
    });
}

#[test]
fn the_values_of_a_batch_are_limited_together() {
    with_each(|kind, store, _| {
        let value = vec![1; 1 << 20];
        let keys: Vec<String> = (0..5).map(|at| at.to_string()).collect();
        for key in &keys {
            set(store, key, &value);
        }
        let failed = ask(store, Operation::GetMany(keys.clone())).expect_err("too much");
        let limit = MAX_BATCH_BYTES.to_string();
        assert!(failed.0.contains(&limit), "{kind}: {failed}");
        let values = ask(store, Operation::GetMany(keys[1..].to_vec()));
        let expected = vec![Some(value); 4];
        assert!(values == Ok(Reply::Values(expected)), "{kind}");
    });
}

#[test]
fn no_increment_of_many_clients_and_processes_is_lost() {
    const CLIENTS: usize = 20;
    const INCREMENTS: usize = 50;
    for place in places() {
        let stores = [(); 3].map(|()| Store::new(&place.options, Limits::default()));
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let store = &stores[client % stores.len()];
                scope.spawn(move || {
                    for _ in 0..INCREMENTS {
                        let add = Operation::Increment("n".into(), 1);
                        assert!(matches!(ask(store, add), Ok(Reply::Number(_))));
                    }
                });
            }
        });
        let count = (CLIENTS * INCREMENTS).to_string();
        for store in &stores {
            assert_eq!(get(store, "n"), Some(count.clone().into_bytes()));
        }
    }
}

#[test]
fn an_owner_that_closes_hands_over_without_an_error() {
    const ROUNDS: u64 = 10;
    const CLIENTS: u64 = 8;
    const INCREMENTS: u64 = 20;
    let add = || Operation::Increment("n".into(), 1);
    for round in 0..ROUNDS {
        let place = embedded("embedded");
        let owner = Store::new(&place.options, Limits::default());
        ask(&owner, add()).expect("added");
        let next = Store::new(&place.options, Limits::default());
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    for _ in 0..INCREMENTS {
                        ask(&next, add()).expect("added");
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(round));
            owner.close();
        });
        let failure = ask(&owner, add()).expect_err("it is closed").0;
        assert_eq!(failure, "the server is stopping");
        let expected = (1 + CLIENTS * INCREMENTS).to_string().into_bytes();
        assert_eq!(get(&next, "n"), Some(expected.clone()));
        next.close();
        let last = Store::new(&place.options, Limits::default());
        assert_eq!(get(&last, "n"), Some(expected));
    }
}

#[test]
fn a_store_that_is_not_available_is_an_error_without_its_address_and_works_again_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("redis.sock");
    let options = StateOptions {
        url: Some(format!("unix://{}", socket.display())),
        ..StateOptions::default()
    };
    let store = Store::new(&options, Limits::default());
    let failure = ask(&store, Operation::Get("a".into()))
        .expect_err("not there")
        .0;
    assert_eq!(failure, Failure::unavailable().0);
    if let Some(redis) = Redis::start(folder.path()) {
        let until = Instant::now() + Duration::from_secs(60);
        while ask(&store, Operation::Set("a".into(), b"1".to_vec())).is_err() {
            assert!(Instant::now() < until, "it doesn't connect again");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(redis);
        let add = Operation::Increment("a".into(), 1);
        let failure = ask(&store, add).expect_err("it is gone").0;
        assert!(failure.contains("not available"), "{failure}");
        std::fs::remove_file(&socket).ok();
        let redis = Redis::start(folder.path()).expect("it was there");
        while ask(&store, Operation::Get("a".into())).is_err() {
            assert!(Instant::now() < until, "it doesn't connect again");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(get(&store, "a").as_deref(), Some(&b"1"[..]));
        drop(redis);
    }

    // A file where the folder should be, and later none.
    let place = embedded("embedded");
    let state = place.options.folder().to_owned();
    std::fs::write(&state, "").expect("written");
    let store = Store::new(&place.options, Limits::default());
    let failure = ask(&store, Operation::Get("a".into())).expect_err("no folder");
    assert_eq!(failure, Failure::unavailable());
    std::fs::remove_file(&state).expect("removed");
    let until = Instant::now() + Duration::from_secs(60);
    while ask(&store, Operation::Set("a".into(), Vec::new())).is_err() {
        assert!(Instant::now() < until, "it doesn't try again");
    }
    // A file that is no database.
    let place = embedded("embedded");
    std::fs::create_dir(place.options.folder()).expect("a folder");
    let file = place.options.folder().join("state.redb");
    std::fs::write(&file, "not a database").expect("written");
    let store = Store::new(&place.options, Limits::default());
    let failure = ask(&store, Operation::Get("a".into())).expect_err("no database");
    assert_eq!(failure, Failure::unavailable());
    assert_eq!(std::fs::read(&file).expect("kept"), b"not a database");
}

#[test]
fn a_command_sees_the_same_store_while_it_is_open_and_when_it_is_not() {
    for place in places() {
        let kind = place.kind;
        let open = |creates| Admin::open(&place.options, Limits::default(), creates);
        if kind != "redis" {
            assert!(open(false).expect("nothing yet").is_none(), "{kind}");
        }
        let store = Store::new(&place.options, Limits::default());
        set(&store, "a", b"1");
        set(&store, "b", b"\xff");
        if kind == "embedded" {
            store.close();
        }
        let mut admin = open(false).expect("available").expect("it exists");
        let value = admin.call(bucket(), Operation::Get("a".into()));
        assert_eq!(value, Ok(Reply::Value(Some(b"1".to_vec()))), "{kind}");
        let sum = admin.call(bucket(), Operation::Increment("a".into(), 1));
        assert_eq!(sum, Ok(Reply::Number(2)), "{kind}");
        let mut all = Vec::new();
        let shared = BucketId::shared("s");
        let set = Operation::Set("k".into(), Vec::new());
        assert_eq!(admin.call(shared.clone(), set), Ok(Reply::Done), "{kind}");
        let exported = admin.export(None, |entry| {
            all.push((entry.bucket, entry.key, entry.value));
            Ok(())
        });
        assert_eq!(exported, Ok(()), "{kind}");
        let of = |bucket: &BucketId, key: &str, value: &[u8]| {
            (bucket.to_string(), key.to_owned(), value.to_vec())
        };
        let expected = [
            of(&bucket(), "a", b"2"),
            of(&bucket(), "b", b"\xff"),
            of(&shared, "k", b""),
        ];
        assert_eq!(all, expected, "{kind}");
        let mut one = 0;
        let exported = admin.export(Some(&bucket()), |_| {
            one += 1;
            Ok(())
        });
        assert_eq!((exported, one), (Ok(()), 2), "{kind}");

        let copy = tempfile::tempdir().expect("a folder");
        let file = copy.path().join("state.redb");
        let mut target = CopyTarget::create(&file).expect("created");
        admin
            .export(None, |entry| target.add(entry))
            .expect("copied");
        target.finish().expect("durable");
        assert!(CopyTarget::create(&file).is_err(), "it exists");
        let options = StateOptions {
            folder: Some(copy.path().into()),
            ..StateOptions::default()
        };
        let store = Store::new(&options, Limits::default());
        assert_eq!(get(&store, "b").as_deref(), Some(&b"\xff"[..]), "{kind}");
        assert_eq!(size(&store), (2, 4), "{kind}");
        drop(place.redis);
    }
}
