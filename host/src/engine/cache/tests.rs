//! Tests of the cache, including interference by the disk, other users and other processes.

mod later;
mod programs;

use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::thread;

use tempfile::TempDir;
use wasmtime::Module;
use wasmtime::component::Component;

use super::*;
use crate::engine::compiled::Compiled;
use crate::engine::shared_code::ProgramFiles;
use crate::engine::{CacheFolder, Engine};
use crate::policy::Budget;

/// More than the size of all entries in a test.
const ROOM: u64 = 1 << 30;

struct Fixture {
    /// Removed at the end.
    above: TempDir,
    engine: wasmtime::Engine,
    cache: CodeCache,
}

impl Fixture {
    fn new() -> Self {
        Self::with(ROOM)
    }

    fn with(max_bytes: u64) -> Self {
        let above = tempfile::tempdir().unwrap();
        let engine = wasmtime::Engine::default();
        let cache = CodeCache::open(&above.path().join("code"), max_bytes, &engine).unwrap();
        Self {
            above,
            engine,
            cache,
        }
    }

    fn folder(&self) -> PathBuf {
        self.above.path().join("code")
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.folder().join(entry.name())
    }

    /// Stores bytes that don't look like code, under the entry of `name`.
    #[track_caller]
    fn store(&self, name: &str, size: usize) -> Entry {
        let entry = self.cache.entry(Version::from_content(name.as_bytes()));
        let stored = self.cache.store(&entry, &noise(name, size));
        assert!(stored.is_some(), "{name}");
        entry
    }

    /// Returns why the entry is not used.
    #[track_caller]
    fn refused(&self, entry: &Entry) -> String {
        match self.cache.look_up(entry) {
            Err(Unusable::Entry(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    fn names(&self) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(self.folder())
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        names.sort();
        names
    }

    fn on_disk(&self) -> u64 {
        let files = fs::read_dir(self.folder()).unwrap();
        // A file that was just removed has no size.
        files
            .filter_map(|file| file.unwrap().metadata().ok())
            .map(|it| it.blocks() * 512)
            .sum()
    }
}

/// Returns a file without runs of zeros, with the same content for the same name.
fn noise(name: &str, size: usize) -> CodeFile {
    let file = CodeFile::memory_file().unwrap();
    let mut bytes = vec![0; size];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(name.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    file.write_all_at(&bytes, 0).unwrap();
    CodeFile::seal(file).unwrap()
}

/// Returns one of each kind of code, with a memory image.
fn compiled(engine: &wasmtime::Engine) -> [Compiled; 2] {
    let module = r#"(module
        (memory (export "m") 4)
        (data (i32.const 8) "begin") (data (i32.const 200000) "end")
        (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))"#;
    let component = format!(
        "(component (core {} (core instance (instantiate 0)))",
        &module[1..]
    );
    [
        Compiled::Component(Component::new(engine, component).unwrap()),
        Compiled::Direct(Module::new(engine, module).unwrap()),
    ]
}

/// A reproducible random number generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // SplitMix64 by Steele and Vigna.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

#[test]
fn what_is_stored_is_mapped_as_what_it_was() {
    let fixture = Fixture::new();
    for compiled in compiled(&fixture.engine) {
        let code = CodeFile::from_compiled(&compiled).unwrap();
        let entry = fixture
            .cache
            .entry(Version::from_content(&compiled.serialize().unwrap()));
        assert!(fixture.cache.read(&entry).is_none());
        let stored = fixture.cache.store(&entry, &code).unwrap();
        let read = fixture.cache.read(&entry).unwrap();
        for file in [code, stored, read] {
            let mapped = ProgramFiles::from(file).map(&fixture.engine).unwrap();
            // A file mapped from the cache has the trailer at its end.
            let (mapped_bytes, bytes) = (mapped.serialize(), compiled.serialize());
            assert!(mapped_bytes.unwrap().starts_with(&bytes.unwrap()));
            let direct = |it: &Compiled| matches!(it, Compiled::Direct(_));
            assert_eq!(direct(&mapped), direct(&compiled));
        }
    }
    assert_eq!(fixture.names().len(), 2);
}

#[test]
fn a_thousand_entries_with_flipped_bits_or_zeroed_pages_are_all_found_damaged() {
    const PAGE: usize = 4096;
    let fixture = Fixture::new();
    let mut random = Random(12);
    for compiled in compiled(&fixture.engine) {
        let entry = fixture
            .cache
            .entry(Version::from_content(&compiled.serialize().unwrap()));
        let code = CodeFile::from_compiled(&compiled).unwrap();
        fixture.cache.store(&entry, &code).unwrap();
        let whole = fs::read(fixture.path(&entry)).unwrap();
        for round in 0..500 {
            let mut bytes = whole.clone();
            if round % 4 == 0 {
                let page = random.below(bytes.len().div_ceil(PAGE)) * PAGE;
                let end = (page + PAGE).min(bytes.len());
                bytes[page..end].fill(0);
            } else {
                for _ in 0..=random.below(3) {
                    let at = random.below(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            if bytes == whole {
                // A page of zeros was zeroed, or a bit was flipped back.
                continue;
            }
            replace(&fixture.path(&entry), &bytes);
            assert_eq!(fixture.refused(&entry), "is damaged", "round {round}");
            assert!(fixture.cache.read(&entry).is_none());
            assert!(!fixture.path(&entry).exists(), "round {round}: still there");
        }
        replace(&fixture.path(&entry), &whole);
        assert!(fixture.cache.read(&entry).is_some());
    }
}

/// Replaces a file with a new one that no other user may write to.
fn replace(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn each_byte_of_the_trailer_and_each_length_is_checked() {
    let fixture = Fixture::new();
    let entry = fixture.store("one", 10_000);
    let whole = fs::read(fixture.path(&entry)).unwrap();
    for at in 10_000..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        replace(&fixture.path(&entry), &bytes);
        assert_eq!(fixture.refused(&entry), "is damaged", "byte {at}");
    }
    for size in [0, 1, 47, 48, 4096, 9_999, 10_000, whole.len() - 1] {
        replace(&fixture.path(&entry), &whole[..size]);
        assert_eq!(fixture.refused(&entry), "is damaged", "{size} bytes");
    }
    replace(&fixture.path(&entry), &[&whole[..], b"x"].concat());
    assert_eq!(fixture.refused(&entry), "is damaged");
}

#[test]
fn code_in_many_pieces_is_hashed_like_code_in_one() {
    let fixture = Fixture::new();
    // Sizes around the end of a piece and the start of another thread.
    for size in [
        0,
        1,
        4096,
        (1 << 20) - 1,
        1 << 20,
        (1 << 20) + 1,
        9 << 20,
        (17 << 20) + 5,
    ] {
        let entry = fixture.store(&size.to_string(), size);
        let stored = fs::read(fixture.path(&entry)).unwrap();
        assert_eq!(stored.len(), size + 48);
        if size == 0 {
            continue;
        }
        for at in [0, size / 2, size - 1] {
            let file = File::options()
                .write(true)
                .open(fixture.path(&entry))
                .unwrap();
            file.write_all_at(&[stored[at] ^ 1], at as u64).unwrap();
            assert_eq!(fixture.refused(&entry), "is damaged", "byte {at} of {size}");
            file.write_all_at(&[stored[at]], at as u64).unwrap();
        }
        assert!(fixture.cache.read(&entry).is_some());
    }
}

#[test]
fn zeros_take_no_room_on_disk_and_are_read_as_zeros() {
    let fixture = Fixture::new();
    let file = CodeFile::memory_file().unwrap();
    file.write_all_at(b"begin", 4096).unwrap();
    file.write_all_at(b"end", (64 << 20) - 3).unwrap();
    let code = CodeFile::seal(file).unwrap();
    let entry = fixture.cache.entry(Version::from_content(b"sparse"));
    fixture.cache.store(&entry, &code).unwrap();
    let bytes = fs::read(fixture.path(&entry)).unwrap();
    assert_eq!(bytes.len(), (64 << 20) + 48);
    assert!(bytes[4096..].starts_with(b"begin") && bytes[..64 << 20].ends_with(b"end"));
    assert_eq!(
        bytes.iter().filter(|byte| **byte != 0).count(),
        8 + bytes[64 << 20..].iter().filter(|byte| **byte != 0).count()
    );
    assert!(fixture.on_disk() <= 64 << 10, "{}", fixture.on_disk());
}

#[test]
fn an_entry_under_the_name_of_another_is_damaged() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.store("one", 5000), fixture.store("other", 5000));
    fs::rename(fixture.path(&one), fixture.path(&other)).unwrap();
    assert_eq!(fixture.refused(&other), "is damaged");
}

#[test]
fn code_for_other_settings_is_not_mapped() {
    let fixture = Fixture::new();
    let [component, module] = compiled(&fixture.engine);
    let other = wasmtime::Engine::new(wasmtime::Config::new().epoch_interruption(true)).unwrap();
    for compiled in [component, module] {
        let code = CodeFile::from_compiled(&compiled).unwrap();
        assert!(code.map(&other).is_err());
    }
    let cache = CodeCache::open(&fixture.folder(), ROOM, &other).unwrap();
    let version = Version::from_content(b"one");
    assert_ne!(
        fixture.cache.entry(version).name(),
        cache.entry(version).name()
    );
}

#[test]
fn what_is_no_file_of_this_users_alone_is_refused_and_removed() {
    let fixture = Fixture::new();
    let good = fixture.above.path().join("good");
    let entry = fixture.store("one", 5000);
    let path = fixture.path(&entry);
    fs::rename(&path, &good).unwrap();
    let put = |how: &dyn Fn(), why: &str| {
        how();
        assert_eq!(fixture.refused(&entry), why);
        assert!(fixture.cache.read(&entry).is_none(), "{why}");
        assert!(path.symlink_metadata().is_err(), "{why}: it is still there");
    };
    put(&|| symlink(&good, &path).unwrap(), "is a symbolic link");
    put(&|| symlink("nowhere", &path).unwrap(), "is a symbolic link");
    put(&|| fs::create_dir(&path).unwrap(), "is not a regular file");
    let fifo = || rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
    put(&fifo, "is not a regular file");
    let socket = || drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    put(&socket, "is not a regular file");
    for mode in [0o620, 0o602, 0o666] {
        let writable = || {
            fs::copy(&good, &path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        };
        put(&writable, "is writable by others");
    }
    if rustix::process::geteuid().is_root() {
        let foreign = || {
            let foreign = fixture.above.path().join("foreign");
            let _ = fs::remove_file(&foreign);
            fs::copy(&good, &foreign).unwrap();
            chown(&foreign, Some(1), None).unwrap();
            fs::hard_link(&foreign, &path).unwrap();
        };
        put(&foreign, "belongs to another user");
    }
    // Under its original name, this file is valid.
    fs::rename(&good, &path).unwrap();
    assert!(fixture.cache.read(&entry).is_some());
}

#[test]
fn a_folder_in_the_place_of_an_entry_costs_the_entry_and_nothing_else() {
    let fixture = Fixture::new();
    let entry = fixture.cache.entry(Version::from_content(b"one"));
    fs::create_dir_all(fixture.path(&entry).join("within")).unwrap();
    assert!(fixture.cache.read(&entry).is_none());
    assert!(fixture.cache.store(&entry, &noise("one", 100)).is_none());
    assert_eq!(fixture.names(), [entry.name()], "a file was left behind");
    fixture.store("other", 100);
}

#[test]
fn a_folder_that_others_may_change_is_refused_with_the_reason() {
    let above = tempfile::tempdir().unwrap();
    let within = |name: &str| above.path().join(name);
    let open = |path: &Path| CodeCache::open(path, ROOM, &wasmtime::Engine::default());
    #[track_caller]
    fn refused(result: anyhow::Result<CodeCache>, why: &str) {
        let error = format!("{:#}", result.expect_err(why));
        assert!(
            error.contains(why) && error.contains("--code-cache"),
            "{error}"
        );
    }
    let make = |name: &str, mode: u32| {
        let path = within(name);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    refused(open(&make("all", 0o777)), "is writable by others");
    refused(
        open(&make("sticky-itself", 0o1777)),
        "is writable by others",
    );
    refused(open(&make("group", 0o770)), "is writable by others");
    refused(
        open(&within("all").join("code")),
        "all is writable by others",
    );
    assert!(
        !within("all").join("code").exists(),
        "it was made all the same"
    );
    refused(
        open(&within("all").join("a/b/c")),
        "all is writable by others",
    );
    // There, no user may rename another's files.
    open(&make("sticky", 0o1777).join("code")).unwrap();
    // The user's own group: systems give each user one.
    open(&make("own-group", 0o770).join("code")).unwrap();
    symlink(make("real", 0o700), within("link")).unwrap();
    refused(open(&within("link")), "is a symbolic link");
    open(&within("link").join("code")).unwrap();
    symlink("link/../real/./code", within("chain")).unwrap();
    refused(open(&within("chain")), "is a symbolic link");
    open(&within("chain/deeper")).unwrap();
    symlink("loop", within("loop")).unwrap();
    refused(open(&within("loop/code")), "too many symbolic links");
    fs::write(within("file"), "").unwrap();
    refused(open(&within("file")), "file");
    refused(open(&within("file/code")), "file");
    if rustix::process::geteuid().is_root() {
        let path = make("foreign", 0o700);
        chown(&path, Some(1), None).unwrap();
        refused(open(&path), "belongs to another user");
        refused(open(&path.join("code")), "foreign belongs to another user");
        symlink(within("real"), within("foreign-link")).unwrap();
        std::os::unix::fs::lchown(within("foreign-link"), Some(1), None).unwrap();
        refused(
            open(&within("foreign-link/code")),
            "belongs to another user",
        );
    }
}

#[test]
fn the_folder_is_looked_at_each_time_and_not_by_its_name() {
    let fixture = Fixture::new();
    let entry = fixture.store("one", 100);
    // The folder is replaced: the open one is still used.
    let aside = fixture.above.path().join("aside");
    fs::rename(fixture.folder(), &aside).unwrap();
    fs::create_dir(fixture.folder()).unwrap();
    assert!(fixture.cache.read(&entry).is_some());
    // Other users may write to it from now on.
    fs::set_permissions(&aside, Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        fixture.cache.look_up(&entry),
        Err(Unusable::Folder(_))
    ));
    assert!(fixture.cache.store(&entry, &noise("one", 100)).is_none());
    fs::set_permissions(&aside, Permissions::from_mode(0o700)).unwrap();
    assert!(fixture.cache.read(&entry).is_some());
}

#[test]
fn a_new_folder_and_its_entries_are_this_users_alone() {
    let fixture = Fixture::new();
    let nested = fixture.above.path().join("a/b/code");
    CodeCache::open(&nested, ROOM, &fixture.engine).unwrap();
    let entry = fixture.store("one", 100);
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
    for path in [&nested, nested.parent().unwrap(), &fixture.folder()] {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    assert_eq!(mode(&fixture.path(&entry)), 0o600);
}

#[test]
fn a_folder_that_has_gone_costs_the_entries_and_nothing_else() {
    let fixture = Fixture::new();
    let entry = fixture.store("one", 100);
    fs::remove_dir_all(fixture.folder()).unwrap();
    assert!(fixture.cache.read(&entry).is_none());
    assert!(fixture.cache.store(&entry, &noise("one", 100)).is_none());
}

#[test]
fn what_was_used_least_lately_is_removed_for_what_is_new() {
    let fixture = Fixture::with(10 << 20);
    let entries: Vec<_> = (0..8)
        .map(|number: u64| {
            let entry = fixture.store(&number.to_string(), 1 << 20);
            let used = SystemTime::now() - std::time::Duration::from_secs(1000 - number);
            let file = File::open(fixture.path(&entry)).unwrap();
            file.set_modified(used).unwrap();
            entry
        })
        .collect();
    // Both reading and storing an entry count as uses.
    assert!(fixture.cache.read(&entries[0]).is_some());
    fixture.store("3 MiB", 3 << 20);
    let is_there = |entry: &&Entry| fixture.path(entry).exists();
    let left: Vec<_> = entries.iter().map(|entry| is_there(&entry)).collect();
    assert_eq!(left, [true, false, false, true, true, true, true, true]);
    assert!(fixture.on_disk() <= 10 << 20);
}

#[test]
fn what_is_larger_than_the_limit_removes_nothing_and_is_not_kept() {
    let fixture = Fixture::with(2 << 20);
    let small = fixture.store("small", 100_000);
    let large = fixture.cache.entry(Version::from_content(b"large"));
    assert!(
        fixture
            .cache
            .store(&large, &noise("large", 3 << 20))
            .is_none()
    );
    assert_eq!(fixture.names(), [small.name()]);
}

#[test]
fn an_opened_cache_is_within_its_limit_and_has_nothing_that_was_left_half_written() {
    let fixture = Fixture::new();
    let old = fixture.store("old", 1 << 20);
    let new = fixture.store("new", 1 << 20);
    let unused = fixture.store("unused", 10);
    let days = |count: u64| SystemTime::now() - std::time::Duration::from_secs(count * 86_400);
    let used = |entry: &Entry, time| {
        let file = File::open(fixture.path(entry)).unwrap();
        file.set_modified(time).unwrap();
    };
    used(&old, days(2));
    used(&new, days(1));
    used(&unused, days(29));
    // An abandoned file, one of an earlier version, and one that is being written.
    replace(&fixture.folder().join("a.cwasm.1-2.part"), b"half");
    replace(&fixture.folder().join("b.7.part"), b"half");
    replace(&fixture.folder().join("notes.txt"), b"not ours");
    let written = fixture
        .cache
        .folder
        .create(OsStr::new("c.part"))
        .unwrap()
        .unwrap();
    CodeCache::open(&fixture.folder(), ROOM, &fixture.engine).unwrap();
    let mut left = vec![
        OsString::from("c.part"),
        "notes.txt".into(),
        new.name(),
        old.name(),
    ];
    left.sort();
    assert_eq!(fixture.names(), left);
    drop(written);
    CodeCache::open(&fixture.folder(), (1 << 20) + 8192, &fixture.engine).unwrap();
    let mut left = vec![OsString::from("notes.txt"), new.name()];
    left.sort();
    assert_eq!(fixture.names(), left);
}

#[test]
fn two_that_share_a_folder_are_within_the_limit_together() {
    const LIMIT: u64 = 4 << 20;
    let fixture = Fixture::with(LIMIT);
    let other = CodeCache::open(&fixture.folder(), LIMIT, &fixture.engine).unwrap();
    thread::scope(|scope| {
        for (number, cache) in [&fixture.cache, &other].into_iter().enumerate() {
            let fixture = &fixture;
            scope.spawn(move || {
                for round in 0..40 {
                    // Some of the names are equal.
                    let name = format!("{} {round}", number * (round % 3));
                    let entry = cache.entry(Version::from_content(name.as_bytes()));
                    // The other thread may remove it before it is read.
                    cache.store(&entry, &noise(&name, 300_000));
                    // A file that is being written exceeds the limit until space is made for it.
                    let most = LIMIT + 2 * (300_000 + 8192);
                    assert!(fixture.on_disk() <= most, "{}", fixture.on_disk());
                }
            });
        }
    });
    assert!(fixture.on_disk() <= LIMIT, "{}", fixture.on_disk());
    let half = |name: &OsString| Path::new(name).extension().is_some_and(|it| it == "part");
    assert!(!fixture.names().iter().any(half));
    assert!(fixture.names().len() >= 10, "{:?}", fixture.names());
}

#[test]
fn code_in_a_sealed_memory_file_does_not_change() {
    let file = CodeFile::memory_file().unwrap();
    file.write_all_at(b"code", 0).unwrap();
    let another = file.try_clone().unwrap();
    let code = CodeFile::seal(file).unwrap();
    for file in [&another, code.file()] {
        assert!(file.write_all_at(b"x", 0).is_err());
        assert!(file.set_len(1).is_err() && file.set_len(10).is_err());
    }
    let plain = tempfile::tempfile().unwrap();
    assert!(
        CodeFile::seal(plain).is_err(),
        "a file on disk can't be sealed"
    );
}
