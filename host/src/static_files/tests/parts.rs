//! Parts of pages: one, several, and none.

use super::*;

#[test]
fn a_range_gets_one_part() {
    let site = Site::new();
    let large: Vec<u8> = (0..INLINE_MAX_BYTES * 2).map(|i| (i % 251) as u8).collect();
    site.write("large", &large);
    let size = large.len();
    let table = [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 100),
        ("bytes=-10", size - 10, 10),
        ("bytes=1-", 1, size - 1),
        ("bytes=0-", 0, size),
    ];
    for (range, start, length) in table {
        let answer = site.ask("GET", "/large", &[("Range", range)]).expect(range);
        assert_eq!(answer.status, 206, "{range}");
        assert!(body(&answer) == large[start..start + length], "{range}");
        let said = format!("bytes {start}-{}/{size}", start + length - 1);
        assert_eq!(field(&answer, "Content-Range"), Some(said), "{range}");
    }
    let answer = site
        .ask("GET", "/large", &[("Range", "bytes=131072-")])
        .expect("page");
    assert_eq!(answer.status, 416);
    assert_eq!(
        field(&answer, "Content-Range").as_deref(),
        Some("bytes */131072")
    );
    let answer = site
        .ask("HEAD", "/large", &[("Range", "bytes=0-0")])
        .expect("page");
    assert_eq!(answer.status, 200);
}

/// Splits a multipart body into its parts, each with its `Content-Range` and its bytes.
fn split(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let content_type = field(answer, "Content-Type").expect("a type");
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("several parts");
    let body = body(answer);
    assert_eq!(answer.body.length(), body.len() as u64);
    let mut rest = body.as_slice();
    let mut parts = Vec::new();
    let delimiter = format!("\r\n--{boundary}");
    loop {
        let mark = &delimiter.as_bytes()[if parts.is_empty() { 2 } else { 0 }..];
        rest = rest.strip_prefix(mark).expect("a delimiter");
        if rest == b"--\r\n" {
            return parts;
        }
        let end = memchr::memmem::find(rest, b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(rest[..end].to_vec()).expect("ASCII");
        let range = head
            .strip_prefix("\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: ")
            .expect("two fields");
        rest = &rest[end + 4..];
        let end = memchr::memmem::find(rest, delimiter.as_bytes()).expect("an end");
        parts.push((range.to_owned(), rest[..end].to_vec()));
        rest = &rest[end..];
    }
}

#[test]
fn several_ranges_get_a_multipart_response() {
    let site = Site::new();
    for size in [100, INLINE_MAX_BYTES as usize * 2] {
        let text: Vec<u8> = (0..size).map(|i| b'a' + (i % 26) as u8).collect();
        site.write("text.txt", &text);
        let ask = |range| {
            site.ask("GET", "/text.txt", &[("Range", range)])
                .expect("page")
        };
        // The parts are sent in the requested order.
        let answer = ask("bytes=50-59,0-0,-5");
        assert_eq!(answer.status, 206);
        assert_eq!(field(&answer, "Content-Range"), None);
        let last = (
            format!("bytes {}-{}/{size}", size - 5, size - 1),
            size - 5..size,
        );
        let expected = [
            (format!("bytes 50-59/{size}"), 50..60),
            (format!("bytes 0-0/{size}"), 0..1),
            last,
        ];
        let expected = expected.map(|(said, at)| (said, text[at].to_vec()));
        assert_eq!(split(&answer), expected);

        // Nearly the whole page: too much to be read at once if the page is long.
        let answer = ask("bytes=0-9,11-");
        let all: Vec<u8> = split(&answer)
            .into_iter()
            .flat_map(|(_, bytes)| bytes)
            .collect();
        assert!(all == [&text[..10], &text[11..]].concat());
        let is_file = matches!(&answer.body, Content::Pieces(pieces)
            if pieces.iter().any(|piece| matches!(piece, Piece::File(_))));
        assert_eq!(is_file, size > 1_000);

        // Overlapping ranges are one part, without delimiters.
        let answer = ask("bytes=0-9,5-19");
        let said = Some(format!("bytes 0-19/{size}"));
        assert_eq!(
            (answer.status, field(&answer, "Content-Range")),
            (206, said)
        );
        assert_eq!(body(&answer), &text[..20]);
    }
}

#[test]
fn unsatisfiable_ranges_get_416_and_malformed_ones_the_page() {
    let site = Site::new();
    site.write("text.txt", "0123456789");
    let ask = |range: &str| {
        site.ask("GET", "/text.txt", &[("Range", range)])
            .expect("page")
    };
    let answer = ask("bytes=10-,20-30");
    assert_eq!(answer.status, 416);
    let said = field(&answer, "Content-Range");
    assert_eq!(said.as_deref(), Some("bytes */10"));
    let many = vec!["0-0"; wasgi_fields::range::MAX_RANGES + 1].join(",");
    for ignored in ["bytes=0-1,x", "bytes=4-5,3-2", &format!("bytes={many}")] {
        let answer = ask(ignored);
        assert_eq!((answer.status, body(&answer).len()), (200, 10), "{ignored}");
    }
    let fields = [("Range", "bytes=0-1,4-5"), ("If-Range", "\"x\"")];
    assert_eq!(
        site.ask("GET", "/text.txt", &fields).expect("page").status,
        200
    );
    assert_eq!(
        site.ask("HEAD", "/text.txt", &fields[..1])
            .expect("page")
            .status,
        200
    );
}
