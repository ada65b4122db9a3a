//! Accept-Encoding: each coding is accepted at most once, and never if it is refused or absent; two
//! fields are equivalent to their combined list.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasgi::static_files::fuzzing::codings;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (one, other) = input;
    let wanted = codings(&[one, other]);
    for (place, coding) in wanted.iter().enumerate() {
        assert!(!wanted[..place].contains(coding));
        let named = |value: &[u8]| {
            let value = value.to_ascii_lowercase();
            value.contains(&b'*') || value.windows(coding.len()).any(|w| w == coding.as_bytes())
        };
        assert!(named(one) || named(other));
        let refusal = format!("{coding};q=0,").into_bytes();
        assert!(!codings(&[&refusal, one, other]).contains(coding));
    }
    // Each field is truncated separately when it is too long.
    if one.len() + other.len() < 60 {
        assert_eq!(codings(&[&[one, b",", other].concat()]), wanted);
    }
});
