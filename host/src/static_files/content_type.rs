//! The media type of a page, from its file name extension.
//!
//! Text types are declared as UTF-8, the encoding that editors write. The cost is that a page in
//! another encoding cannot declare it in its content, since the charset of the field takes
//! precedence. XML gets no charset, since it has its own declaration.

use std::borrow::Cow;

use crate::content::Coding;

/// The value of a `Content-Type` field.
pub(super) type ContentType = Cow<'static, [u8]>;

/// The type for names without a known extension: bytes, which a browser offers to save.
const UNKNOWN: &[u8] = b"application/octet-stream";

/// Returns the type of a file with this name, and the coding of its bytes.
///
/// `app.js.gz` is a script with the coding gzip. This applies to types that a page loads, which
/// would not work otherwise. An archive, a log or a table is a download and served unchanged:
/// `data.csv.gz` has the type of gzip and no coding, since a browser would decompress it and keep
/// the name.
pub(super) fn of_file(name: &[u8]) -> (ContentType, Option<Coding>) {
    // The SVG specification defines files with this extension as gzip.
    if strip_ending(name, b".svgz").is_some() {
        return (of_name(name), Some(Coding::Gzip));
    }
    for coding in Coding::BY_SIZE {
        if let Some(inner) = strip_ending(name, coding.ending().as_bytes()) {
            let content_type = of_name(inner);
            if is_loaded_by_pages(&content_type) {
                return (content_type, Some(coding));
            }
        }
    }
    (of_name(name), None)
}

/// Removes an extension from a name, regardless of case.
fn strip_ending<'a>(name: &'a [u8], ending: &[u8]) -> Option<&'a [u8]> {
    let (before, end) = name.split_at_checked(name.len().checked_sub(ending.len())?)?;
    end.eq_ignore_ascii_case(ending).then_some(before)
}

/// Reports whether browsers load this type as a page or as part of one.
fn is_loaded_by_pages(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next();
    matches!(
        essence,
        Some(
            b"text/html"
                | b"text/css"
                | b"text/javascript"
                | b"application/json"
                | b"application/manifest+json"
                | b"application/wasm"
                | b"image/svg+xml"
        )
    )
}

/// Returns the type of a page with this name.
pub(super) fn of_name(name: &[u8]) -> ContentType {
    let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
    let dot = file.iter().rposition(|&byte| byte == b'.');
    let ending = dot
        .and_then(|dot| file.get(dot + 1..))
        .and_then(|e| std::str::from_utf8(e).ok());
    let guessed = ending.and_then(|ending| mime_guess::from_ext(ending).first_raw());
    guessed.map_or(Cow::Borrowed(UNKNOWN), with_charset)
}

/// Adds the charset to a type. The common types do not allocate.
fn with_charset(media_type: &'static str) -> ContentType {
    Cow::Borrowed(match media_type {
        "text/html" => b"text/html; charset=utf-8",
        "text/css" => b"text/css; charset=utf-8",
        // RFC 9239: the other names are obsolete aliases.
        "text/javascript" | "application/javascript" => b"text/javascript; charset=utf-8",
        "text/plain" => b"text/plain; charset=utf-8",
        "text/markdown" => b"text/markdown; charset=utf-8",
        "application/json" => b"application/json; charset=utf-8",
        "image/svg+xml" => b"image/svg+xml; charset=utf-8",
        text if text.starts_with("text/") && text != "text/xml" => {
            return Cow::Owned(format!("{text}; charset=utf-8").into_bytes());
        }
        other => other.as_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::is_compressible;

    #[test]
    fn the_extension_determines_the_type() {
        let table = [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.HTM", "text/html; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("data.json", "application/json; charset=utf-8"),
            ("favicon.svg", "image/svg+xml; charset=utf-8"),
            ("favicon.ico", "image/x-icon"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("notes.md", "text/markdown; charset=utf-8"),
            ("table.csv", "text/csv; charset=utf-8"),
            ("feed.xml", "text/xml"),
            ("photo.jpeg", "image/jpeg"),
            ("photo.webp", "image/webp"),
            ("font.woff2", "font/woff2"),
            ("app.wasm", "application/wasm"),
            ("a.tar.gz", "application/gzip"),
            ("README", "application/octet-stream"),
            ("a.html/README", "application/octet-stream"),
            ("x.", "application/octet-stream"),
            ("x.nosuchending", "application/octet-stream"),
        ];
        for (name, media_type) in table {
            assert_eq!(
                String::from_utf8_lossy(&of_name(name.as_bytes())),
                media_type,
                "{name}"
            );
        }
        assert_eq!(of_name(b"x.\xff\xfe").as_ref(), UNKNOWN);
    }

    #[test]
    fn a_resource_of_a_page_has_the_coding_of_its_name() {
        let svg = "image/svg+xml; charset=utf-8";
        let script = "text/javascript; charset=utf-8";
        let gzip = "application/gzip";
        for (name, media_type, coding) in [
            ("x.svgz", svg, Some(Coding::Gzip)),
            ("a/X.SVGZ", svg, Some(Coding::Gzip)),
            ("x.svg.gz", svg, Some(Coding::Gzip)),
            ("x.js.gz", script, Some(Coding::Gzip)),
            ("x.min.mjs.GZ", script, Some(Coding::Gzip)),
            ("x.js.br", script, Some(Coding::Brotli)),
            ("x.js.zst", script, Some(Coding::Zstd)),
            ("x.css.br", "text/css; charset=utf-8", Some(Coding::Brotli)),
            ("x.html.gz", "text/html; charset=utf-8", Some(Coding::Gzip)),
            ("x.wasm.br", "application/wasm", Some(Coding::Brotli)),
            (
                "x.json.gz",
                "application/json; charset=utf-8",
                Some(Coding::Gzip),
            ),
            ("x.tar.gz", gzip, None),
            ("x.csv.gz", gzip, None),
            ("x.log.gz", gzip, None),
            ("sitemap.xml.gz", gzip, None),
            ("x.gz", gzip, None),
            ("x.js.gz.gz", gzip, None),
            ("js.gz", gzip, None),
            ("x.js", script, None),
            ("x.js/gz", "application/octet-stream", None),
            (".gz", "application/gzip", None),
            ("", "application/octet-stream", None),
        ] {
            let (found, its_coding) = of_file(name.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), media_type, "{name}");
            assert_eq!(its_coding, coding, "{name}");
        }
    }

    #[test]
    fn types_that_gain_from_compression_are_compressible() {
        for (name, smaller) in [
            ("a.html", true),
            ("a.css", true),
            ("a.js", true),
            ("a.json", true),
            ("a.svg", true),
            ("a.xml", true),
            ("a.wasm", true),
            ("a.webmanifest", true),
            ("a.ttf", true),
            ("a.woff2", false),
            ("a.png", false),
            ("a.gz", false),
            ("a.mp4", false),
            ("a.pdf", false),
            ("a", false),
        ] {
            let content_type = of_name(name.as_bytes());
            assert_eq!(is_compressible(&content_type), smaller, "{name}");
        }
    }
}
