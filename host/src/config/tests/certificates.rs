//! Certificates that the server obtains itself.

use std::path::Path;

use super::{complaint, config};

const TERMS: &str = "[acme]\nagree-to-terms = true\n";

#[test]
fn each_certificate_has_the_names_of_its_host_and_a_file_in_the_folder() {
    let config = config(&format!(
        "{TERMS}names = [\"a.test\", \"www.a.test\"]\n[hosts.\"b.test\"]\nacme = true\naliases = \
         [\"www.b.test\"]\n[hosts.\"c.test\"]\n"
    ));
    assert_eq!(
        config.obtained_certificates(),
        [["a.test", "www.a.test"], ["b.test", "www.b.test"]]
    );
    let wanted = config.certificates().expect("it is good");
    let default = wanted.default.expect("there is one");
    let file = Path::new("/site/acme/certificates/a.test.pem");
    assert_eq!((&*default.cert, &*default.key), (file, file));
    assert!(default.is_obtained && wanted.challenges.is_some());
    let [host] = &wanted.hosts[..] else {
        panic!("{:?}", wanted.hosts);
    };
    assert_eq!(host.names, ["b.test", "www.b.test"]);
    assert!(config.host_has_certificate("b.test") && !config.host_has_certificate("c.test"));
}

#[test]
fn contradictions_are_errors_with_the_key() {
    let names = "names = [\"a.test\"]\n";
    for (text, expected) in [
        (format!("[acme]\n{names}"), "acme.agree-to-terms: set it"),
        (
            "[hosts.\"a.test\"]\nacme = true\n".to_owned(),
            "acme.agree-to-terms: set it",
        ),
        (
            format!("[tls]\ncert = \"c\"\nkey = \"k\"\n{TERMS}{names}"),
            "acme.names: has no effect with tls.cert",
        ),
        (
            format!("{TERMS}{names}[hosts.\"b.test\"]\naliases = [\"a.test\"]\n"),
            "acme.names: a.test is a name of hosts.b.test",
        ),
        (
            format!("{TERMS}[hosts.\"*.a.test\"]\nacme = true\n"),
            "hosts.*.a.test: acme: *.a.test: a certificate for all names",
        ),
        (
            format!("{TERMS}[hosts.\"a.test\"]\nacme = true\ncert = \"c\"\nkey = \"k\"\n"),
            "hosts.a.test: acme: has no effect with cert",
        ),
        (
            format!("{TERMS}[hosts.\"a.test\"]\nacme = true\n[hosts.\"b.test\"]\n"),
            "hosts.b.test: has no certificate, as other hosts do",
        ),
        (
            format!("{TERMS}{names}challenge = \"http-01\"\n"),
            "acme.challenge: http-01 needs a listener without TLS",
        ),
        (
            format!("{TERMS}{names}challenge = \"dns-01\"\n"),
            "challenge",
        ),
    ] {
        let found = complaint(&text);
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_redirect_needs_a_certificate_that_may_be_obtained() {
    config(&format!(
        "[tls]\nredirect-http = 80\n{TERMS}names = [\"a.test\"]\nchallenge = \"http-01\"\n"
    ));
    let found = complaint(&format!("[tls]\nredirect-http = 80\n{TERMS}"));
    assert!(
        found.contains("tls.redirect-http: has no effect"),
        "{found}"
    );
}
