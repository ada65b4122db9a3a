//! A handler's file, whatever is in it: it is taken apart without a panic, and what is made of
//! something valid is valid. All but compiling it.
//!
//! wit-parser, which reads the types that a core module tells, takes some sections for impossible
//! and panics. The compiling process makes an error of that, and so does this target; a panic of
//! anything else is a finding.
#![no_main]

use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use libfuzzer_sys::fuzz_target;

/// What the path of a source file has in it that may panic.
const MAY_PANIC: &str = "/wit-parser-";

static HOOK: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    HOOK.call_once(|| {
        // libFuzzer's own, which ends the process.
        let ends = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or("", |location| location.file());
            if !place.contains(MAY_PANIC) {
                ends(info);
            }
        }));
    });
    // Fails where wit-parser panics.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| wasgi::engine::fuzzing::load(bytes)));
});
