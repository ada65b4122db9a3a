//! Compression of pages and of handlers' responses for clients that accept it.

use std::io::Read;

use crate::support::client::{Client, Ending};
use crate::support::response::{Framing, Response};
use crate::support::server::Server;
use crate::support::site::Site;

const LINE: &str = "A line of text, as there are many.\n";

fn text(length: usize) -> String {
    LINE.chars().cycle().take(length).collect()
}

fn ask(client: &mut Client, method: &str, target: &str, encodings: &str) -> Response {
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: {encodings}\r\n\r\n"
    ));
    client.response_to(method)
}

fn plain(response: &Response) -> String {
    let body = response.body.as_slice();
    let mut text = String::new();
    let result = match response.field("Content-Encoding") {
        None => (&mut &*body).read_to_string(&mut text),
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        Some("zstd") => zstd::stream::read::Decoder::new(body)
            .expect("a decoder")
            .read_to_string(&mut text),
        Some(other) => panic!("an unknown coding: {other}"),
    };
    result.expect("it can be decompressed");
    text
}

/// Creates a site that compresses the responses of its handler `text`.
fn site() -> Site {
    let site = Site::new().with_cases(["text"]);
    std::fs::write(
        site.path().join("wasgi.toml"),
        "[compress]\nhandlers = true\n",
    )
    .expect("written");
    site
}

#[test]
fn pages_are_compressed_for_who_takes_it() {
    let site = Site::new().with_page("page.txt", text(10_000));
    let server = Server::new(&site);
    let mut client = server.connect();
    for coding in ["gzip", "br", "zstd"] {
        let response = ask(&mut client, "GET", "/page.txt", coding);
        assert_eq!(response.field("Content-Encoding"), Some(coding));
        assert_eq!(response.field("Vary"), Some("Accept-Encoding"));
        assert!(response.body.len() < 1_000);
        assert_eq!(plain(&response), text(10_000));
    }
    let response = ask(&mut client, "GET", "/page.txt", "identity");
    assert_eq!(response.field("Content-Encoding"), None);
    assert_eq!(response.text(), text(10_000));
    server.stop();
}

#[test]
fn handlers_are_not_compressed_unless_asked_for() {
    let site = Site::new().with_cases(["text"]);
    let server = Server::new(&site);
    let response = ask(&mut server.connect(), "GET", "/text", "gzip");
    assert_eq!(response.field("Content-Encoding"), None);
    assert_eq!(response.field("Vary"), None);
    assert_eq!(response.text(), text(4096));
    server.stop();
}

#[test]
fn a_handlers_text_is_compressed_whole_or_as_it_comes() {
    let site = site();
    let server = Server::new(&site);
    let mut client = server.connect();
    for coding in ["gzip", "br", "zstd"] {
        // A short response in one block has a length; a long one, or one in several blocks, is
        // chunked.
        for (target, whole, has_length) in [
            ("/text?size=5000", text(5_000), true),
            ("/text?size=5000&length=5000", text(5_000), true),
            ("/text?n=7&size=3000", text(3_000).repeat(7), false),
            (
                "/text?n=7&size=3000&length=21000",
                text(3_000).repeat(7),
                false,
            ),
            ("/text?size=3000000", text(3_000_000), false),
        ] {
            let response = ask(&mut client, "GET", target, coding);
            assert_eq!(response.field("Content-Encoding"), Some(coding), "{target}");
            assert_eq!(response.field("Vary"), Some("Accept-Encoding"));
            assert_eq!(response.field("ETag"), Some("W/\"1\""));
            let framing = response.head.framing("GET");
            assert_eq!(
                matches!(framing, Framing::Length(_)),
                has_length,
                "{target}"
            );
            assert!(response.body.len() < whole.len() / 4, "{target}");
            assert!(plain(&response) == whole, "{target}");
        }
    }
    // A client that doesn't accept the encoding gets the uncompressed text, with `Vary`.
    let response = ask(&mut client, "GET", "/text?size=5000", "gzip;q=0");
    assert_eq!(response.field("Content-Encoding"), None);
    assert_eq!(response.field("Vary"), Some("Accept-Encoding"));
    assert_eq!(response.text(), text(5_000));
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn what_is_short_or_may_not_be_changed_is_left_alone() {
    let site = site();
    let server = Server::new(&site);
    let mut client = server.connect();
    for target in ["/text?size=100", "/text?size=5000&control=no-transform"] {
        let response = ask(&mut client, "GET", target, "gzip");
        assert_eq!(response.field("Content-Encoding"), None, "{target}");
        assert_eq!(response.field("ETag"), Some("\"1\""), "{target}");
    }
    server.stop();
}

#[test]
fn b5_the_answer_to_head_has_no_body() {
    let site = site();
    let server = Server::new(&site);
    let mut client = server.connect();
    for target in ["/text?size=5000", "/text?n=7&size=3000"] {
        let response = ask(&mut client, "HEAD", target, "gzip");
        assert_eq!(response.field("Content-Encoding"), Some("gzip"), "{target}");
        assert!(response.body.is_empty());
    }
    assert_eq!(ask(&mut client, "GET", "/text", "gzip").status(), 200);
    server.stop();
}

#[test]
fn b3_a_declared_length_is_kept_to() {
    let site = site();
    let server = Server::new(&site);
    // Too long: the excess is not sent.
    for target in [
        "/text?size=5000&length=4000",
        "/text?n=9&size=3000&length=4000",
    ] {
        let response = ask(&mut server.connect(), "GET", target, "gzip");
        assert!(plain(&response).starts_with(&text(3_000)), "{target}");
        assert_eq!(plain(&response).len(), 4_000, "{target}");
    }
    // Too short: the connection is cut.
    for target in [
        "/text?size=5000&length=6000",
        "/text?n=9&size=3000&length=60000",
    ] {
        let mut client = server.connect();
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n"
        ));
        let cut = client.cut_response();
        assert_eq!(cut.ending, Ending::Reset, "{target}");
    }
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["shorter than its Content-Length"]), 2);
}
