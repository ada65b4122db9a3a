//! Whether a handler's response is compressed, and what that changes in its head.

use super::{Coding, is_compressible};
use crate::gateway::Head;

/// How a response's body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Unchanged, for every client.
    Plain,
    /// It could have been compressed, but this client gets it as it is.
    Negotiated,
    /// It is compressed.
    Coded(Coding),
}

/// Looks at a response's head, and changes it to what goes with the form. `wanted` is the coding
/// that the client likes best of ours, `length` the body's length if it is known, and `min_bytes`
/// what is worth the work.
///
/// A response is left alone that has no whole body of its own (RFC 9110 section 15.3.7), a coding,
/// a type that doesn't become smaller, or `no-transform` (RFC 9111 section 5.2.2.6).
pub(crate) fn form(
    head: &mut Head,
    wanted: Option<Coding>,
    length: Option<u64>,
    min_bytes: u64,
) -> Form {
    let bodiless = matches!(head.status, 204 | 205 | 206 | 304);
    let is_short = length.is_some_and(|length| length < min_bytes);
    let of_type = value(head, "Content-Type").is_some_and(is_compressible);
    let is_coded = value(head, "Content-Encoding").is_some();
    if bodiless || is_short || !of_type || is_coded || keeps_its_form(head) {
        return Form::Plain;
    }
    add_vary(head);
    let Some(coding) = wanted else {
        return Form::Negotiated;
    };
    head.length = None;
    let name = coding.name().as_bytes().to_vec();
    head.fields.push(("Content-Encoding".into(), name));
    head.fields.retain(|(name, _)| !is_of_plain_bytes(name));
    for (name, tag) in &mut head.fields {
        // The tag is of other bytes, which mean the same (RFC 9110 section 8.8.1).
        if name.eq_ignore_ascii_case("ETag") && tag.starts_with(b"\"") {
            tag.splice(..0, *b"W/");
        }
    }
    Form::Coded(coding)
}

/// Fields that say something about the bytes as the handler gave them.
fn is_of_plain_bytes(name: &str) -> bool {
    ["Accept-Ranges", "Content-MD5", "Content-Digest", "Digest"]
        .iter()
        .any(|field| name.eq_ignore_ascii_case(field))
}

fn keeps_its_form(head: &Head) -> bool {
    values(head, "Cache-Control")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

fn add_vary(head: &mut Head) {
    let is_there = values(head, "Vary")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"Accept-Encoding"));
    if !is_there {
        let vary = ("Vary".into(), b"Accept-Encoding".to_vec());
        head.fields.push(vary);
    }
}

fn value<'a>(head: &'a Head, name: &'a str) -> Option<&'a [u8]> {
    values(head, name).next()
}

fn values<'a>(head: &'a Head, wanted: &'a str) -> impl Iterator<Item = &'a [u8]> {
    head.fields
        .iter()
        .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTML: (&str, &str) = ("Content-Type", "text/html");

    fn head(status: u16, fields: &[(&str, &str)]) -> Head {
        Head {
            status,
            reason: Vec::new(),
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).into(), value.as_bytes().to_vec()))
                .collect(),
            length: Some(5_000),
        }
    }

    fn field(head: &Head, name: &str) -> Vec<String> {
        values(head, name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn text_is_compressed_and_says_so() {
        let mut head = head(
            200,
            &[
                HTML,
                ("ETag", "\"1\""),
                ("Accept-Ranges", "bytes"),
                ("Vary", "Cookie"),
            ],
        );
        let form = form(&mut head, Some(Coding::Zstd), Some(5_000), 1024);
        assert_eq!(form, Form::Coded(Coding::Zstd));
        assert_eq!(head.length, None);
        assert_eq!(field(&head, "Content-Encoding"), ["zstd"]);
        assert_eq!(field(&head, "Vary"), ["Cookie", "Accept-Encoding"]);
        assert_eq!(field(&head, "ETag"), ["W/\"1\""]);
        assert!(field(&head, "Accept-Ranges").is_empty());
    }

    #[test]
    fn who_takes_no_coding_is_told_that_others_do() {
        let mut head = head(200, &[HTML, ("vary", "accept-encoding, Cookie")]);
        let before = head.clone();
        assert_eq!(form(&mut head, None, None, 1024), Form::Negotiated);
        assert_eq!(head, before);
    }

    #[test]
    fn what_is_left_alone() {
        for (status, fields, length) in [
            (204, &[HTML][..], Some(5_000)),
            (206, &[HTML], Some(5_000)),
            (304, &[HTML], Some(5_000)),
            (200, &[HTML], Some(1_023)),
            (200, &[], Some(5_000)),
            (200, &[("Content-Type", "image/png")], Some(5_000)),
            (200, &[HTML, ("content-encoding", "br")], Some(5_000)),
            (
                200,
                &[HTML, ("Cache-Control", "max-age=1 , No-Transform")],
                Some(5_000),
            ),
        ] {
            let mut head = head(status, fields);
            let before = head.clone();
            let form = form(&mut head, Some(Coding::Gzip), length, 1024);
            assert_eq!((form, &head), (Form::Plain, &before), "{status} {fields:?}");
        }
    }
}
