//! Decides which names may be served, and which file a path refers to.
//!
//! This is the first of two barriers and only examines names: a hidden name is rejected without
//! asking the file system. The second one, `root`, is enforced by the kernel: regardless of the
//! name, no file outside the root is opened.

use std::borrow::Cow;

use crate::router::RequestPath;

/// The file for a path that ends with `/`.
const INDEX: &[u8] = b"index.html";

/// The only hidden folder that is served (RFC 8615), directly below the root: it is used to obtain
/// certificates and to publish contacts.
const WELL_KNOWN: &[u8] = b".well-known";

/// Name endings of backup files of editors and users. They are never intended for visitors, and
/// often contain a configuration or source code whose original is not served because of its type.
const BACKUP_ENDINGS: [&[u8]; 5] = [b"~", b"#", b".bak", b".orig", b".swp"];

/// Returns the file for `path`, relative to the root and without a leading `/`. None if one of its
/// names must not be served. The result is not empty and has no dot segment.
pub(super) fn file_name(path: &RequestPath) -> Option<Cow<'_, [u8]>> {
    if !are_public(path.segments()) {
        return None;
    }
    // A leading empty segment would make the name absolute; the kernel ignores the others.
    let relative = without_leading_slashes(path.decoded());
    Some(if path.has_trailing_slash() {
        Cow::Owned([relative, INDEX].concat())
    } else {
        Cow::Borrowed(relative)
    })
}

/// Reports whether a path relative to the root contains a name that is never served.
pub(crate) fn is_hidden(relative: &[u8]) -> bool {
    let names = relative.split(|&byte| byte == b'/');
    !are_public(names.filter(|name| !name.is_empty()))
}

fn are_public<'n>(names: impl Iterator<Item = &'n [u8]>) -> bool {
    let mut names = names.enumerate();
    names.all(|(depth, name)| (depth == 0 && name == WELL_KNOWN) || is_public(name))
}

/// Returns the index file of the folder `name`.
pub(super) fn index_of(name: &[u8]) -> Vec<u8> {
    [name, b"/", INDEX].concat()
}

/// Returns the folder whose index file is `name`, without a trailing `/`; empty for the root.
pub(super) fn folder_of_index(name: &[u8]) -> Option<&[u8]> {
    let mut folder = name.strip_suffix(INDEX)?;
    while let Some(shorter) = folder.strip_suffix(b"/") {
        folder = shorter;
    }
    Some(folder)
}

/// Reports whether one name on the path to a file may be served. An empty one may: a file system
/// treats `//` like `/`.
pub(super) fn is_public(name: &[u8]) -> bool {
    let hidden = name.starts_with(b".");
    // These bytes were encoded as `%2F` or `%00`. No file name can contain them: `RequestPath` did
    // not treat the text after the slash as a separate name, and the kernel would ignore the text
    // after the NUL.
    let impossible = memchr::memchr2(b'/', 0, name).is_some();
    let backup = BACKUP_ENDINGS.iter().any(|ending| name.ends_with(ending));
    !(hidden || impossible || backup)
}

/// Returns `bytes` from the first byte that is not `/`.
fn without_leading_slashes(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .iter()
        .position(|&byte| byte != b'/')
        .unwrap_or(bytes.len());
    bytes.split_at(start).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(raw: &str) -> Option<String> {
        let path = RequestPath::parse(raw.as_bytes()).expect(raw);
        file_name(&path).map(|name| String::from_utf8_lossy(&name).into_owned())
    }

    #[test]
    fn a_path_maps_to_a_file_or_an_index() {
        let table = [
            ("/", "index.html"),
            ("/style.css", "style.css"),
            ("/a/b.html", "a/b.html"),
            ("/a/", "a/index.html"),
            ("//", "index.html"),
            ("//a", "a"),
            ("///a/", "a/index.html"),
            ("/a//b", "a//b"),
            ("/a%20b.txt", "a b.txt"),
            ("/a.b~c", "a.b~c"),
            ("/~user", "~user"),
            ("/x.", "x."),
            ("/.well-known/security.txt", ".well-known/security.txt"),
            ("/../../etc/passwd", "etc/passwd"),
            ("/%252e%252e/x", "%2e%2e/x"),
        ];
        for (raw, name) in table {
            assert_eq!(file_of(raw).as_deref(), Some(name), "{raw}");
        }
    }

    #[test]
    fn hidden_names_and_backups_are_not_served() {
        let table = [
            "/.env",
            "/.git/config",
            "/%2egit/config",
            "/a/.htpasswd",
            "/.../x",
            "/..;/x",
            "/a/.hidden/b",
            "/a/.well-known/b",
            "//.well-known/b",
            "/.well-known/.secret",
            "/index.html~",
            "/%23index.html%23",
            "/config.php.bak",
            "/config.php.orig",
            "/x.swp",
            "/old~/x",
            "/..%2f..%2fetc%2fpasswd",
            "/a%2Fb",
            "/%2Fetc%2Fpasswd",
            "/a/%2F",
            "/%00",
            "/index.html%00",
            "/index.html%00.png",
            "/a%00/b",
        ];
        for raw in table {
            assert_eq!(file_of(raw), None, "{raw}");
        }
    }
}
