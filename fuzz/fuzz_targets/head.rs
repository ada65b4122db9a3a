//! A request's head: any bytes are rejected, incomplete, or parsed consistently.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasgi_http1::{Limits, RequestHead};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let whole = RequestHead::parse(bytes, &limits);
    if let Ok(Some((head, len))) = &whole {
        assert!(bytes[..*len].ends_with(b"\r\n\r\n"));
        assert!(head.path() == b"*" || head.path().starts_with(b"/"));
        assert!(!head.path().contains(&b'?') && !head.path().contains(&b'#'));
        assert_eq!(
            head.target().as_bytes(),
            bytes[head.method().len() + 1..]
                .split(|b| *b == b' ')
                .next()
                .unwrap()
        );
        for (name, value) in head.fields() {
            assert!(!name.is_empty() && !value.iter().any(|byte| b"\r\n\0".contains(byte)));
            assert!(head.field(&name.to_uppercase()).is_some());
        }
        // No prefix of a head is a complete head.
        assert!(matches!(
            RequestHead::parse(&bytes[..len - 1], &limits),
            Ok(None)
        ));
    }
});
