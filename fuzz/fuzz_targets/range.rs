//! A Range field: the parts are within the page, don't overlap or touch, and are not too many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasgi_fields::range::{Asked, MAX_RANGES, parse};

fuzz_target!(|input: (u64, &[u8])| {
    let (whole, value) = input;
    let parts = match parse(value, whole) {
        Asked::Whole | Asked::Unsatisfiable => Vec::new(),
        Asked::Part(part) => vec![part],
        Asked::Parts(parts) => parts,
    };
    assert!(parts.len() <= MAX_RANGES);
    let mut parts: Vec<_> = parts.iter().map(|part| (part.start, part.length)).collect();
    parts.sort_unstable();
    let mut end = None;
    for (start, length) in parts {
        // Adjacent parts would have been merged.
        assert!(length > 0 && end.is_none_or(|end| start > end));
        end = start.checked_add(length);
        assert!(end.is_some_and(|end| end <= whole));
    }
});
