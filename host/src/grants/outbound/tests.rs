//! Tests of granted hosts: their syntax, and what they permit.

use super::*;

fn grants(entries: &[&str]) -> OutboundGrants {
    let entries: Vec<HostOptions> = entries
        .iter()
        .map(|text| match text.strip_prefix("private ") {
            Some(host) => HostOptions::Table(HostTable {
                host: host.into(),
                private: true,
            }),
            None => HostOptions::Plain((*text).into()),
        })
        .collect();
    OutboundGrants::parse(&entries).expect("good")
}

fn host(text: &str) -> Host {
    Host::parse_bare(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_host_has_a_scheme_a_name_and_a_port() {
    for (text, why) in [
        ("https://api.example.com", ""),
        ("http://*.example.com:8080", ""),
        ("tcp://db.internal:5432", ""),
        ("https://API.Example.com", ""),
        ("https://*", ""),
        ("http://localhost:3000", ""),
        ("http://127.0.0.1:3000", ""),
        ("https://[2606:4700::1]", ""),
        ("tcp://[::1]:5432", ""),
        ("http://_dmarc.example.com", ""),
        ("api.example.com", "must begin with a scheme"),
        ("//api.example.com", "must begin with a scheme"),
        ("ftp://example.com", "must be https, http or tcp, not ftp"),
        ("postgres://db:5432", "databases and others are tcp"),
        ("HTTPS://example.com", "must be https, http or tcp"),
        ("tcp://db.internal", "needs a port"),
        ("https://example.com/", "path"),
        ("https://example.com/v1", "path"),
        ("https://example.com?q", "query"),
        ("https://example.com#f", "path or a query"),
        ("https://user@example.com", "user"),
        ("https://a:b@example.com", "user"),
        ("https://", "the host is missing"),
        ("https://:443", "the host is missing"),
        ("https://example.com:0", "must not be 0"),
        ("https://example.com:65536", "the port must be a number"),
        ("https://example.com:+80", "the port must be a number"),
        ("https://example.com:*", "the port must be a number"),
        ("https://example.com:", "the port must be a number"),
        ("https://a.*.com", "a wildcard must be"),
        ("https://*a.com", "a wildcard must be"),
        ("https://*.*.com", "a wildcard must be"),
        ("https://*.", "the host is missing"),
        ("https://*.10.0.0.1", "an address can't have a wildcard"),
        ("https://example.com.", "not a host name"),
        ("https://exa mple.com", "not a host name"),
        ("https://-a.example", "not a host name"),
        ("https://exämple.com", "not a host name"),
        ("https://a%2eb", "not a host name"),
        ("https://127.1", "neither a name nor an IPv4 address"),
        ("https://0x7f000001", "neither a name nor an IPv4 address"),
        ("https://0x7f.0.0.0x1", "neither a name nor an IPv4 address"),
        ("https://2130706433", "neither a name nor an IPv4 address"),
        ("https://0177.0.0.1", "neither a name nor an IPv4 address"),
        ("https://127.0.0.01", "neither a name nor an IPv4 address"),
        ("https://1.2.3.4.5", "neither a name nor an IPv4 address"),
        ("https://[::1", "bracket"),
        ("https://::1", "must be in brackets"),
        ("https://[1.2.3.4]", "not an IPv6 address"),
        ("https://[fe80::1%eth0]", "not an IPv6 address"),
        ("http://0.0.0.0", "not the address of a host"),
        ("http://[::]", "not the address of a host"),
        ("http://224.0.0.1", "not the address of a host"),
        ("http://[::ffff:127.0.0.1]", "not the address of a host"),
    ] {
        let parsed = OutboundGrants::parse(&[HostOptions::Plain(text.into())]);
        match parsed {
            Ok(_) => assert_eq!(why, "", "{text} is accepted"),
            Err(error) => {
                assert!(!why.is_empty() && error.contains(why), "{error}");
                let shown = redact::urls(text);
                assert!(error.starts_with(&format!("{shown:?}: ")), "{error}");
            }
        }
    }
    let long = format!("https://{}.com", "a".repeat(64));
    assert!(OutboundGrants::parse(&[HostOptions::Plain(long)]).is_err());
}

#[test]
fn a_grant_is_for_one_scheme_host_and_port() {
    let grants = grants(&[
        "https://api.example.com",
        "http://*.example.org:8080",
        "tcp://db.internal:5432",
        "http://10.0.0.1",
    ]);
    use Protocol::{Http, Https, Tcp};
    for (protocol, name, port, granted) in [
        (Https, "api.example.com", 443, true),
        (Https, "API.EXAMPLE.COM", 443, true),
        (Https, "api.example.com", 8443, false),
        (Http, "api.example.com", 443, false),
        (Http, "api.example.com", 80, false),
        (Https, "example.com", 443, false),
        (Https, "api.example.com.evil.test", 443, false),
        (Https, "evilapi.example.com", 443, false),
        (Http, "a.example.org", 8080, true),
        (Http, "a.b.example.org", 8080, true),
        (Http, "example.org", 8080, false),
        (Http, "aexample.org", 8080, false),
        (Http, "a.example.org", 80, false),
        (Tcp, "db.internal", 5432, true),
        (Https, "db.internal", 5432, false),
        (Http, "10.0.0.1", 80, true),
        (Http, "10.0.0.2", 80, false),
        (Http, "::ffff:10.0.0.1", 80, false),
    ] {
        let found = grants.allows_http(protocol, &host(name), port);
        assert_eq!(found, granted, "{protocol:?} {name} {port}");
    }
    assert!(grants.allows_lookup(&host("api.example.com")));
    assert!(grants.allows_lookup(&host("db.internal")));
    assert!(!grants.allows_lookup(&host("other.internal")));
}

#[test]
fn a_name_stands_for_public_addresses_unless_its_grant_says_otherwise() {
    for (entry, name, address, permitted) in [
        ("https://a.test", "a.test", "1.1.1.1", true),
        ("https://a.test", "a.test", "2606:4700::1", true),
        ("https://a.test", "a.test", "127.0.0.1", false),
        ("https://a.test", "a.test", "10.0.0.1", false),
        ("https://a.test", "a.test", "169.254.169.254", false),
        ("https://a.test", "a.test", "::1", false),
        ("https://a.test", "a.test", "::ffff:1.1.1.1", false),
        ("https://a.test", "a.test", "fd00::1", false),
        ("private https://a.test", "a.test", "10.0.0.1", true),
        ("private https://a.test", "a.test", "127.0.0.1", true),
        ("private https://a.test", "a.test", "fd00::1", true),
        ("private https://a.test", "a.test", "169.254.169.254", false),
        ("private https://a.test", "a.test", "::ffff:10.0.0.1", false),
        ("private https://a.test", "a.test", "0.0.0.0", false),
        ("private https://a.test", "b.test", "1.1.1.1", false),
        ("https://localhost", "localhost", "127.0.0.1", true),
        ("https://localhost", "localhost", "::1", true),
        ("https://localhost", "localhost", "10.0.0.1", false),
        ("https://*.localhost", "a.localhost", "127.0.0.1", true),
        ("https://*", "localhost", "127.0.0.1", false),
        ("https://*", "127.0.0.1", "127.0.0.1", false),
        ("https://*", "1.1.1.1", "1.1.1.1", true),
        ("https://*", "any.test", "1.1.1.1", true),
        ("https://*", "any.test", "10.0.0.1", false),
        ("private https://*", "any.test", "10.0.0.1", true),
        ("https://127.0.0.1", "127.0.0.1", "127.0.0.1", true),
        ("https://127.0.0.1", "127.0.0.2", "127.0.0.2", false),
        (
            "https://169.254.169.254",
            "169.254.169.254",
            "169.254.169.254",
            true,
        ),
        // A name may not stand for an address that another entry grants.
        ("https://127.0.0.1", "a.test", "127.0.0.1", false),
    ] {
        let granted = grants(&[entry]);
        for check in [
            granted.check_http(Protocol::Https, &host(name), 443, ip(address)),
            granted.check_socket(&host(name), 443, ip(address)),
        ] {
            assert_eq!(check.is_ok(), permitted, "{entry}: {name} = {address}");
        }
        assert!(
            granted
                .check_http(Protocol::Http, &host(name), 443, ip(address))
                .is_err()
        );
        assert!(granted.check_socket(&host(name), 444, ip(address)).is_err());
    }
    let why = grants(&["https://a.test"]).check_socket(&host("a.test"), 443, ip("10.0.0.1"));
    let why = why.expect_err("it is private");
    assert_eq!((why.range, why.is_private), ("private", true));
}

#[test]
fn an_ipv4_address_in_another_form_is_not_a_host() {
    for text in [
        "127.1",
        "0x7f.1",
        "0x7F000001",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "1.2.3",
        "1.2.3.4.",
        "256.256.256.256",
        "0x",
        "a.0",
        "a.0x1f",
        "",
        ".",
        "a..b",
        "a b",
        "a/b",
        "a\0b",
    ] {
        assert!(Host::parse_bare(text).is_err(), "{text:?}");
        assert!(Host::parse(text).is_err(), "{text:?}");
    }
    assert!(Host::parse("::1").is_err());
    assert_eq!(Host::parse("[::1]"), Ok(host("::1")));
    assert_eq!(host("0x.example").to_string(), "0x.example");
    assert_eq!(host("::1").to_string(), "[::1]");
}
