//! A bundle is served like the folder that it was made of, and followed when it is replaced.

use std::fs;

use crate::support::bundle::{Bundle, bundle};
use crate::support::client::request;
use crate::support::server::Server;
use crate::support::site::Site;

/// Returns a site of one version, whose pages, handler and configuration say which.
fn version(number: u32) -> Site {
    let site = Site::new()
        .with_page("index.html", format!("page {number}"))
        .with_page(&format!("only-{number}.html"), "x")
        .with_page_handler("hello", &format!("handler {number}"));
    let config = format!("[pages]\ncache-control = \"max-age={number}\"\n");
    fs::write(site.path().join("wasgi.toml"), config).expect("written");
    site
}

#[track_caller]
fn expect_version(server: &Server, number: u32) {
    let page = server.get("/");
    assert_eq!(page.body, format!("page {number}").as_bytes());
    let caching = page.head.field("Cache-Control");
    assert_eq!(caching, Some(&*format!("max-age={number}")));
    assert_eq!(server.get(&format!("/only-{number}.html")).head.status, 200);
    let handler = server.get("/hello").body;
    assert_eq!(handler, format!("handler {number}").as_bytes());
}

#[test]
fn a_bundle_is_served_like_its_folder() {
    let site = version(1)
        .with_page("style.css", "a {}\n".repeat(100))
        .with_page("style.css.br", "compressed")
        .with_page(".well-known/security.txt", "contact");
    let bundle = Bundle::from_site(&site);
    let server = bundle.serve(&[]);
    expect_version(&server, 1);
    let mut client = server.connect();
    let text = request("GET", "/style.css").replace("\r\n\r\n", "\r\nAccept-Encoding: br\r\n\r\n");
    let style = client.exchange(text.as_bytes());
    assert_eq!(style.head.field("Content-Encoding"), Some("br"));
    assert_eq!(style.body, b"compressed");
    assert_eq!(server.get("/.well-known/security.txt").body, b"contact");
    let routes = bundle.run(&["routes", bundle.text()]);
    assert!(routes.stdout.join("\n").contains("/hello"), "{routes:?}");
    assert!(server.stop().status.success());
}

#[test]
fn a_bundle_that_is_replaced_is_served_whole_or_not_at_all() {
    let bundle = Bundle::from_site(&version(1));
    let server = bundle.serve(&[]);
    follows(&bundle, &server);
    assert!(server.stop().status.success());
}

#[test]
fn several_processes_follow_a_bundle() {
    let bundle = Bundle::from_site(&version(1));
    let server = bundle.serve(&["--processes", "2", "--threads", "1"]);
    expect_version(&server, 1);
    bundle.replace_by(&version(2));
    server.error_log().expect(&["site.wasgi: serves version"]);
    // Each process switches on its own; a new connection is of any of them.
    crate::support::eventually("both serve the new version", || {
        (0..16).all(|_| server.get("/hello").body == b"handler 2")
    });
    expect_version(&server, 2);
    assert!(server.stop().status.success());
}

/// Replaces the first version of a bundle by good and bad ones.
#[track_caller]
fn follows(bundle: &Bundle, server: &Server) {
    expect_version(server, 1);
    let log = server.error_log();
    bundle.replace_by(&version(2));
    log.expect(&["site.wasgi: serves version"]);
    expect_version(server, 2);
    assert_eq!(server.get("/only-1.html").head.status, 404);

    let broken = version(3);
    broken.write_handler("other.wat", "(module (func (export \"a\") (result i32)))");
    bundle.replace_by(&broken);
    log.expect(&["other.wat", "the last version is still served"]);
    expect_version(server, 2);
    assert_eq!(server.get("/only-3.html").head.status, 404);

    let whole = bundle.bytes();
    bundle.replace(&whole[..whole.len() - 1]);
    log.expect(&[
        "site.wasgi: is incomplete",
        "the last version is still served",
    ]);
    expect_version(server, 2);

    fs::remove_file(bundle.path()).expect("removed");
    log.expect(&["site.wasgi was removed", "until it exists again"]);
    expect_version(server, 2);

    let site = version(4);
    fs::write(site.path().join("wasgi.toml"), "[server]\nporrt = 1\n").expect("written");
    bundle.replace(&forged_config(&version(4)));
    log.expect(&["server.porrt", "the last version is still served"]);
    expect_version(server, 2);

    bundle.replace_by(&version(5));
    let serves = |lines: Vec<String>| {
        let lines = lines.into_iter();
        lines.filter(|line| line.contains("serves version")).count()
    };
    crate::support::eventually("it serves the fifth version", || serves(log.lines()) == 2);
    expect_version(server, 5);
}

/// Returns a bundle of a site with a configuration that is wrong, which `wasgi bundle` refuses.
fn forged_config(site: &Site) -> Vec<u8> {
    let good = Bundle::from_site(site);
    let bytes = good.bytes();
    let text = String::from_utf8(bytes).expect("a test's site is text");
    let old = "[pages]\ncache-control = \"max-age=4\"\n";
    let new = "[server]\nporrt = \"1234567890123456\"\n";
    assert_eq!(old.len(), new.len());
    let (hash, other) = (blake3::hash(old.as_bytes()), blake3::hash(new.as_bytes()));
    let text = text
        .replace(&*hash.to_hex(), &other.to_hex())
        .replace(old, new);
    let (head, rest) = text.split_at(93);
    let length: usize = head[80..92].parse().expect("a length");
    let id = blake3::hash(&rest.as_bytes()[..length]).to_hex();
    format!("wasgi bundle 1\n{id} {length:012}\n{rest}").into_bytes()
}

#[test]
fn relative_paths_start_at_the_bundles_folder() {
    let site = version(1);
    fs::create_dir(site.path().join("data")).expect("made");
    fs::write(site.path().join("key"), "secret").expect("written");
    let config = "[state]\nfolder = \"kept\"\n[handlers.hello]\n\
                  secrets = { KEY = { file = \"key\" } }\n\
                  files = [{ source = \"data\", destination = \"/data\" }]\n";
    fs::write(site.path().join("wasgi.toml"), config).expect("written");
    let bundle = Bundle::from_site(&site);
    let shown = bundle.run(&["config", bundle.text()]).stdout.join("\n");
    for (name, path) in [("folder", "kept"), ("source", "data"), ("file", "key")] {
        let path = bundle.at(path);
        let expected = format!("{name} = \"{}\"", path.display());
        assert!(shown.contains(&expected), "{expected} in {shown}");
    }
    assert!(
        bundle.refusal(&[]).contains("KEY"),
        "{}",
        bundle.refusal(&[])
    );
    fs::write(bundle.at("key"), "secret").expect("written");
    fs::create_dir(bundle.at("data")).expect("made");
    let server = bundle.serve(&[]);
    assert_eq!(server.get("/hello").body, b"handler 1");
}

#[test]
fn the_operators_file_takes_precedence_over_the_bundles() {
    let site = version(1);
    let config = "[pages]\ncache-control = \"max-age=1\"\n[limits]\nbody = \"1MiB\"\n\
                  [handlers.hello]\nreuse = 7\nmemory = \"9MiB\"\n[handlers.other]\nreuse = 5\n";
    fs::write(site.path().join("wasgi.toml"), config).expect("written");
    let bundle = Bundle::from_site(&site);
    let file = bundle.at("operator.toml");
    let operator =
        "[limits]\nbody = \"2MiB\"\n[handlers.hello]\nreuse = 8\n[bundle]\ncache = \"c\"\n";
    fs::write(&file, operator).expect("written");
    let file = file.to_str().expect("text");
    let shown = bundle.run(&["config", bundle.text(), "--config", file]);
    let shown = shown.stdout.join("\n");
    for line in [
        "body = \"2MiB\" # file, line 2",
        "cache-control = \"max-age=1\" # bundle, line 2",
        "reuse = 8",
        "reuse = 5",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert!(!shown.contains("9MiB"), "{shown}");
    assert!(bundle.at("c").is_dir() && bundle.unpacked().is_empty());
    for (text, flags) in [("[site]\nroot = \"x\"\n", &[][..]), ("", &["--root", "x"])] {
        fs::write(bundle.at("operator.toml"), text).expect("written");
        let flags = [&["--config", file], flags].concat();
        let line = bundle.refusal(&flags);
        assert!(line.contains("the pages are in the bundle"), "{line}");
    }
}

#[test]
fn a_granted_folder_with_the_bundle_in_it_is_refused() {
    let site = version(1);
    let config = "[handlers.hello]\n\
                  files = [{ source = \"data\", destination = \"/d\", writable = true }]\n";
    fs::write(site.path().join("wasgi.toml"), config).expect("written");
    fs::create_dir(site.path().join("data")).expect("made");
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("data")).expect("made");
    let file = folder.path().join("data/site.wasgi");
    bundle(&site, &["-o", file.to_str().expect("text")]).expect_success();
    std::os::unix::fs::symlink(".", folder.path().join("data/data")).expect("linked");
    let ended = crate::support::command::run(["routes", file.to_str().expect("text")]);
    assert!(
        ended.refusal().contains("could grant itself more"),
        "{}",
        ended.refusal()
    );
}
