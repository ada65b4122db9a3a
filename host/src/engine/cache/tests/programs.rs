//! Which code of a program is stored.

use super::*;

/// Returns an engine and the folder of its cache.
fn engine(above: &TempDir) -> (Engine, PathBuf) {
    let folder = above.path().join("code");
    let at = CacheFolder {
        folder: &folder,
        max_bytes: ROOM,
    };
    let engine = Engine::compiling_here(&Budget::default(), Some(at)).unwrap();
    (engine, folder)
}

fn entries(folder: &Path) -> Vec<fs::DirEntry> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(Result::unwrap).collect()
}

#[test]
fn a_program_with_two_bytes_far_apart_takes_little_room() {
    let above = tempfile::tempdir().unwrap();
    let (engine, folder) = engine(&above);
    let program = br#"(module (memory (export "memory") 2000) (func (export "_start"))
        (data (i32.const 0) "a") (data (i32.const 131000000) "b"))"#;
    engine.load(program).unwrap();
    let [entry] = entries(&folder).try_into().unwrap();
    let size = entry.metadata().unwrap().len();
    // A part of it is the adapter for preview 1.
    assert!(size < 1 << 20, "{size} bytes");
}

#[test]
fn a_program_that_the_pool_rejects_is_not_stored() {
    let above = tempfile::tempdir().unwrap();
    let (engine, folder) = engine(&above);
    let program = br#"(component
        (core module $m (memory (export "memory") 1) (memory 1)
            (func (export "run") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $run (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $run)))"#;
    let error = engine.load(program).expect_err("it has two memories");
    assert!(error.to_string().contains("memories"), "{error}");
    assert!(entries(&folder).is_empty());
}
