//! A Range field: the parts are inside the page and apart from each other, and not too many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasgi::static_files::fuzzing::{MAX_RANGES, ranges};

fuzz_target!(|input: (u64, &[u8])| {
    let (whole, value) = input;
    let mut parts = ranges(value, whole).unwrap_or_default();
    assert!(parts.len() <= MAX_RANGES);
    parts.sort_unstable();
    let mut end = None;
    for (start, length) in parts {
        // Two that touch would have been one.
        assert!(length > 0 && end.is_none_or(|end| start > end));
        end = start.checked_add(length);
        assert!(end.is_some_and(|end| end <= whole));
    }
});
