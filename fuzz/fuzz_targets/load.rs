//! A handler's file, whatever is in it: it is taken apart without a panic, and what is made of
//! something valid is valid. All but compiling it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    wasgi::engine::fuzzing::load(bytes);
});
