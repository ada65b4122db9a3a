//! Upgrades of a server with virtual hosts: their certificates, sessions and sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{add_host, site};
use crate::support::client::Client;
use crate::support::site::Site;
use crate::support::tls::{Certificate, TlsClient};
use crate::upgrade::{Chain, program, upgrade_under_load};

/// The configuration of the hosts, each with its own certificate. There is none for other names.
const HOSTS: &str = "[site]\ndefault-host = false\n[tls]\nredirect-http = \"127.0.0.1:0\"\n\
                     [hosts.\"a.test\"]\ncert = \"a/cert.pem\"\nkey = \"a/key.pem\"\n\
                     [hosts.\"b.test\"]\ncert = \"b/cert.pem\"\nkey = \"b/key.pem\"\n";

/// Creates a site with hosts and the certificates of `a.test` and `b.test`.
fn site_with_certificates() -> (Site, [Certificate; 2]) {
    let site = site("");
    let certificates = ["a", "b"].map(|name| {
        let folder = site.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        Certificate::make_for(&folder, &format!("{name}.test"))
    });
    (site, certificates)
}

/// Returns the address whose requests are redirected.
fn redirected(chain: &Chain) -> SocketAddr {
    let line = chain
        .first
        .access_log()
        .expect(&["sending http://", " on to https"]);
    let (_, rest) = line.split_once("http://").expect("an address");
    let (addr, _) = rest.split_once('/').expect("an address");
    addr.parse().expect("an address")
}

/// Sends a request to a host. Returns whether the session of an earlier connection was resumed.
#[track_caller]
fn resumes(chain: &Chain, host: &str, client: &std::sync::Arc<rustls::ClientConfig>) -> bool {
    let mut client = TlsClient::connect_as(chain.first.addr(), host, client);
    let answer = client.get_from(host, "/hello").expect("a whole answer");
    assert!(answer.ends_with(&format!("hello from {host}")), "{answer}");
    client.has_resumed()
}

#[test]
fn sessions_with_each_host_are_resumed_by_every_process_and_by_a_successor() {
    for processes in ["1", "2"] {
        let (site, [a, b]) = site_with_certificates();
        let chain = Chain::new(&site, program(), &["--processes", processes], HOSTS);
        let sessions = [("a.test", a.client()), ("b.test", b.client())];
        for (host, client) in &sessions {
            assert!(
                !resumes(&chain, host, client),
                "{host}: the first connection"
            );
            for _ in 0..8 {
                assert!(resumes(&chain, host, client), "{host}: the same server");
            }
        }
        chain.upgrade();
        for (host, client) in &sessions {
            for _ in 0..8 {
                assert!(resumes(&chain, host, client), "{host}: its successor");
            }
        }
        // A client that knows no session gets the host's certificate.
        let (other_a, other_b) = (a.client(), b.client());
        assert!(!resumes(&chain, "a.test", &other_a));
        assert!(!resumes(&chain, "b.test", &other_b));
    }
}

#[test]
fn a_successor_serves_the_hosts_and_certificates_of_its_own_start() {
    let (site, [a, _]) = site_with_certificates();
    let chain = Chain::new(&site, program(), &[], HOSTS);
    let folder = site.path().join("c");
    std::fs::create_dir(&folder).expect("a folder");
    let c = Certificate::make_for(&folder, "c.test");
    add_host(&site, "c.test");
    let new_b = Certificate::make_for(&site.path().join("b"), "b.test");
    let config = std::fs::read_to_string(site.path().join("wasgi.toml")).expect("it is there");
    let added = "[hosts.\"c.test\"]\ncert = \"c/cert.pem\"\nkey = \"c/key.pem\"\n";
    std::fs::write(site.path().join("wasgi.toml"), config + added).expect("written");
    chain.upgrade();
    for (host, certificate) in [("a.test", &a), ("b.test", &new_b), ("c.test", &c)] {
        assert!(!resumes(&chain, host, &certificate.client()));
    }
}

#[test]
fn no_request_to_a_host_fails_while_servers_are_replaced() {
    for processes in ["1", "2"] {
        let (site, [a, b]) = site_with_certificates();
        let chain = Chain::new(&site, program(), &["--processes", processes], HOSTS);
        let plain = redirected(&chain);
        let (a, b) = (a.client(), b.client());
        let to = |host: &'static str, client: &std::sync::Arc<rustls::ClientConfig>| {
            let (chain, client) = (&chain, client.clone());
            move |is_over: &AtomicBool, count: &AtomicU64| {
                while !is_over.load(Ordering::Relaxed) {
                    resumes(chain, host, &client);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let redirect = |is_over: &AtomicBool, count: &AtomicU64| {
            while !is_over.load(Ordering::Relaxed) {
                let mut client = Client::connect(plain);
                client.send("GET /x?y HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
                let response = client.response();
                let target = response.field("Location").unwrap_or_default();
                assert!(target.starts_with("https://a.test"), "{target}");
                assert!(target.ends_with("/x?y"), "{target}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        let (to_a, to_b) = (to("a.test", &a), to("b.test", &b));
        upgrade_under_load(&chain, &[&to_a, &to_b, &redirect]);
    }
}
