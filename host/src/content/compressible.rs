//! Which media types become smaller by compression.

/// Types that are compressible without saying so in their name.
const COMPRESSIBLE: [&[u8]; 14] = [
    b"application/javascript",
    b"application/json",
    b"application/rtf",
    b"application/sql",
    b"application/toml",
    b"application/wasm",
    b"application/x-javascript",
    b"application/x-sh",
    b"application/xml",
    b"application/yaml",
    b"font/otf",
    b"font/ttf",
    b"image/bmp",
    b"image/x-icon",
];

/// Whether what has this type becomes smaller by compression, as text does. Pictures, films, fonts
/// for the web and archives are compressed already.
pub(crate) fn is_compressible(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|&byte| byte == b';');
    let media_type = content_type.split_at(end.unwrap_or(content_type.len())).0;
    let media_type = media_type.trim_ascii().to_ascii_lowercase();
    media_type.starts_with(b"text/")
        || media_type.ends_with(b"+json")
        || media_type.ends_with(b"+xml")
        || COMPRESSIBLE.contains(&media_type.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_name_of_the_type() {
        for smaller in [
            "text/html; charset=utf-8",
            "Text/X ; a=b",
            "application/ld+json",
        ] {
            assert!(is_compressible(smaller.as_bytes()), "{smaller}");
        }
        for not in [
            "",
            "image/png",
            "application/octet-stream",
            "application/jsonx",
        ] {
            assert!(!is_compressible(not.as_bytes()), "{not}");
        }
    }
}
