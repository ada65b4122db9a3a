//! Several parts of a page in one response: `multipart/byteranges` (RFC 9110 section 14.6).

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use wasgi_fields::range::Part;

use super::answer::{Content, Piece};

/// The `Content-Type` and the body of a response.
pub(super) struct Multipart {
    pub(super) content_type: Vec<u8>,
    pub(super) body: Content,
}

/// Joins parts, each with its bytes, of a page of `whole` bytes.
pub(super) fn join(parts: Vec<(Part, Piece)>, content_type: &[u8], whole: u64) -> Multipart {
    let boundary = boundary();
    let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
    let mut before = "";
    for (part, piece) in parts {
        let mut head = format!("{before}--{boundary}\r\nContent-Type: ").into_bytes();
        head.extend_from_slice(content_type);
        let range = part.content_range(whole);
        head.extend_from_slice(format!("\r\nContent-Range: {range}\r\n\r\n").as_bytes());
        pieces.push(Piece::Bytes(head.into()));
        pieces.push(piece);
        before = "\r\n";
    }
    pieces.push(Piece::Bytes(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
    Multipart {
        content_type: format!("multipart/byteranges; boundary={boundary}").into_bytes(),
        body: Content::Pieces(pieces),
    }
}

/// Returns the delimiter between the parts. A page cannot contain it by design: its 32 digits come
/// from random keys of this process, with new keys for each call.
fn boundary() -> String {
    let random = || RandomState::new().hash_one(());
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_delimited_as_in_the_rfc() {
        let part = |start, length| Part { start, length };
        let piece = |text: &'static str| Piece::Bytes(Bytes::from_static(text.as_bytes()));
        let parts = vec![(part(7, 2), piece("ab")), (part(0, 1), piece("c"))];
        let answer = join(parts, b"text/plain", 10);
        let Content::Pieces(pieces) = &answer.body else {
            panic!("pieces")
        };
        let text: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.to_vec(),
                Piece::File(_) => panic!("bytes"),
            })
            .collect();
        assert_eq!(answer.body.length(), text.len() as u64);
        let content_type = String::from_utf8(answer.content_type).expect("ASCII");
        let boundary = content_type
            .strip_prefix("multipart/byteranges; boundary=")
            .expect("a boundary");
        let said = format!(
            "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-8/10\r\n\r\nab\r\n\
             --{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/10\r\n\r\nc\r\n\
             --{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(text).expect("ASCII"), said);
    }

    #[test]
    fn no_two_boundaries_are_alike() {
        let boundaries: std::collections::HashSet<_> = (0..100).map(|_| boundary()).collect();
        assert_eq!(boundaries.len(), 100);
        assert!(boundaries.iter().all(|boundary| boundary.len() == 32));
    }
}
