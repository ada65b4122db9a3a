//! Valid heads, whole and in pieces, and the errors for invalid ones.

use super::*;

const LIMIT: usize = 1024;

/// Parses output that arrives in one piece.
fn read(output: &str) -> Result<Started, BadHead> {
    let mut reader = HeadReader::new(LIMIT);
    match reader.feed(output.as_bytes()) {
        Ok(Some(started)) => Ok(started),
        Ok(None) => Err(reader.cut_short()),
        Err(bad) => Err(bad),
    }
}

fn fields(head: &Head) -> Vec<(&str, &str)> {
    let text = |value| std::str::from_utf8(value).expect("text");
    head.fields
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect()
}

#[test]
fn the_status_is_explicit_or_a_default() {
    for (output, status, reason) in [
        ("Content-Type: text/plain\n\n", 200, "OK"),
        ("Status: 404 Not Here\n\n", 404, "Not Here"),
        ("Status: 404\n\n", 404, "Not Found"),
        ("Status:201\r\n\r\n", 201, "Created"),
        ("status: 299\nContent-Type: a/b\n\n", 299, ""),
        // A local redirect is sent to the client, as is a redirect to another host.
        ("Location: /elsewhere?x=1\n\n", 302, "Found"),
        ("Location: http://a.example/\n\n", 302, "Found"),
        ("LOCATION: /b\nStatus: 303 See Other\n\n", 303, "See Other"),
    ] {
        let head = read(output).expect(output).head;
        assert_eq!(
            (head.status, &*head.reason),
            (status, reason.as_bytes()),
            "{output:?}"
        );
    }
}

#[test]
fn fields_are_kept_in_order_and_cgis_own_are_taken_out() {
    let started = read(
        "Content-Type:  text/html; charset=utf-8 \r\nSet-Cookie: a=1\nStatus: 200 OK\n\
         X-Empty:\nSet-Cookie: b=2: c\r\nContent-Length: 4\n\nbody\n\n",
    )
    .expect("a head");
    assert_eq!(
        fields(&started.head),
        [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2: c"),
        ]
    );
    assert_eq!(started.head.length, Some(4));
    assert_eq!(started.body, b"body\n\n");
}

#[test]
fn a_head_can_arrive_in_any_pieces() {
    let output = b"Status: 201\r\nContent-Type: text/plain\r\n\r\n\r\nbody";
    let whole = HeadReader::new(LIMIT)
        .feed(output)
        .expect("a head")
        .expect("a whole one");
    for cut in 0..output.len() {
        let mut reader = HeadReader::new(LIMIT);
        let (first, second) = output.split_at(cut);
        let mut got = reader.feed(first).expect("a head");
        match &mut got {
            Some(started) => started.body.extend_from_slice(second),
            None => got = reader.feed(second).expect("a head"),
        }
        assert_eq!(got.as_ref(), Some(&whole), "cut at {cut}");
    }
    let mut reader = HeadReader::new(LIMIT);
    let started = output
        .iter()
        .find_map(|&byte| reader.feed(&[byte]).expect("a head"))
        .expect("a whole one");
    assert_eq!(started.head, whole.head);
    assert_eq!(started.body, b"");
}

#[test]
fn an_invalid_head_is_rejected_with_the_reason() {
    for (output, why) in [
        ("", "wrote nothing"),
        ("Content-Type: text/plain\n", "within the head"),
        ("Content-Type: text/pl", "within the head"),
        ("\nContent-Type: text/plain\n\n", "neither Content-Type nor"),
        ("X-Only: this\n\n", "neither Content-Type nor"),
        ("Hello, world\n", "`Hello, world`"),
        ("<p>\n\n", "`<p>`"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n",
            "Status: 200 OK",
        ),
        ("Content-Type: a/b\n charset=utf-8\n\n", "on one line"),
        (
            "Content-Type: a/b\nContent-Type: c/d\n\n",
            "more than one Content-Type",
        ),
        ("Location: /a\nlocation: /b\n\n", "more than one location"),
        ("Status: 200\nStatus: 201\n\n", "more than one Status"),
        ("Status: OK\n\n", "three digits"),
        ("Status: 99\n\n", "three digits"),
        (
            "Status: 101 Switching Protocols\n\n",
            "only the server sends",
        ),
        ("Content Type: a/b\n\n", "neither Content-Type nor"),
        ("Content-Type: a/b\nX y: z\n\n", "not a token"),
        ("Content-Type: a/b\nX: y\u{1}z\n\n", "control character"),
        ("Content-Type: a/b\rX: y\n\n", "control character"),
        ("Content-Type: a/b\nConnection: close\n\n", "hop-by-hop"),
        (
            "Content-Type: a/b\nTransfer-Encoding: chunked\n\n",
            "hop-by-hop",
        ),
        ("Content-Type: a/b\nContent-Length: x\n\n", "not a number"),
    ] {
        let bad = read(output).expect_err(output).to_string();
        assert!(bad.contains(why), "{output:?}: {bad}");
        assert!(!bad.contains('\n'), "{output:?}: {bad}");
    }
}

#[test]
fn a_head_above_the_limit_is_rejected() {
    let field = "X-Field: 0123456789\n";
    let fits = field.repeat((LIMIT - 40) / field.len());
    read(&format!("Content-Type: a/b\n{fits}\n")).expect("a head within the limit");

    let too_much = field.repeat(LIMIT / field.len() + 1);
    let bad = read(&format!("Content-Type: a/b\n{too_much}\n")).expect_err("too large");
    assert!(bad.to_string().contains("--max-response-head"), "{bad}");

    // The limit also applies to a line without an end.
    let mut reader = HeadReader::new(LIMIT);
    assert_eq!(reader.feed(&[b'x'; LIMIT]), Ok(None));
    assert!(reader.feed(b"x").is_err());

    let many = "a:1\n".repeat(MAX_FIELDS + 1);
    let bad = read(&format!("Content-Type: a/b\n{many}\n")).expect_err("too many");
    assert!(bad.to_string().contains("more than 100 fields"), "{bad}");
}

#[test]
fn a_long_line_is_shown_by_its_front() {
    let line = "no field ".repeat(50);
    let bad = read(&format!("{line}\n"))
        .expect_err("no field")
        .to_string();
    assert!(bad.contains("…`"), "{bad}");
    assert!(bad.len() < 250, "{bad}");
}
