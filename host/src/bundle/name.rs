//! The names of files in a bundle: relative paths that lead nowhere else when they are unpacked.

/// The folder of pages.
pub(crate) const PAGES: &str = "html";

/// The folder of handlers.
pub(crate) const HANDLERS: &str = "handlers";

/// The folder of the runtimes for scripts, in a bundle that is part of a program.
pub(crate) const RUNTIME: &str = "runtime";

/// The configuration file.
pub(crate) const CONFIG: &str = "wasgi.toml";

/// The maximum length of a name, in bytes: with the path of the cache folder before it, it stays
/// below Linux's limit for paths, 4,096.
const MAX_NAME_BYTES: usize = 3072;

/// The maximum length of one part of a name, in bytes: Linux's limit.
const MAX_PART_BYTES: usize = 255;

/// Checks a name: parts that are separated by `/`, of which none is empty, `.` or `..`, below one
/// of a bundle's folders; or the configuration file.
///
/// # Errors
///
/// Fails with the reason.
pub(super) fn check(name: &str) -> Result<(), &'static str> {
    if name.len() > MAX_NAME_BYTES {
        return Err("is longer than 3072 bytes");
    }
    if name.chars().any(char::is_control) {
        return Err("contains a control character");
    }
    if name == CONFIG {
        return Ok(());
    }
    let Some((folder, rest)) = name.split_once('/') else {
        return Err("is in no folder of a site");
    };
    if ![PAGES, HANDLERS, RUNTIME].contains(&folder) {
        return Err("is in no folder of a site");
    }
    for part in rest.split('/') {
        match part {
            "" | "." | ".." => return Err("is not the path of a file"),
            _ if part.len() > MAX_PART_BYTES => return Err("has a part of more than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_within_its_folder() {
        for name in [
            "html/index.html",
            "handlers/a/[id].wasm",
            "handlers/app/.packages/six.py",
            "runtime/python.wasm",
            "wasgi.toml",
            "html/...",
            "html/ä b",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let long = format!("html/{}", "a".repeat(256));
        let deep = format!("html/{}", "a/".repeat(2000));
        for name in [
            "",
            "html",
            "/etc/passwd",
            "html/",
            "html/..",
            "html/../x",
            "html/./x",
            "html//x",
            "html/a/../../../x",
            "../html/x",
            "etc/passwd",
            "wasgi.toml/x",
            "html/a\nb",
            "html/a\0b",
            "html/\u{85}",
            &long,
            &deep,
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
