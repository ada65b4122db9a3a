//! Certificates that the server obtains itself (ACME).

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::admin;
use crate::confinement::{NOBODY, expect_nobody, serve, site_for_nobody};
use crate::support::acme::pebble::Pebble;
use crate::support::acme::{Directory, Fault, Lifetime, certificate_file, validate};
use crate::support::client::Client;
use crate::support::command::{run, wasgi};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::{Certificate, TlsClient};

const NAME: &str = "a.test";

fn site(directory: &Directory, names: &[&str]) -> Site {
    let site = Site::new().with_page("index.html", "a page");
    let config = format!("{}names = {names:?}\n", directory.section());
    fs::write(site.path().join("wasgi.toml"), config).expect("written");
    site
}

/// Starts a directory. Returns it with a site whose certificate for [`NAME`] is from it.
fn directory_and_site() -> (Directory, Site) {
    let directory = Directory::start();
    let site = site(&directory, &[NAME]);
    (directory, site)
}

/// Starts a directory and a server with a listener without TLS, which has its certificate.
#[track_caller]
fn served() -> (Directory, Site, Server) {
    let (directory, site) = directory_and_site();
    let (server, _) = with_plain_listener(&site, &directory);
    expect_served(&server, &directory.authority().file(), NAME);
    (directory, site, server)
}

/// Adds settings to a site's configuration.
fn add_settings(site: &Site, settings: &str) {
    let file = site.path().join("wasgi.toml");
    let config = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, config + settings).expect("written");
}

/// Starts a server with a listener without TLS. Returns it with the address of that listener.
fn with_plain_listener(site: &Site, directory: &Directory) -> (Server, SocketAddr) {
    let (server, addr) = unreached(site);
    directory.reach(Some(addr), Some(server.addr()));
    (server, addr)
}

/// Starts a server with a listener without TLS, whose challenges wait until the directory is told
/// where it is. Returns it with the address of that listener.
fn unreached(site: &Site) -> (Server, SocketAddr) {
    let server = Server::with(site, &["--redirect-http", "127.0.0.1:0"]);
    let addr = plain_addr(&server);
    (server, addr)
}

/// Returns the address of the listener without TLS.
fn plain_addr(server: &Server) -> SocketAddr {
    let line = server.access_log().expect(&["sending http://"]);
    let addr = line.split("http://").nth(1);
    let addr = addr.and_then(|it| it.split('/').next()?.parse().ok());
    addr.expect(&line)
}

/// Connects with trust in the authority.
fn connect(server: &Server, root: &Path, name: &str) -> TlsClient {
    let trusted = Certificate {
        cert: root.to_owned(),
        key: root.to_owned(),
    };
    TlsClient::connect_to(server.addr(), name, &trusted)
}

/// Waits until the server has a certificate of the authority for a name.
#[track_caller]
fn expect_served(server: &Server, root: &Path, name: &str) {
    eventually("the certificate is served", || {
        let answer = connect(server, root, name).get_from(name, "/");
        answer.is_ok_and(|answer| answer.ends_with("\r\n\r\na page"))
    });
}

fn plain_get(addr: SocketAddr, target: &str) -> (u16, String) {
    let mut client = Client::connect(addr);
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"
    ));
    let response = client.response();
    let body = String::from_utf8_lossy(&response.body).into_owned();
    (response.status(), body)
}

#[test]
fn a_certificate_is_obtained_by_http_and_used() {
    let directory = Directory::start();
    let site = site(&directory, &[NAME, "www.a.test"]);
    let (server, plain) = with_plain_listener(&site, &directory);
    let root = directory.authority().file();
    for name in [NAME, "www.a.test"] {
        expect_served(&server, &root, name);
    }
    server
        .error_log()
        .expect(&["acme: a.test: obtained a certificate, valid until 2500-01-01T00:00:00Z"]);
    assert_eq!(directory.answered(), ["http-01", "http-01"]);
    // The challenge is over: its path is redirected like any other.
    let token = directory.last_token().expect("there was one");
    let (status, _) = plain_get(plain, &format!("/.well-known/acme-challenge/{token}"));
    assert_eq!(status, 301);
    let (status, _) = plain_get(plain, "/x");
    assert_eq!(status, 301);
    server.stop();
}

#[test]
fn a_certificate_is_obtained_by_tls_alone() {
    let (directory, site) = directory_and_site();
    let server = Server::new(&site);
    directory.reach(None, Some(server.addr()));
    expect_served(&server, &directory.authority().file(), NAME);
    assert_eq!(directory.answered(), ["tls-alpn-01"]);
    // The challenge is over: the handshake fails, and one for HTTP as well succeeds as usual.
    let offered = |protocols: &[&[u8]]| validate::offered(server.addr(), NAME, protocols);
    offered(&[b"acme-tls/1"]).expect_err("there is no challenge");
    offered(&[b"http/1.1", b"acme-tls/1"]).expect("the usual certificate");
    server.stop();
}

#[test]
fn handshakes_fail_clearly_until_there_is_a_certificate() {
    let (directory, site) = directory_and_site();
    let (server, plain) = unreached(&site);
    let root = directory.authority().file();
    connect(&server, &root, NAME)
        .get("/")
        .expect_err("no certificate");
    let (status, body) = plain_get(plain, "/");
    assert_eq!(status, 503);
    assert!(body.contains("certificate"), "{body}");
    // The challenge in flight is answered, and no other one.
    eventually("there is a challenge", || directory.count("challenge") > 0);
    let front = "/.well-known/acme-challenge/";
    let token = directory.last_token().expect("there is one");
    let (status, body) = plain_get(plain, &format!("{front}{token}"));
    assert_eq!(status, 200);
    assert!(body.starts_with(&format!("{token}.")), "{body}");
    let (status, _) = plain_get(plain, &format!("{front}another-token-of-22-bytes"));
    assert_eq!(status, 503);
    directory.reach(Some(plain), Some(server.addr()));
    expect_served(&server, &root, NAME);
    server.stop();
}

#[test]
fn a_restart_asks_for_nothing() {
    let (directory, site, server) = served();
    let root = directory.authority().file();
    server.stop();
    let counts = || ["directory", "new-account", "new-order"].map(|it| directory.count(it));
    assert_eq!(counts(), [1, 1, 1]);
    let (server, _) = with_plain_listener(&site, &directory);
    // It is there from the first handshake on.
    let answer = connect(&server, &root, NAME)
        .get("/")
        .expect("a certificate");
    assert!(answer.ends_with("a page"), "{answer}");
    server.stop();
    assert_eq!(counts(), [1, 1, 1]);
}

#[test]
fn a_certificate_that_is_nearly_over_is_renewed_without_a_failed_handshake() {
    let (directory, site) = directory_and_site();
    let file = certificate_file(site.path(), NAME);
    let authority = directory.authority();
    authority.write(&file, &[NAME.to_owned()], Lifetime::NearlyOver);
    let old = fs::read(&file).expect("it is there");
    let (server, _) = with_plain_listener(&site, &directory);
    let root = authority.file();
    // Handshakes never fail, until the new certificate is in use.
    let is_new = || {
        let lines = server.error_log().lines();
        lines
            .iter()
            .any(|line| line.contains("new certificate in use"))
    };
    eventually("the new certificate is in use", || {
        let was_new = is_new();
        let answer = connect(&server, &root, NAME)
            .get("/")
            .expect("a certificate");
        assert!(answer.ends_with("a page"), "{answer}");
        was_new
    });
    assert_ne!(fs::read(&file).expect("it is there"), old);
    assert_eq!(directory.count("new-order"), 1);
    server.stop();
}

#[test]
fn a_refused_renewal_keeps_the_certificate_and_waits() {
    let (directory, site) = directory_and_site();
    directory.set_fault(Fault::RateLimit);
    let file = certificate_file(site.path(), NAME);
    let authority = directory.authority();
    authority.write(&file, &[NAME.to_owned()], Lifetime::NearlyOver);
    let (server, _) = with_plain_listener(&site, &directory);
    let line = server.error_log().expect(&["acme: a.test: no certificate"]);
    for part in [
        "the order was refused",
        "too many\\nnew orders (rateLimited)",
        "the current one is valid until",
        "the next attempt is at",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let root = authority.file();
    connect(&server, &root, NAME)
        .get("/")
        .expect("a certificate");
    server.stop();
    // A restart doesn't ask again: the pause of an hour is not over.
    let (server, _) = with_plain_listener(&site, &directory);
    eventually("the thread runs", || server.has_thread("wasgi-acme"));
    connect(&server, &root, NAME)
        .get("/")
        .expect("a certificate");
    server.stop();
    assert_eq!(directory.count("new-order"), 1);
}

#[test]
fn a_rejected_nonce_is_replaced() {
    let (directory, site) = directory_and_site();
    directory.reject_nonces(2);
    let (server, _) = with_plain_listener(&site, &directory);
    expect_served(&server, &directory.authority().file(), NAME);
    assert_eq!(directory.count("bad-nonce"), 2);
    server.stop();
}

#[test]
fn a_directory_that_misbehaves_harms_nothing() {
    for (fault, said) in [
        (Fault::Garbage, "the response is not of ACME"),
        (Fault::Nested, "the response is not of ACME"),
        (Fault::Redirect, "status 302"),
        (Fault::Endless, "the response is too large"),
        (Fault::OtherHost, "is not on the directory's host"),
        (Fault::PathToken, "malformed token"),
        (Fault::OtherName, "a name that was not asked for"),
        (Fault::OtherKey, "not a usable key"),
        (Fault::OtherCertificate, "the certificate is not for a.test"),
        (Fault::Expired, "has expired already"),
    ] {
        let (directory, site) = directory_and_site();
        directory.set_fault(fault);
        let (server, plain) = with_plain_listener(&site, &directory);
        let line = server.error_log().expect(&["acme: a.test: no certificate"]);
        assert!(line.contains(said), "{fault:?}: {line}");
        let file = certificate_file(site.path(), NAME);
        assert!(!file.exists(), "{fault:?}: nothing is stored");
        let challenges = site.path().join("acme/challenges");
        let left = fs::read_dir(challenges).expect("a folder").count();
        assert_eq!(left, 0, "{fault:?}: no answer is left");
        assert_eq!(plain_get(plain, "/").0, 503);
        server.stop();
    }
}

#[test]
fn a_directory_that_is_silent_does_not_delay_the_end_of_the_server() {
    let (directory, site) = directory_and_site();
    directory.set_fault(Fault::Silent);
    let (server, plain) = with_plain_listener(&site, &directory);
    eventually("it is asked", || directory.count("directory") > 0);
    assert_eq!(plain_get(plain, "/").0, 503);
    server.stop();
}

#[test]
fn another_challenge_is_tried_only_after_a_pause() {
    let (directory, site) = directory_and_site();
    directory.offer(&["tls-alpn-01"]);
    let (server, _) = with_plain_listener(&site, &directory);
    server.error_log().expect(&["no challenge http-01"]);
    server.stop();
    // As if the pause was over.
    let record = site.path().join("acme/certificates/a.test.json");
    let text = fs::read_to_string(&record).expect("it is there");
    let mut value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    value["not-before"] = 0.into();
    fs::write(&record, value.to_string()).expect("written");
    let (server, _) = with_plain_listener(&site, &directory);
    expect_served(&server, &directory.authority().file(), NAME);
    assert_eq!(directory.answered(), ["tls-alpn-01"]);
    server.stop();
}

#[test]
fn an_account_that_is_unknown_to_the_directory_is_replaced() {
    let (directory, site, server) = served();
    let root = directory.authority().file();
    server.stop();
    directory.forget_accounts();
    let certificates = site.path().join("acme/certificates");
    let start_over = || fs::remove_dir_all(&certificates).expect("removed");
    start_over();
    let (server, _) = with_plain_listener(&site, &directory);
    server.error_log().expect(&["accountDoesNotExist"]);
    server.stop();
    start_over();
    let (server, _) = with_plain_listener(&site, &directory);
    expect_served(&server, &root, NAME);
    assert_eq!(directory.count("new-account"), 2);
    server.stop();
}

#[test]
fn several_processes_ask_once_and_all_of_them_serve_it() {
    let (directory, site) = directory_and_site();
    let server = Server::with(
        &site,
        &["--redirect-http", "127.0.0.1:0", "--processes", "3"],
    );
    let plain = plain_addr(&server);
    directory.reach(Some(plain), Some(server.addr()));
    let root = directory.authority().file();
    // Which process gets a connection, the kernel decides: many in a row are from all of them.
    let mut in_a_row = 0;
    eventually("all processes serve it", || {
        match connect(&server, &root, NAME).get("/") {
            Ok(_) => in_a_row += 1,
            Err(_) => in_a_row = 0,
        }
        in_a_row >= 60
    });
    assert_eq!(directory.count("new-order"), 1);
    server.stop();
}

#[test]
fn a_folder_that_cannot_be_written_means_no_order() {
    let (directory, site) = directory_and_site();
    // Not even root can create a folder below a file.
    fs::write(site.path().join("acme"), "a file").expect("written");
    let (server, plain) = with_plain_listener(&site, &directory);
    server
        .error_log()
        .expect(&["acme.folder: ", "/acme: can't be written: "]);
    assert_eq!(plain_get(plain, "/").0, 503);
    server.stop();
    assert_eq!(directory.count("directory"), 0);
}

#[test]
fn a_certificate_that_cannot_be_stored_is_served_and_stored_later() {
    let (directory, site) = directory_and_site();
    let (server, plain) = unreached(&site);
    eventually("there is a challenge", || directory.count("challenge") > 0);
    // The space for the certificate is taken already.
    let certificates = site.path().join("acme/certificates");
    let reserved = fs::metadata(certificates.join(format!(".new-{NAME}.pem")));
    assert_eq!(reserved.expect("it is there").len(), 128 * 1024);
    // From here on, not even root can write there.
    let aside = site.path().join("aside");
    fs::rename(&certificates, &aside).expect("renamed");
    fs::write(&certificates, "a file").expect("written");
    directory.reach(Some(plain), Some(server.addr()));
    let root = directory.authority().file();
    expect_served(&server, &root, NAME);
    server
        .error_log()
        .expect(&["acme: a.test: obtained a certificate", "can't be stored"]);
    fs::remove_file(&certificates).expect("removed");
    fs::rename(&aside, &certificates).expect("renamed");
    // It is stored at the latest when the server ends.
    server.stop();
    let file = certificate_file(site.path(), NAME);
    assert_eq!(fs::metadata(file).expect("stored").mode() & 0o777, 0o600);
    let (server, _) = with_plain_listener(&site, &directory);
    connect(&server, &root, NAME)
        .get("/")
        .expect("a certificate");
    server.stop();
    assert_eq!(directory.count("new-order"), 1);
}

/// Serves a site whose folder of certificates is on a disk of this size, which only the server
/// sees. Returns `None`, with a message, if it can't be mounted.
fn on_a_small_disk(site: &Site, kibibytes: usize) -> Option<Server> {
    let acme = site.path().join("acme");
    fs::create_dir_all(&acme).expect("created");
    let program = wasgi(["serve", "--addr", "127.0.0.1:0"]);
    let mount = format!("mount -t tmpfs -o size={kibibytes}k tmpfs \"$0\" && exec \"$@\"");
    let mounted = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &mount]).arg(&acme);
        command
    };
    if !mounted()
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("SKIPPED: only root can mount a small disk");
        return None;
    }
    let mut command = mounted();
    command
        .arg(program.get_program())
        .args(program.get_args())
        .args(["--redirect-http", "127.0.0.1:0"])
        .arg(site.path())
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    Some(Server::started(Process::start(&mut command)))
}

#[test]
fn a_full_disk_costs_no_certificate() {
    let (directory, site) = directory_and_site();
    // It has no space for a certificate: nothing is asked.
    let Some(server) = on_a_small_disk(&site, 64) else {
        return;
    };
    server
        .error_log()
        .expect(&["acme.folder: ", "can't be written: No space left"]);
    server.stop();
    assert_eq!(directory.count("directory"), 0);
    // It is filled up during the order.
    let Some(server) = on_a_small_disk(&site, 512) else {
        return;
    };
    let plain = plain_addr(&server);
    eventually("there is a challenge", || directory.count("challenge") > 0);
    let path = site.path().strip_prefix("/").expect("an absolute path");
    let seen = Path::new(&format!("/proc/{}/root", server.id())).join(path);
    let mut filling = File::create(seen.join("acme/filling")).expect("created");
    while filling.write_all(&[0; 512]).is_ok() {}
    directory.reach(Some(plain), Some(server.addr()));
    expect_served(&server, &directory.authority().file(), NAME);
    let stored = fs::read(certificate_file(&seen, NAME)).expect("it is stored");
    assert!(stored.starts_with(b"-----BEGIN PRIVATE KEY"));
    assert_eq!(directory.count("new-order"), 1);
    server.stop();
}

#[test]
fn a_virtual_host_gets_a_certificate_of_its_own_while_the_server_runs() {
    let (directory, site, server) = served();
    let root = directory.authority().file();
    let html = site.path().join("hosts/b.test/html");
    fs::create_dir_all(&html).expect("created");
    fs::write(html.join("index.html"), "page of b").expect("written");
    let host = "[hosts.\"b.test\"]\naliases = [\"www.b.test\"]\nacme = true\n";
    add_settings(&site, host);
    eventually("the host has its certificate", || {
        let answer = connect(&server, &root, "www.b.test").get_from("www.b.test", "/");
        answer.is_ok_and(|answer| answer.ends_with("page of b"))
    });
    expect_served(&server, &root, NAME);
    assert!(certificate_file(site.path(), "b.test").exists());
    assert_eq!(directory.count("new-account"), 1);
    server.stop();
}

#[test]
fn the_admin_listener_and_doctor_know_the_certificate() {
    let (directory, site) = directory_and_site();
    add_settings(&site, admin::ANY_PORT);
    let (server, _) = with_plain_listener(&site, &directory);
    let addr = admin::address(&server);
    let root = directory.authority().file();
    expect_served(&server, &root, NAME);
    // 2500-01-01.
    const END: u64 = 16_725_225_600;
    let status = admin::status(addr);
    let certificate = &status["certificates"][0];
    assert_eq!(certificate["valid-until"], END, "{status:#}");
    assert_eq!(certificate["source"], "acme");
    assert!(certificate["failure"].is_null() && certificate["host"].is_null());
    let metrics = admin::get(addr, "/metrics");
    for line in [
        "wasgi_tls_certificate_expiry_timestamp_seconds 16725225600",
        "wasgi_acme_attempts_total{result=\"ok\"} 1",
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
    let path = site.path().to_str().expect("a path is text");
    let ended = run(["doctor", path]);
    assert!(
        ended.everything().contains("valid until 2500-01-01"),
        "{}",
        ended.everything()
    );
    server.stop();
}

#[test]
fn a_confined_server_obtains_a_certificate() {
    let (directory, site) = directory_and_site();
    add_settings(&site, "[server]\nconfine = \"best-effort\"\n");
    let (server, _) = with_plain_listener(&site, &directory);
    expect_served(&server, &directory.authority().file(), NAME);
    server.stop();
}

#[test]
fn another_user_obtains_a_certificate_in_its_own_folder() {
    let Some((site, own)) = site_for_nobody() else {
        return;
    };
    let directory = Directory::start();
    let config = format!(
        "{}names = [\"{NAME}\"]\nfolder = \"own/acme\"\n[server]\nuser = \"{NOBODY}\"\nconfine = \
         \"best-effort\"\n",
        directory.section()
    );
    // The user can't read the folder of the authority.
    let root = directory.authority().file();
    fs::copy(&root, site.path().join("ca.pem")).expect("copied");
    let config = config.replace(root.to_str().expect("a path is text"), "ca.pem");
    fs::write(site.path().join("wasgi.toml"), config).expect("written");
    let server = serve(&site, &own, &["--redirect-http", "127.0.0.1:0"]);
    directory.reach(Some(plain_addr(&server)), Some(server.addr()));
    expect_nobody(server.id());
    expect_served(&server, &root, NAME);
    let file = own.join(format!("acme/certificates/{NAME}.pem"));
    let metadata = fs::metadata(&file).expect("it is there");
    assert_ne!(metadata.uid(), 0);
    assert_eq!(metadata.mode() & 0o777, 0o600);
    server.stop();
}

#[test]
fn the_keys_are_kept_from_visitors() {
    let (_directory, site) = directory_and_site();
    let path = site.path().to_str().expect("a path is text");
    let ended = run(["serve", "--addr", "127.0.0.1:0", "--root", path, path]);
    ended.expect_stderr(&["site.root: ", "everyone could read the keys"]);
    assert!(!ended.status.success());
}

fn with_pebble(pebble: &Pebble, plain: bool) {
    let site = Site::new().with_page("index.html", "a page");
    let names = ["one.example.com", "two.example.com"];
    let config = format!("{}names = {names:?}\n", pebble.section());
    fs::write(site.path().join("wasgi.toml"), config).expect("written");
    let ports = pebble.ports();
    let addr = format!("127.0.0.1:{}", ports.tls);
    let redirect = format!("127.0.0.1:{}", ports.http);
    let mut command = wasgi(["serve", "--addr", &*addr]);
    if plain {
        command.args(["--redirect-http", &redirect]);
    }
    let server = Server::started(Process::start(command.arg(site.path())));
    server
        .error_log()
        .expect(&["acme: one.example.com: obtained a certificate"]);
    let root = pebble.root();
    for name in names {
        expect_served(&server, &root, name);
    }
    server.stop();
}

#[test]
fn pebble_issues_a_certificate_by_http() {
    if let Some(pebble) = Pebble::start(5) {
        with_pebble(&pebble, true);
    }
}

#[test]
fn pebble_issues_a_certificate_by_tls() {
    if let Some(pebble) = Pebble::start(0) {
        with_pebble(&pebble, false);
    }
}
