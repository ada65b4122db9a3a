//! The path of a request, split into segments, decoded and resolved once for all users.
//!
//! The order of these steps makes it safe. The raw path is split at `/` first and each segment is
//! decoded separately afterwards, so an encoded slash (`%2F`) stays inside its segment and can
//! never start a new one. Dot segments are resolved last, in the decoded segments, so `%2e%2e` is
//! treated as `..`. Resolution follows RFC 3986 section 5.2.4, which stops at the root. Decoding
//! happens exactly once: `%252e` is the three characters `%2e`. A `%` without two hexadecimal
//! digits stands for a literal `%`, as in the URL standard's percent-decoding, browsers and most
//! servers.
//!
//! This module handles names only. It knows nothing about files and routes, and its callers decide
//! which bytes they allow in a segment: see [`Oddity`] and `static_files::security`.

use std::fmt;

use smallvec::SmallVec;

/// The number of segments stored without a heap allocation; most paths have no more.
const USUAL_SEGMENTS: usize = 4;

/// A request's path, decoded and free of dot segments.
///
/// It is at most as long as the raw path (plus the `/` of an empty one), so the limit on the
/// request line bounds it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath {
    /// `/` and a decoded segment, repeated, then `/` if the path ends with one. Never empty; starts
    /// with `/`.
    decoded: Vec<u8>,
    /// The end of each segment in `decoded`. Ascending; each end is followed by `/` or by nothing.
    ends: SmallVec<[usize; USUAL_SEGMENTS]>,
    oddity: Option<Oddity>,
}

/// The error for a path that does not start with `/`. The peer's fault: status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAbsolute;

/// An irregularity that no page's path has. A handler whose values are bytes receives the path
/// unchanged. If the handler cannot represent it, the request is the peer's fault: status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oddity {
    /// A `%` without two hexadecimal digits after it, kept as a literal `%`. RFC 9112 section 3.2
    /// recommends status 400 for an invalid target.
    LonePercent,
    /// A NUL, literal or as `%00`. Neither a file name nor an environment variable can hold it, and
    /// RFC 3986 section 7.3 recommends rejecting it where it isn't expected. Reported in preference
    /// to [`LonePercent`](Self::LonePercent) if a path has both.
    Nul,
}

impl RequestPath {
    /// Parses the path of a request-target, still percent-encoded and without its query.
    ///
    /// An empty path is the root (RFC 9112 section 3.2.1).
    ///
    /// # Errors
    ///
    /// Fails if the path does not start with `/`, such as `*`, the target of `OPTIONS *`.
    pub fn parse(raw: &[u8]) -> Result<RequestPath, NotAbsolute> {
        let rest = match raw {
            [] => raw,
            [b'/', rest @ ..] => rest,
            _ => return Err(NotAbsolute),
        };
        let mut decoded = Vec::with_capacity(raw.len().max(1));
        let mut ends = SmallVec::new();
        let mut trailing_slash = false;
        let mut oddity = None;
        let mut segments = rest.split(|&byte| byte == b'/').peekable();
        while let Some(segment) = segments.next() {
            let start = decoded.len();
            decoded.push(b'/');
            oddity = oddity.max(decode_into(segment, &mut decoded));
            trailing_slash = true;
            match &decoded[start + 1..] {
                b"." => decoded.truncate(start),
                b".." => {
                    ends.pop();
                    decoded.truncate(ends.last().copied().unwrap_or(0));
                }
                b"" if segments.peek().is_none() => decoded.truncate(start),
                _ => {
                    ends.push(decoded.len());
                    trailing_slash = false;
                }
            }
        }
        if trailing_slash {
            decoded.push(b'/');
        }
        Ok(RequestPath {
            decoded,
            ends,
            oddity,
        })
    }

    /// Returns the whole decoded path: it starts with `/` and is the concatenation of `SCRIPT_NAME`
    /// and `PATH_INFO` (rule E3). An encoded slash appears as a plain one.
    pub fn decoded(&self) -> &[u8] {
        &self.decoded
    }

    /// Returns the decoded segments from left to right. `/a//b/` has three: `a`, an empty one, and
    /// `b`; the root has none. A segment is never `.` or `..`, and can hold any byte, including
    /// `/`, and NUL if [`oddity`](Self::oddity) reports it.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.ends.iter().enumerate().map(|(index, &end)| {
            let before = index.checked_sub(1).and_then(|i| self.ends.get(i).copied());
            &self.decoded[before.unwrap_or(0) + 1..end]
        })
    }

    /// Returns the irregularity of the raw path, if any, including the segments that a `..`
    /// removed.
    pub fn oddity(&self) -> Option<Oddity> {
        self.oddity
    }

    /// Returns the number of segments, empty ones included.
    pub fn segment_count(&self) -> usize {
        self.ends.len()
    }

    /// Reports whether the path names a folder: it ends with `/`, as the root does, or ended with a
    /// dot segment (`/a/.`).
    pub fn has_trailing_slash(&self) -> bool {
        self.ends.last() != Some(&self.decoded.len())
    }

    /// Splits the decoded path after its first `count` segments: into `SCRIPT_NAME` and `PATH_INFO`
    /// for a handler whose route has that many (rule E3).
    ///
    /// Both parts are empty or start with `/`. A `count` beyond the last segment splits after the
    /// last one.
    pub fn split_after(&self, count: usize) -> (&[u8], &[u8]) {
        let last = count.min(self.ends.len()).checked_sub(1);
        let end = last.and_then(|index| self.ends.get(index).copied());
        self.decoded.split_at(end.unwrap_or(0))
    }
}

impl fmt::Display for NotAbsolute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the path does not start with a slash")
    }
}

impl std::error::Error for NotAbsolute {}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Oddity::LonePercent => "a percent sign in the path is not followed by two hex digits",
            Oddity::Nul => "the path contains a NUL",
        })
    }
}

impl std::error::Error for Oddity {}

/// Appends `segment` to `out` with its percent-escapes decoded, and returns its irregularity, if
/// any.
fn decode_into(segment: &[u8], out: &mut Vec<u8>) -> Option<Oddity> {
    let mut left = segment;
    let mut oddity = None;
    while let [byte, rest @ ..] = left {
        let (byte, rest) = escaped(left).unwrap_or((*byte, rest));
        let found = match byte {
            0 => Some(Oddity::Nul),
            b'%' if left.len() == rest.len() + 1 => Some(Oddity::LonePercent),
            _ => None,
        };
        oddity = oddity.max(found);
        out.push(byte);
        left = rest;
    }
    oddity
}

/// Decodes the percent-escape at the start of `bytes`. Returns its byte and the rest of the input.
fn escaped(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = bytes else {
        return None;
    };
    Some((hex_digit(*high)? << 4 | hex_digit(*low)?, rest))
}

/// Returns the value of a hexadecimal digit, in either case.
fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> RequestPath {
        RequestPath::parse(raw.as_bytes()).unwrap_or_else(|why| panic!("{raw}: {why}"))
    }

    fn segments(path: &RequestPath) -> Vec<String> {
        path.segments()
            .map(|s| String::from_utf8_lossy(s).into_owned())
            .collect()
    }

    #[test]
    fn a_path_is_split_and_then_decoded() {
        let table: &[(&str, &str, &[&str], bool)] = &[
            ("", "/", &[], true),
            ("/", "/", &[], true),
            ("/hello", "/hello", &["hello"], false),
            ("/hello/", "/hello/", &["hello"], true),
            (
                "/api/users/7",
                "/api/users/7",
                &["api", "users", "7"],
                false,
            ),
            ("/a%20b", "/a b", &["a b"], false),
            ("/caf%C3%A9", "/café", &["café"], false),
            ("/caf%c3%a9", "/café", &["café"], false),
            ("/a+b", "/a+b", &["a+b"], false),
            ("/a;v=1/b", "/a;v=1/b", &["a;v=1", "b"], false),
            ("/a%2Fb/c", "/a/b/c", &["a/b", "c"], false),
            ("/a//b", "/a//b", &["a", "", "b"], false),
            ("//", "//", &[""], true),
            ("//a", "//a", &["", "a"], false),
            ("/a//", "/a//", &["a", ""], true),
            ("/...", "/...", &["..."], false),
            (
                "/.well-known/x",
                "/.well-known/x",
                &[".well-known", "x"],
                false,
            ),
        ];
        for &(raw, decoded, names, slash) in table {
            let path = parse(raw);
            assert_eq!(String::from_utf8_lossy(path.decoded()), decoded, "{raw}");
            assert_eq!(segments(&path), names, "{raw}");
            assert_eq!(path.has_trailing_slash(), slash, "{raw}");
        }
    }

    /// Path traversal patterns, each of which stays inside the root.
    #[test]
    fn traversal_is_resolved_inside_the_root() {
        let table: &[(&str, &str, &[&str])] = &[
            ("/..", "/", &[]),
            ("/../", "/", &[]),
            ("/.", "/", &[]),
            ("/./.", "/", &[]),
            ("/../../../etc/passwd", "/etc/passwd", &["etc", "passwd"]),
            ("/a/../../../etc/passwd", "/etc/passwd", &["etc", "passwd"]),
            ("/a/./b", "/a/b", &["a", "b"]),
            ("/a/b/..", "/a/", &["a"]),
            ("/a/b/.", "/a/b/", &["a", "b"]),
            ("/a/b/../c", "/a/c", &["a", "c"]),
            ("/a/b/../../c", "/c", &["c"]),
            (
                "/%2e%2e/%2e%2e/etc/passwd",
                "/etc/passwd",
                &["etc", "passwd"],
            ),
            ("/%2E%2E/etc/passwd", "/etc/passwd", &["etc", "passwd"]),
            ("/.%2e/etc/passwd", "/etc/passwd", &["etc", "passwd"]),
            ("/%2e./etc/passwd", "/etc/passwd", &["etc", "passwd"]),
            ("/a/%2e/b", "/a/b", &["a", "b"]),
            ("/a//../b", "/a/b", &["a", "b"]),
            ("//../b", "/b", &["b"]),
            ("//etc/passwd", "//etc/passwd", &["", "etc", "passwd"]),
            // An encoded slash never makes a segment, so none of these holds a dot segment.
            ("/..%2fetc/passwd", "/../etc/passwd", &["../etc", "passwd"]),
            (
                "/..%2f..%2fetc%2fpasswd",
                "/../../etc/passwd",
                &["../../etc/passwd"],
            ),
            ("/%2e%2e%2fetc", "/../etc", &["../etc"]),
            ("/%2fetc%2fpasswd", "//etc/passwd", &["/etc/passwd"]),
            // Each escape is decoded only once.
            ("/%252e%252e/etc", "/%2e%2e/etc", &["%2e%2e", "etc"]),
            ("/..%252fetc", "/..%2fetc", &["..%2fetc"]),
            // The router treats these as ordinary names.
            (
                "/..\\..\\etc\\passwd",
                "/..\\..\\etc\\passwd",
                &["..\\..\\etc\\passwd"],
            ),
            ("/..%5cetc", "/..\\etc", &["..\\etc"]),
            ("/.../etc", "/.../etc", &["...", "etc"]),
            ("/..;/etc", "/..;/etc", &["..;", "etc"]),
            ("/~root", "/~root", &["~root"]),
            ("/c:/windows", "/c:/windows", &["c:", "windows"]),
        ];
        for &(raw, decoded, names) in table {
            let path = parse(raw);
            assert_eq!(String::from_utf8_lossy(path.decoded()), decoded, "{raw}");
            assert_eq!(segments(&path), names, "{raw}");
        }
    }

    #[test]
    fn a_percent_sign_without_digits_is_literal() {
        let table: &[(&str, &[&str])] = &[
            ("/%", &["%"]),
            ("/100%", &["100%"]),
            ("/%2", &["%2"]),
            ("/%2/x", &["%2", "x"]),
            ("/%zz", &["%zz"]),
            ("/%2z", &["%2z"]),
            ("/%z2", &["%z2"]),
            ("/%+1", &["%+1"]),
            ("/%u002e", &["%u002e"]),
            ("/a/%/../b", &["a", "b"]),
            ("/%%41", &["%A"]),
            ("/%4%41", &["%4A"]),
            // Each escape is decoded only once, so none of these becomes a dot.
            ("/%%32%65/x", &["%2e", "x"]),
            ("/%2%65%2%65/x", &["%2e%2e", "x"]),
            ("/%%2e/x", &["%.", "x"]),
        ];
        for &(raw, names) in table {
            let path = parse(raw);
            assert_eq!(segments(&path), names, "{raw}");
            assert_eq!(path.oddity(), Some(Oddity::LonePercent), "{raw}");
        }
        assert_eq!(parse("/100%25/%41").oddity(), None);
    }

    #[test]
    fn overlong_dots_are_not_dots() {
        let path = parse("/%c0%ae%c0%ae/etc");
        let names: Vec<&[u8]> = path.segments().collect();
        assert_eq!(names, [&b"\xc0\xae\xc0\xae"[..], b"etc"]);
    }

    #[test]
    fn a_nul_is_reported() {
        let table: &[(&str, &[&str])] = &[
            ("/%00", &["\0"]),
            ("/style.css%00.html", &["style.css\0.html"]),
            ("/a\0b", &["a\0b"]),
            ("/%00/../a", &["a"]),
            ("/..%00/a", &["..\0", "a"]),
            ("/%/%00/%", &["%", "\0", "%"]),
            ("/%%00", &["%\0"]),
        ];
        for &(raw, names) in table {
            let path = parse(raw);
            assert_eq!(segments(&path), names, "{raw:?}");
            assert_eq!(path.oddity(), Some(Oddity::Nul), "{raw:?}");
        }
        assert_eq!(parse("/%2500/%01").oddity(), None);
    }

    #[test]
    fn a_path_without_a_leading_slash_is_rejected() {
        for raw in ["*", "etc/passwd", "../etc/passwd", "\\etc", "%2fetc"] {
            assert_eq!(
                RequestPath::parse(raw.as_bytes()),
                Err(NotAbsolute),
                "{raw}"
            );
        }
    }

    #[test]
    fn e3_script_name_and_path_info_are_the_decoded_path() {
        let table: &[(&str, usize, &str, &str)] = &[
            ("/", 0, "", "/"),
            ("/", 1, "", "/"),
            ("/hello", 0, "", "/hello"),
            ("/hello", 1, "/hello", ""),
            ("/hello", 9, "/hello", ""),
            ("/hello/", 1, "/hello", "/"),
            ("/hello/a%2Fb", 1, "/hello", "/a/b"),
            ("/a%2Fb/c", 1, "/a/b", "/c"),
            ("/api/users//7", 2, "/api/users", "//7"),
            ("//", 1, "/", "/"),
        ];
        for &(raw, count, script_name, path_info) in table {
            let path = parse(raw);
            let (head, tail) = path.split_after(count);
            assert_eq!(String::from_utf8_lossy(head), script_name, "{raw} {count}");
            assert_eq!(String::from_utf8_lossy(tail), path_info, "{raw} {count}");
            assert_eq!([head, tail].concat(), path.decoded(), "{raw} {count}");
        }
    }

    /// Every path of up to six parts of the alphabet keeps the invariants.
    #[test]
    fn every_short_path_keeps_the_invariants() {
        const ALPHABET: [&str; 6] = ["/", ".", "2", "%2e", "%2F", "%"];
        let mut paths = vec![String::from("/")];
        for _ in 0..6 {
            let longer = paths
                .iter()
                .flat_map(|path| ALPHABET.map(|letter| format!("{path}{letter}")));
            paths = longer.collect();
            for raw in &paths {
                let path = parse(raw);
                assert_eq!(path.decoded().first(), Some(&b'/'), "{raw}");
                assert!(path.segments().all(|s| s != b"." && s != b".."), "{raw}");
                let joined: Vec<u8> = path.segments().flat_map(|s| [b"/", s].concat()).collect();
                let slash: &[u8] = if path.has_trailing_slash() { b"/" } else { b"" };
                assert_eq!([&joined[..], slash].concat(), path.decoded(), "{raw}");
                assert_eq!(path.segments().len(), path.segment_count(), "{raw}");
            }
        }
    }
}
