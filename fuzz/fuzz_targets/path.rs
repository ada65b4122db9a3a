//! A path: for any bytes, the file that it refers to is below the root, and not hidden.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasgi::router::RequestPath;
use wasgi::static_files::fuzzing::file_name;

fuzz_target!(|raw: &[u8]| {
    let Ok(path) = RequestPath::parse(raw) else {
        return assert!(file_name(raw).is_none());
    };
    assert!(path.decoded().starts_with(b"/"));
    assert!(path.segments().all(|name| name != b"." && name != b".."));
    assert!(path.decoded().len() <= raw.len().max(1));
    if let Some(name) = file_name(raw) {
        assert!(!name.contains(&0));
        assert!(!name.is_empty() && !name.starts_with(b"/") && !name.ends_with(b"/"));
        let hidden = |name: &[u8]| name.starts_with(b".") && name != b".well-known";
        assert!(!name.split(|byte| *byte == b'/').any(hidden));
    }
});
