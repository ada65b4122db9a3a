//! The handlers that tests serve: the demos, the misbehaving ones, and pages made on the spot.

use std::fmt::Write;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("page.wat");

/// The longest page that [`page`] takes, in bytes: what its memory has room for.
const PAGE_BYTES: usize = 64 * 1024;

/// The folder of the demo handlers that `cargo xtask test` has built from what the repository
/// tracks. Never `handlers/`, which is the user's.
pub(crate) fn demos() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../guests/demos")
}

/// The demo site's pages, as the repository tracks them.
pub(crate) fn demo_pages() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../guests/site/html")
}

/// The component of a demo handler, by its route: `hello`, `users/[id]`.
#[track_caller]
pub(crate) fn demo(route: &str) -> PathBuf {
    built(demos().join(format!("{route}.wasm")))
}

/// A demo handler whose toolchain not everybody has. Says so where it was not built.
pub(crate) fn optional_demo(route: &str) -> Option<PathBuf> {
    let file = demos().join(format!("{route}.wasm"));
    if file.is_file() {
        return Some(file);
    }
    println!(
        "skipped: {} was not built, because its toolchain is not here",
        file.display()
    );
    None
}

/// The component of a case in `tests/guests/`.
#[track_caller]
pub(crate) fn case(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
    built(target.join(format!("guests/cases/{name}.wasm")))
}

#[track_caller]
fn built(file: PathBuf) -> PathBuf {
    assert!(
        file.is_file(),
        "{} is missing: `cargo xtask test` builds it",
        file.display()
    );
    file
}

/// A handler, as text, that answers every request with `page`. Compiles in no time, so that a test
/// can have as many versions as it wants.
pub(crate) fn page(page: &str) -> String {
    assert!(page.len() <= PAGE_BYTES, "the page has no room");
    let mut bytes = String::with_capacity(page.len() * 3);
    for byte in page.bytes() {
        write!(bytes, "\\{byte:02x}").expect("a string takes all that is written");
    }
    PAGE.replace("{{length}}", &page.len().to_string())
        .replace("{{page}}", &bytes)
}

/// Like [`page`], with a function that nobody calls and that takes long to compile: with 6,000
/// `locals` some seconds, and four times as long with twice as many.
pub(crate) fn slow_page(text: &str, locals: usize) -> String {
    let mut function = format!("(func (local{}) (loop", " i32".repeat(locals));
    for local in 0..locals {
        // All of them are alive all the time, and each depends on another one.
        let other = (local * 7 + 1) % locals;
        write!(
            function,
            "(local.set {local} (i32.add (local.get {local}) (local.get {other})))"
        )
        .expect("a string takes all that is written");
    }
    function.push_str("(br_if 0 (local.get 0))))");
    let call = "(func (export \"call\")";
    page(text).replacen(call, &format!("{function}\n    {call}"), 1)
}
