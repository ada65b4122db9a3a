//! Confined servers of virtual hosts, of bundles, and with state in Redis.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::{CONFINED, can_confine, children, expect_confined};
use crate::support::attempts::{ask, configure};
use crate::support::bundle::{Bundle, bundle};
use crate::support::command::code_cache;
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::{Certificate, TlsClient};
use crate::support::{eventually, guests};

#[track_caller]
fn expect_all_confined(server: &Server, processes: &str) {
    match processes {
        "1" => expect_confined(server.id()),
        _ => children(server.id()).into_iter().for_each(expect_confined),
    }
}

/// Writes a file, and creates its folder.
fn put(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    let aside = path.with_extension("aside");
    fs::write(&aside, content).expect("written");
    fs::rename(aside, path).expect("renamed");
}

/// Writes the page, the handlers and the granted folder of a host into a folder.
fn put_host(folder: &Path, host: &str) {
    put(&folder.join("html/index.html"), format!("page of {host}"));
    put(&folder.join("handlers/hello.wat"), guests::page(host));
    let grants = fs::read(guests::case("grants")).expect("it is built");
    put(&folder.join("handlers/grants.wasm"), grants);
    put(&folder.join("data/name"), host);
}

/// Returns the tables of a host in a folder.
fn table(host: &str, folder: &Path, keys: &str) -> String {
    format!(
        "[hosts.\"{host}\"]\nfolder = \"{}\"\n{keys}\
         [hosts.\"{host}\".handlers.grants]\nkey-value = [\"default\"]\n\
         files = [{{ source = \"{}\", destination = \"/rw\", writable = true }}]\n",
        folder.display(),
        folder.join("data").display(),
    )
}

/// Returns the lines of configuration for a certificate.
fn keys(certificate: &Certificate) -> String {
    let (cert, key) = (certificate.cert.display(), certificate.key.display());
    format!("cert = \"{cert}\"\nkey = \"{key}\"\n")
}

#[test]
fn a_confined_server_serves_virtual_hosts_and_follows_their_changes() {
    if !can_confine() {
        return;
    }
    for processes in ["1", "2"] {
        let (site, folders) = (Site::new(), [(); 4].map(|()| tempfile::tempdir()));
        let [b_folder, c_folder, default, own] = folders.each_ref().map(|folder| {
            let folder = folder.as_ref().expect("a folder");
            folder.path()
        });
        let default = Certificate::make(default);
        let own = Certificate::make_for(own, "a.test");
        let a_folder = site.path().join("hosts/a.test");
        put_host(&a_folder, "a.test");
        put_host(b_folder, "b.test");
        let text = format!(
            "{CONFINED}[tls]\n{}{}{}",
            keys(&default),
            table("a.test", &a_folder, &keys(&own)),
            table("b.test", b_folder, "")
        );
        configure(&site, &text);
        let server = Server::with(&site, &["--processes", processes]);
        expect_all_confined(&server, processes);
        let get_with = |certificate: &Certificate, host: &str, target: &str| {
            let name = if host == "a.test" { host } else { "localhost" };
            let mut client = TlsClient::connect_to(server.addr(), name, certificate);
            client.get_from(host, target).unwrap_or_default()
        };
        let get = |host: &str, target: &str| {
            let own = if host == "a.test" { &own } else { &default };
            get_with(own, host, target)
        };
        for (host, folder) in [("a.test", &*a_folder), ("b.test", b_folder)] {
            let expect = |target: &str, text: &str| {
                let answer = get(host, target);
                assert!(answer.ends_with(text), "{host}{target}: {answer}");
            };
            expect("/", &format!("page of {host}"));
            expect("/hello", host);
            expect("/grants?read=/rw/name", host);
            expect("/grants?write=/rw/new,one", "written");
            expect("/grants?kv=default,set,k,v", "set");
            expect("/grants?kv=default,get,k", "v");
            put(&folder.join("handlers/hello.wat"), guests::page("changed"));
            eventually("it is loaded", || get(host, "/hello").ends_with("changed"));
            put(&folder.join("html/new.html"), "a new page");
            eventually("it is served", || {
                get(host, "/new.html").ends_with("a new page")
            });
        }
        // A certificate that is replaced.
        let new = Certificate::make_for(own.cert.parent().expect("a folder"), "a.test");
        eventually("it is used", || {
            get_with(&new, "a.test", "/").ends_with("page of a.test")
        });
        // A host that has no rights to its folder: one line, and everything else continues.
        put_host(c_folder, "c.test");
        let more = format!("{text}{}", table("c.test", c_folder, ""));
        configure(&site, &more);
        let shown = c_folder.join("html");
        server.error_log().expect(&[&format!(
            "server.confine: hosts.c.test: {} can't be used until a restart",
            shown.display()
        )]);
        let answer = get("b.test", "/");
        assert!(answer.ends_with("page of b.test"), "{answer}");
        server.stop();

        let server = Server::with(&site, &["--processes", processes]);
        let mut client = TlsClient::connect_to(server.addr(), "localhost", &default);
        let answer = client.get_from("c.test", "/hello").expect("a whole answer");
        assert!(answer.ends_with("c.test"), "{answer}");
        server.stop();
    }
}

/// Returns a site with a page and handlers of one version.
fn version(number: u32) -> Site {
    let site = Site::new()
        .with_page("index.html", format!("page {number}"))
        .with_page_handler("hello", &format!("handler {number}"))
        .with_cases(["grants"]);
    let config = "[handlers.grants]\nkey-value = [\"default\"]\n";
    fs::write(site.path().join("wasgi.toml"), config).expect("written");
    site
}

#[track_caller]
fn expect_version(server: &Server, number: u32) {
    assert_eq!(server.get("/").text(), format!("page {number}"));
    assert_eq!(server.get("/hello").text(), format!("handler {number}"));
    assert_eq!(ask(server, "grants", "kv=default,set,k,v"), "set");
    assert_eq!(ask(server, "grants", "kv=default,get,k"), "v");
}

#[test]
fn a_confined_server_serves_a_bundle_and_the_next_version() {
    if !can_confine() {
        return;
    }
    for processes in ["1", "2"] {
        let bundle = Bundle::from_site(&version(1));
        let operator = bundle.at("operator.toml");
        fs::write(&operator, CONFINED).expect("written");
        let config = ["--config", operator.to_str().expect("text")];
        let server = bundle.serve(&[&["--processes", processes], &config[..]].concat());
        expect_all_confined(&server, processes);
        expect_version(&server, 1);
        bundle.replace_by(&version(2));
        // Each process follows by itself, and any of them may answer.
        eventually("all processes serve the next version", || {
            (0..20).all(|_| {
                server.get("/").text() == "page 2" && server.get("/hello").text() == "handler 2"
            })
        });
        expect_version(&server, 2);
        server.stop();
    }
}

#[test]
fn a_confined_program_serves_the_site_at_its_end() {
    if !can_confine() {
        return;
    }
    for processes in ["1", "2"] {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("site");
        let flags = ["--self-contained", "-o", program.to_str().expect("text")];
        bundle(&version(1), &flags).expect_success();
        let operator = folder.path().join("operator.toml");
        fs::write(&operator, CONFINED).expect("written");
        let mut command = Command::new(&program);
        command.env("XDG_CACHE_HOME", folder.path().join("cache"));
        command.args(["--addr", "127.0.0.1:0", "--processes", processes]);
        command.arg("--code-cache").arg(folder.path().join("code"));
        command.arg("--config").arg(&operator);
        let server = Server::started(Process::start(&mut command));
        expect_all_confined(&server, processes);
        expect_version(&server, 1);
        server.stop();
    }
}

#[test]
fn a_confined_server_keeps_state_in_redis() {
    if !can_confine() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("a port").port();
    drop(free);
    let Some(mut redis) = Redis::start_with(folder.path(), port) else {
        return;
    };
    let urls = [
        redis.url(),
        format!("redis://127.0.0.1:{port}/0"),
        // The name is looked up.
        format!("redis://localhost:{port}/1"),
    ];
    for (number, url) in urls.iter().enumerate() {
        for processes in ["1", "2"] {
            let site = Site::new().with_cases(["grants"]);
            let text = format!(
                "{CONFINED}[state]\nurl = \"{url}\"\nprefix = \"{number}-{processes}\"\n\
                 [handlers.grants]\nkey-value = [\"default\"]\n"
            );
            configure(&site, &text);
            let server = Server::with(&site, &["--processes", processes]);
            expect_all_confined(&server, processes);
            assert_eq!(ask(&server, "grants", "kv=default,set,k,v"), "set", "{url}");
            assert_eq!(ask(&server, "grants", "kv=default,get,k"), "v", "{url}");
            if number == 0 {
                // The socket is another file afterwards.
                redis.restart();
                eventually("it is connected again", || {
                    server.get("/grants?kv=default,get,k").text() == "v"
                });
            }
            server.stop();
        }
    }
}

#[test]
fn a_confined_server_loads_what_is_not_in_its_code_cache() {
    if !can_confine() {
        return;
    }
    let site = Site::new().with_page_handler("hello", "the handler");
    configure(&site, CONFINED);
    let server = Server::with(&site, &["--code-cache", "none"]);
    expect_confined(server.id());
    assert_eq!(server.get("/hello").text(), "the handler");
    assert!(code_cache().exists());
    server.stop();
}
