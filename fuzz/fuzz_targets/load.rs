//! A handler's file: any contents are processed without a panic, and valid input gives valid
//! output. Covers all processing before the compilation.
//!
//! wit-parser, which parses a core module's description of its interfaces, panics for some sections
//! that it considers impossible. The compile process converts that to an error, and this target
//! ignores it; any other panic is a finding.
#![no_main]

use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use wasgi_component::fuse::{self, Linked};
use wasgi_component::{bulk, componentize};
use wasmparser::Validator;

/// A part of the paths of source files that may panic.
const MAY_PANIC: &str = "/wit-parser-";

static HOOK: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    HOOK.call_once(|| {
        // libFuzzer's hook, which ends the process.
        let ends = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or("", |location| location.file());
            if !place.contains(MAY_PANIC) {
                ends(info);
            }
        }));
    });
    // Fails if wit-parser panics.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| load(bytes)));
});

/// Processes a handler's bytes as before a compilation, and checks that a valid component gives
/// valid output. Returns whether the bytes could be a handler.
fn load(bytes: &[u8]) -> bool {
    let binary = match bytes.starts_with(b"\0asm") {
        true => bytes.to_vec(),
        false => match wat::parse_bytes(bytes) {
            Ok(binary) => binary.into_owned(),
            Err(_) => return false,
        },
    };
    let component = match binary.get(4..8) {
        Some(b"\x0d\0\x01\0") => binary,
        _ => match componentize::from_module(&binary) {
            Ok(component) => component,
            Err(line) => {
                assert!(!line.contains('\n'), "one line: {line}");
                return false;
            }
        },
    };
    let is_valid = Validator::new().validate_all(&component).is_ok();
    let Ok(component) = bulk::component(&component) else {
        return false;
    };
    let replaced = Validator::new().validate_all(&component).is_ok();
    assert_eq!(
        is_valid, replaced,
        "what long copies become is as valid as it was"
    );
    for made in [
        fuse::link(&component),
        fuse::members_of_component(&component).map(Linked::Component),
    ] {
        if let (Ok(Linked::Component(made) | Linked::Program(made)), true) = (made, is_valid) {
            let validated = Validator::new().validate_all(&made);
            validated.expect("what is made of something valid is valid");
        }
    }
    if let (Ok(apart), true) = (fuse::apart(&component), is_valid) {
        for part in [&apart.code, &apart.frame, &apart.state] {
            let validated = Validator::new().validate_all(part);
            validated.expect("each part of something valid is valid");
        }
    }
    is_valid
}
