//! Recognizes files that are not handlers by their first bytes, so that a message can name their
//! type.

/// The number of bytes examined: up to the end of a tar archive's magic number.
pub(crate) const LOOK_BYTES: usize = 262;

/// The type of a file and advice on what to do with it. Both texts are written to follow "is".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// The type with an article: `an ELF program`.
    pub name: &'static str,
    /// How to make a handler of it, or what to look at.
    pub advice: &'static str,
}

const REBUILD: &str = "build it for wasm32-wasip2";
const UNPACK: &str = "unpack it first";
const SOURCE: &str = "build it, and serve the resulting .wasm file";
const PAGE: &str = "pages go into html/";
const PYTHON: &str = "`python -m wasgi build MODULE:APP -o FILE.wasm` builds a handler from a \
                      Python application";

/// The first bytes of each type, its name and the advice.
const BEGINNINGS: [(&[u8], &str, &str); 27] = [
    (b"\x7fELF", "an ELF program", REBUILD),
    (b"MZ", "a Windows program", REBUILD),
    (b"\xcf\xfa\xed\xfe", "a macOS program", REBUILD),
    (
        b"\xca\xfe\xba\xbe",
        "a macOS program or a Java class",
        REBUILD,
    ),
    (b"!<arch>\n", "a static library", REBUILD),
    (b"BC\xc0\xde", "LLVM bitcode", REBUILD),
    (b"PK\x03\x04", "a zip archive, such as a wheel", PYTHON),
    (b"PK\x05\x06", "an empty zip archive", PYTHON),
    (b"\x1f\x8b", "gzip data", UNPACK),
    (b"\x28\xb5\x2f\xfd", "zstd data", UNPACK),
    (b"\xfd7zXZ\0", "xz data", UNPACK),
    (b"BZh", "bzip2 data", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (
        b"SQLite format 3\0",
        "an SQLite database",
        "it belongs elsewhere",
    ),
    (b"%PDF-", "a PDF document", PAGE),
    (b"\x89PNG", "a PNG image", PAGE),
    (b"\xff\xd8\xff", "a JPEG image", PAGE),
    (b"GIF8", "a GIF image", PAGE),
    (b"<!doctype", "an HTML page", PAGE),
    (b"<html", "an HTML page", PAGE),
    (b"<?php", "PHP", SOURCE),
    (b"<?xml", "XML", PAGE),
    (b"<svg", "an SVG image", PAGE),
    (b"#!", "a script", SOURCE),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS",
        "`git lfs pull` fetches the file itself",
    ),
    (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
];

/// Recognizes a file that begins with `bytes`, of which [`LOOK_BYTES`] are enough. None for
/// WebAssembly and for unknown types.
pub(crate) fn identify(bytes: &[u8]) -> Option<Foreign> {
    let bytes = &bytes[..bytes.len().min(LOOK_BYTES)];
    // The magic number ends with these two bytes, after the two bytes of the version (CPython,
    // importlib).
    if bytes.get(2..4) == Some(b"\r\n") && bytes.get(1) == Some(&0x0d) {
        return Some(Foreign {
            name: "compiled Python (.pyc)",
            advice: PYTHON,
        });
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some(Foreign {
            name: "a tar archive",
            advice: UNPACK,
        });
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let known = BEGINNINGS.iter().find(|(beginning, ..)| {
        let found = text.trim_ascii_start().get(..beginning.len());
        bytes.starts_with(beginning)
            || beginning.starts_with(b"<")
                && found.is_some_and(|found| found.eq_ignore_ascii_case(beginning))
    });
    known.map(|(_, name, advice)| Foreign { name, advice })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        let mut tar = [0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, name) in [
            (&b"\x7fELF\x02\x01"[..], Some("an ELF program")),
            (b"PK\x03\x04\x14\0", Some("a zip archive, such as a wheel")),
            (b"\x1f\x8b\x08", Some("gzip data")),
            (b"#!/bin/sh\n", Some("a script")),
            (b"\n <!DOCTYPE html>", Some("an HTML page")),
            (b"\xef\xbb\xbf<html>", Some("an HTML page")),
            (b"\xa7\x0d\r\n\0\0", Some("compiled Python (.pyc)")),
            (&tar, Some("a tar archive")),
            (b"\0asm\x01\0\0\0", None),
            (b"prose", None),
            (b"", None),
            (b"P", None),
        ] {
            let foreign = identify(bytes).map(|foreign| foreign.name);
            assert_eq!(foreign, name, "{}", bytes.escape_ascii());
        }
    }
}
