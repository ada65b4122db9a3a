//! The handlers that tests serve: the demos, the misbehaving cases, and generated pages.

use std::fmt::Write;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("page.wat");

/// The maximum length of a page for [`page`], in bytes, which its memory can hold.
const PAGE_BYTES: usize = 64 * 1024;

/// Returns the folder of the demo handlers, which `cargo xtask test` builds from tracked sources.
/// It isn't `handlers/`, which belongs to the user.
pub(crate) fn demos() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../guests/demos")
}

/// Returns the folder of the demo site's pages, as the repository tracks them.
pub(crate) fn demo_pages() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../guests/site/html")
}

/// Returns the component of a demo handler, by its route: `hello`, `users/[id]`.
#[track_caller]
pub(crate) fn demo(route: &str) -> PathBuf {
    built(demos().join(format!("{route}.wasm")))
}

/// Returns a demo handler that needs an optional toolchain. Prints a line and returns none if it
/// was not built.
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

/// Returns the component of a case in `tests/guests/`.
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

/// Returns a handler, in text format, that responds to every request with `page`. It compiles so
/// quickly that a test can use many versions.
pub(crate) fn page(page: &str) -> String {
    assert!(page.len() <= PAGE_BYTES, "the page has no room");
    let mut bytes = String::with_capacity(page.len() * 3);
    for byte in page.bytes() {
        write!(bytes, "\\{byte:02x}").expect("a string takes all that is written");
    }
    PAGE.replace("{{length}}", &page.len().to_string())
        .replace("{{page}}", &bytes)
}

/// Returns a handler like that of [`page`] with an unused function that compiles slowly: some
/// seconds for 6,000 `locals`, and four times as long for twice as many.
pub(crate) fn slow_page(text: &str, locals: usize) -> String {
    let mut function = format!("(func (local{}) (loop", " i32".repeat(locals));
    for local in 0..locals {
        // All locals are live throughout the loop, and each depends on another one.
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
