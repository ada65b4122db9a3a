//! The origin of requests through proxies.

use std::sync::Arc;
use std::time::Instant;

use super::super::hop::HOPS;
use super::*;
use crate::http1::{self, Incoming};

const LOCAL: &str = "198.51.100.7:8000";

fn options(fields: Fields) -> ProxyOptions {
    ProxyOptions {
        trusted: vec![
            "10.0.0.0/8".parse().expect("a network"),
            "2001:db8:10::/48".parse().expect("a network"),
        ],
        fields,
        protocol: false,
    }
}

fn head(fields: &[&str]) -> Arc<RequestHead> {
    let now = Instant::now();
    let mut connection = http1::Connection::new(Arc::default(), now);
    let mut request = String::from("GET / HTTP/1.1\r\nHost: inner:8000\r\n");
    for field in fields {
        request.push_str(field);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    connection.receive(request.as_bytes(), now);
    match connection.next_request(now) {
        Some(Incoming::Request(head)) => head,
        other => panic!("{fields:?}: {other:?}"),
    }
}

/// Returns client and scheme, and host and port if they differ from the connection's.
fn origin(peer: &str, kind: Fields, fields: &[&str]) -> String {
    let origin = Origin::from_request(
        &head(fields),
        SocketAddr::new(peer.parse().expect(peer), 5000),
        LOCAL.parse().expect(LOCAL),
        Scheme::Http,
        &options(kind),
    );
    let mut said = match origin.peer.port() {
        0 => origin.peer.ip().to_string(),
        _ => origin.peer.to_string(),
    };
    if origin.scheme == Scheme::Https {
        said.push_str(" https");
    }
    if let Some(host) = &origin.host {
        said.push_str(&format!(" {}", host.escape_ascii()));
    }
    if origin.local.port() != 8000 {
        said.push_str(&format!(" :{}", origin.local.port()));
    }
    said
}

fn check(kind: Fields, table: &[(&[&str], &str)]) {
    for (fields, expected) in table {
        assert_eq!(origin("10.0.0.1", kind, fields), *expected, "{fields:?}");
    }
}

#[test]
fn fields_of_an_untrusted_peer_are_ignored() {
    let fields = [
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1",
        "Forwarded: for=1.2.3.4;proto=https;host=evil.example",
    ];
    for kind in [Fields::XForwarded, Fields::Forwarded, Fields::None] {
        assert_eq!(origin("192.0.2.1", kind, &fields), "192.0.2.1:5000");
    }
    assert_eq!(origin("10.0.0.1", Fields::None, &fields), "10.0.0.1:5000");
    // A trusted proxy sets one kind of field and forwards the other unchanged.
    assert_eq!(
        origin("10.0.0.1", Fields::XForwarded, &fields[4..]),
        "10.0.0.1:5000"
    );
    assert_eq!(
        origin("10.0.0.1", Fields::Forwarded, &fields[..4]),
        "10.0.0.1:5000"
    );
}

#[test]
fn an_ipv4_proxy_on_an_ipv6_socket_is_the_same_one() {
    let said = origin(
        "::ffff:10.0.0.1",
        Fields::XForwarded,
        &["X-Forwarded-For: 192.0.2.1"],
    );
    assert_eq!(said, "192.0.2.1");
}

#[test]
fn the_client_is_taken_from_x_forwarded_for() {
    check(
        Fields::XForwarded,
        &[
            (&[], "10.0.0.1:5000"),
            (&["X-Forwarded-For: 192.0.2.1"], "192.0.2.1"),
            (&["x-forwarded-FOR:  192.0.2.1\t"], "192.0.2.1"),
            (&["X-Forwarded-For: 192.0.2.1:77"], "192.0.2.1:77"),
            (&["X-Forwarded-For: 2001:db8::1"], "2001:db8::1"),
            (&["X-Forwarded-For: [2001:db8::1]:7"], "[2001:db8::1]:7"),
            // Addresses to the left of the client are the client's own statement.
            (&["X-Forwarded-For: 1.2.3.4, 192.0.2.1"], "192.0.2.1"),
            (&["X-Forwarded-For: 10.9.9.9, 192.0.2.1"], "192.0.2.1"),
            // Trusted proxies are followed, in one line or several.
            (
                &["X-Forwarded-For: 1.2.3.4, 192.0.2.1, 10.0.0.3,10.0.0.2"],
                "192.0.2.1",
            ),
            (
                &[
                    "X-Forwarded-For: 1.2.3.4",
                    "X-Forwarded-For: 192.0.2.1",
                    "X-Forwarded-For: 2001:db8:10::5",
                ],
                "192.0.2.1",
            ),
            // All proxies are trusted: the farthest is the client.
            (&["X-Forwarded-For: 10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // The path ends at an invalid address.
            (&["X-Forwarded-For: unknown"], "10.0.0.1:5000"),
            (
                &["X-Forwarded-For: 192.0.2.1, nonsense, 10.0.0.2"],
                "10.0.0.2",
            ),
            (&["X-Forwarded-For: 192.0.2.1,"], "10.0.0.1:5000"),
            (&["X-Forwarded-For:"], "10.0.0.1:5000"),
            (&["X-Forwarded-For: 192.0.2.1:x"], "10.0.0.1:5000"),
            (&["X-Forwarded-For: 192.0.2.1:65536"], "10.0.0.1:5000"),
            // Other fields: a list as long as the addresses' has one entry per proxy; of any other,
            // the nearest proxy's entry applies.
            (&["X-Forwarded-Proto: https"], "10.0.0.1:5000 https :443"),
            (&["X-Forwarded-Proto: HTTPS"], "10.0.0.1:5000 https :443"),
            (&["X-Forwarded-Proto: gopher"], "10.0.0.1:5000"),
            (
                &[
                    "X-Forwarded-For: 192.0.2.1, 10.0.0.2",
                    "X-Forwarded-Proto: https, http",
                ],
                "192.0.2.1 https :443",
            ),
            (
                &[
                    "X-Forwarded-For: 1.2.3.4, 192.0.2.1",
                    "X-Forwarded-Proto: https, http",
                ],
                "192.0.2.1 :80",
            ),
            (
                &[
                    "X-Forwarded-For: 192.0.2.1, 10.0.0.2",
                    "X-Forwarded-Proto: https",
                ],
                "192.0.2.1 https :443",
            ),
            (
                &[
                    "X-Forwarded-For: 192.0.2.1",
                    "X-Forwarded-Proto: https, http",
                ],
                "192.0.2.1 :80",
            ),
            (
                &["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: a.example"],
                "192.0.2.1 a.example :80",
            ),
            (
                &[
                    "X-Forwarded-Host: a.example:8443",
                    "X-Forwarded-Proto: https",
                ],
                "10.0.0.1:5000 https a.example :8443",
            ),
            (
                &["X-Forwarded-Host: a.example:8443", "X-Forwarded-Port: 444"],
                "10.0.0.1:5000 a.example :444",
            ),
            (&["X-Forwarded-Port: 99999"], "10.0.0.1:5000"),
            (&["X-Forwarded-Port: +1"], "10.0.0.1:5000"),
            (&["X-Forwarded-Host: a/b"], "10.0.0.1:5000"),
            (&["X-Forwarded-Host: user@b"], "10.0.0.1:5000"),
        ],
    );
}

#[test]
fn the_client_is_taken_from_forwarded() {
    check(
        Fields::Forwarded,
        &[
            (&["Forwarded: for=192.0.2.1"], "192.0.2.1"),
            (&["forwarded: FOR=192.0.2.1"], "192.0.2.1"),
            (&[r#"Forwarded: for="192.0.2.1:77""#], "192.0.2.1:77"),
            (&["Forwarded: for=192.0.2.1:77"], "192.0.2.1:77"),
            (&[r#"Forwarded: for="[2001:db8::1]""#], "2001:db8::1"),
            (&[r#"Forwarded: for="[2001:db8::1]:7""#], "[2001:db8::1]:7"),
            (&[r#"Forwarded: for="192.0.2.1:_port""#], "192.0.2.1"),
            (&[r#"Forwarded: for="192.0.\2.1""#], "192.0.2.1"),
            (
                &["Forwarded: for=192.0.2.1;proto=https;by=10.0.0.1;host=a.example"],
                "192.0.2.1 https a.example :443",
            ),
            (
                &[r#"Forwarded: for=192.0.2.1 ; Host="a.example:81";; secret="a,b;c=\"d""#],
                "192.0.2.1 a.example :81",
            ),
            (&["Forwarded: for=1.2.3.4, for=192.0.2.1"], "192.0.2.1"),
            (
                &["Forwarded: for=1.2.3.4;proto=http, for=192.0.2.1;proto=https,for=10.0.0.2"],
                "192.0.2.1 https :443",
            ),
            (
                &[
                    "Forwarded: for=192.0.2.1, ,",
                    "Forwarded: for=10.0.0.2;proto=https",
                ],
                "192.0.2.1 https :443",
            ),
            (
                &["Forwarded: for=unknown;proto=https"],
                "10.0.0.1:5000 https :443",
            ),
            (&["Forwarded: for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (&["Forwarded: proto=https"], "10.0.0.1:5000 https :443"),
            // A malformed element invalidates itself and all to the left.
            (&["Forwarded: for=192.0.2.1;for=192.0.2.2"], "10.0.0.1:5000"),
            (&["Forwarded: for"], "10.0.0.1:5000"),
            (&["Forwarded: for="], "10.0.0.1:5000"),
            (&["Forwarded: =192.0.2.1"], "10.0.0.1:5000"),
            (&["Forwarded: for =192.0.2.1"], "10.0.0.1:5000"),
            (&["Forwarded: for= 192.0.2.1"], "10.0.0.1:5000"),
            (&[r#"Forwarded: for="192.0.2.1"#], "10.0.0.1:5000"),
            (&[r#"Forwarded: for="192.0.2.1"x"#], "10.0.0.1:5000"),
            (&[r#"Forwarded: for="192.0.2.1\"#], "10.0.0.1:5000"),
            (
                &[r#"Forwarded: for="1.2.3.4, for="[2001:db8::1]""#],
                "10.0.0.1:5000",
            ),
            (
                &[r#"Forwarded: for="1.2.3.4"#, "Forwarded: for=192.0.2.1"],
                "192.0.2.1",
            ),
            (
                &[
                    "Forwarded: for=1.2.3.4",
                    "Forwarded: nonsense",
                    "Forwarded: for=10.0.0.2",
                ],
                "10.0.0.2",
            ),
            (&["Forwarded:"], "10.0.0.1:5000"),
            (&["Forwarded: ;"], "10.0.0.1:5000"),
        ],
    );
}

#[test]
fn a_way_without_end_is_followed_for_a_while() {
    let way = vec!["10.0.0.2"; HOPS + 5].join(",");
    let field = format!("X-Forwarded-For: 192.0.2.1,{way}");
    assert_eq!(
        origin("10.0.0.1", Fields::XForwarded, &[&field]),
        "10.0.0.2"
    );
    let way = vec!["for=10.0.0.2"; HOPS + 5].join(",");
    let field = format!("Forwarded: for=192.0.2.1,{way}");
    assert_eq!(origin("10.0.0.1", Fields::Forwarded, &[&field]), "10.0.0.2");
}

#[test]
fn every_prefix_of_a_field_says_something_and_panics_at_nothing() {
    let field = r#"for="[2001:db8:10::1]:7";proto=https;host="a:1", for=10.0.0.2 ; by="\"x", f=1"#;
    for length in 0..=field.len() {
        let part = &field[..length];
        origin(
            "10.0.0.1",
            Fields::Forwarded,
            &[&format!("Forwarded: {part}")],
        );
        origin(
            "10.0.0.1",
            Fields::XForwarded,
            &[&format!("X-Forwarded-For: {part}")],
        );
    }
}
