//! Handlers that a configuration takes from a registry.

use std::fs;

use crate::support::bundle::bundle;
use crate::support::command::run;
use crate::support::eventually;
use crate::support::guests;
use crate::support::oci::{Artifact, BUNDLE, DockerRegistry, StandIn};
use crate::support::server::Server;
use crate::support::site::Site;

/// Returns a handler that answers with a page.
fn page(text: &str) -> Artifact {
    let bytes = wat::parse_str(guests::page(text)).expect("it is good");
    Artifact::handler(&bytes)
}

/// Replaces the configuration, whose store is in the site's folder.
fn configure(site: &Site, tables: &str) {
    let text = format!("[oci]\nstore = \"store\"\n{tables}");
    let aside = site.path().join("aside.toml");
    fs::write(&aside, text).expect("written");
    fs::rename(aside, site.path().join("wasgi.toml")).expect("renamed");
}

fn shop(source: &str) -> String {
    format!("[handlers.shop]\nsource = \"{source}\"\n")
}

#[track_caller]
fn expect(server: &Server, target: &str, body: &str) {
    eventually(&format!("{target} answers {body}"), || {
        server.get(target).body == body.as_bytes()
    });
}

#[test]
fn a_handler_from_a_registry_is_served_and_swapped_when_its_digest_changes() {
    let Some(registry) = DockerRegistry::start() else {
        return;
    };
    let [first, second] = ["first", "second"].map(page);
    registry.push("org/shop", "1", &first);
    registry.push("org/shop", "2", &second);
    let broken = Artifact::handler(b"no handler");
    registry.push("org/shop", "3", &broken);
    let reference = |artifact: &Artifact| artifact.reference(registry.addr(), "org/shop");
    let site = Site::new().with_page("index.html", "a page");
    configure(&site, &shop(&reference(&first)));
    let server = Server::new(&site);
    assert_eq!(server.get("/shop").body, b"first");
    let log = server.error_log();
    log.expect(&[&reference(&first), "pulled"]);

    configure(&site, &shop(&reference(&second)));
    log.expect(&["wasgi.toml: applied: handlers.shop"]);
    log.expect(&["shop: reloaded"]);
    expect(&server, "/shop", "second");

    // What can't be pulled changes nothing.
    let missing = page("missing");
    configure(&site, &shop(&reference(&missing)));
    log.expect(&[
        "handlers.shop: ",
        &reference(&missing),
        "has no such artifact",
        "the settings are unchanged",
    ]);
    assert_eq!(server.get("/shop").body, b"second");

    // What can't be loaded is reported, as a file is, and the last version is served.
    configure(&site, &shop(&reference(&broken)));
    log.expect(&["ERROR", &reference(&broken), "neither WebAssembly nor"]);
    assert_eq!(server.get("/shop").body, b"second");

    configure(&site, &shop(&reference(&first)));
    expect(&server, "/shop", "first");
    configure(&site, "");
    log.expect(&["shop: withdrawn"]);
    assert_eq!(server.get("/shop").head.status, 404);
    server.stop();

    // What is in the store needs no registry.
    configure(&site, &shop(&reference(&second)));
    drop(registry);
    let server = Server::new(&site);
    assert_eq!(server.get("/shop").body, b"second");
    server.stop();
}

#[test]
fn a_newer_configuration_and_the_end_of_the_server_do_not_wait_for_a_download() {
    for sends_bytes in [true, false] {
        // At a byte each few milliseconds, it takes hours.
        let slow = Artifact::handler(&[0; 4 << 20]);
        let registry = StandIn::slow(&slow, sends_bytes);
        let site = Site::new().with_page_handler("page", "a page");
        configure(&site, "");
        let server = Server::new(&site);
        let log = server.error_log();
        let wanted = shop(&slow.reference(registry.addr(), "shop"));
        let download = |count: usize| {
            configure(&site, &wanted);
            eventually("the handler is being downloaded", || {
                registry.asked().len() == 2 * count
            });
        };
        download(1);
        configure(&site, "[handlers.page]\ncpu-time = \"200ms\"\n");
        log.expect(&["INFO", "wasgi.toml: has changed during a download"]);
        log.expect(&["wasgi.toml: applied: handlers.page"]);
        assert_eq!(server.get("/page").body, b"a page");
        download(2);
        let ended = server.stop();
        assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
    }
}

#[test]
fn a_start_without_a_handler_of_its_registry_is_one_line() {
    let artifact = page("a page");
    let registry = StandIn::start(|_, _| {});
    let site = Site::new();
    let reference = artifact.reference(registry.addr(), "shop");
    configure(&site, &shop(&reference));
    let refused = run(["serve".as_ref(), site.path()]);
    let line = refused.refusal();
    assert!(
        line.contains(&format!("handlers.shop: {reference}: ")),
        "{line}"
    );
}

#[test]
fn a_source_that_is_no_reference_with_a_digest_is_refused() {
    let digest = page("a").digest();
    for (name, source, said) in [
        (
            "shop",
            "oci://a.test/shop:1",
            "`wasgi pull oci://a.test/shop:1` prints the reference",
        ),
        ("shop", "shop.wasm", "is no reference of the form"),
        (
            "shop",
            &format!("oci://ada:secret@a.test/shop@{digest}"),
            "has a user",
        ),
        (
            "\"*\"",
            &format!("oci://a.test/shop@{digest}"),
            "is for one handler",
        ),
        (
            "\"a/*\"",
            &format!("oci://a.test/shop@{digest}"),
            "is for one handler",
        ),
    ] {
        let site = Site::new();
        configure(
            &site,
            &format!("[handlers.{name}]\nsource = \"{source}\"\n"),
        );
        let refused = run(["config".as_ref(), site.path()]);
        let line = refused.refusal();
        assert!(
            line.contains("wasgi.toml:3: handlers.") && line.contains(said),
            "{line}"
        );
        assert!(!line.contains("secret"), "{line}");
    }
}

#[test]
fn several_processes_download_once() {
    let [first, second] = ["first", "second"].map(page);
    let [of_first, of_second] = [&first, &second].map(StandIn::for_artifact);
    let site = Site::new();
    configure(&site, &shop(&first.reference(of_first.addr(), "shop")));
    let server = Server::with(&site, &["--processes", "2", "--threads", "1"]);
    assert_eq!(server.get("/shop").body, b"first");
    configure(&site, &shop(&second.reference(of_second.addr(), "shop")));
    eventually("both processes serve the second version", || {
        (0..16).all(|_| server.get("/shop").body == b"second")
    });
    for registry in [of_first, of_second] {
        let asked = registry.asked();
        assert_eq!(asked.len(), 2, "a manifest and a handler: {asked:?}");
    }
    server.stop();
}

#[test]
fn a_virtual_host_has_handlers_of_a_registry() {
    let [own, of_host] = ["own", "of the host"].map(page);
    let [own_registry, host_registry] = [&own, &of_host].map(StandIn::for_artifact);
    let site = Site::new();
    fs::create_dir_all(site.path().join("hosts/example.com/html")).expect("a folder");
    let tables = |reference: &str| {
        format!(
            "{}[hosts.\"example.com\".handlers.shop]\nsource = \"{reference}\"\n",
            shop(&own.reference(own_registry.addr(), "shop"))
        )
    };
    configure(
        &site,
        &tables(&of_host.reference(host_registry.addr(), "shop")),
    );
    let server = Server::new(&site);
    assert_eq!(server.get("/shop").body, b"own");
    let of_host = || {
        let mut client = server.connect();
        client.send("GET /shop HTTP/1.1\r\nHost: example.com\r\n\r\n");
        client.response().body
    };
    eventually("the host serves it", || of_host() == b"of the host");
    let next = page("next");
    let next_registry = StandIn::for_artifact(&next);
    configure(
        &site,
        &tables(&next.reference(next_registry.addr(), "shop")),
    );
    eventually("the host serves the next version", || of_host() == b"next");
    assert_eq!(server.get("/shop").body, b"own");
    server.stop();
}

#[test]
fn a_source_precedes_a_file_which_is_reported() {
    let artifact = page("of the registry");
    let registry = StandIn::for_artifact(&artifact);
    let site = Site::new().with_page_handler("shop", "of the folder");
    let bytes = wat::parse_str(guests::page("of the folder")).expect("it is good");
    site.write_handler("shop.wasm", bytes);
    let reference = artifact.reference(registry.addr(), "shop");
    configure(&site, &shop(&reference));
    let routes = run(["routes".as_ref(), site.path()]);
    let shown = routes.stdout.join("\n");
    assert!(shown.contains(&reference), "{shown}");
    assert!(
        shown.contains("shop.wasm") && shown.contains("shop.wat"),
        "{shown}"
    );
    let server = Server::new(&site);
    assert_eq!(server.get("/shop").body, b"of the registry");
    server.stop();
}

#[test]
fn a_site_can_have_no_handlers_but_those_of_registries() {
    let artifact = page("alone");
    let registry = StandIn::for_artifact(&artifact);
    let site = Site::bare();
    configure(&site, &shop(&artifact.reference(registry.addr(), "shop")));
    let server = Server::new(&site);
    assert_eq!(server.get("/shop").body, b"alone");
    server.stop();
}

#[test]
fn a_bundle_is_no_handler_and_has_none_of_registries() {
    let artifact = Artifact::new(&[(BUNDLE, b"a bundle")]);
    let registry = StandIn::for_artifact(&artifact);
    let site = Site::new().with_page("index.html", "a page");
    let reference = artifact.reference(registry.addr(), "site");
    configure(&site, &shop(&reference));
    let refused = run(["serve".as_ref(), site.path()]);
    let line = refused.refusal();
    assert!(line.contains("is a bundle, not a handler"), "{line}");
    let refused = bundle(&site, &["-o", "/tmp/never-written.wasgi"]);
    let line = refused.refusal();
    assert!(
        line.contains("handlers.shop: source: a bundle has all of its handlers"),
        "{line}"
    );
}
