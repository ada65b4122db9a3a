//! A site does not start if its folder of pages contains files that must not be published.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::command::run;
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::Certificate;

/// Returns the arguments of a command for a site, as text.
fn arguments<'a>(command: &'a str, site: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let site = site.to_str().expect("a temporary path is text");
    [&[command, site][..], more].concat()
}

/// Returns the one line with which each command that reads the site rejects it.
#[track_caller]
fn refusals(site: &Path, more: &[&str]) -> Vec<String> {
    ["serve", "routes", "config"]
        .map(|command| refusal(command, site, more))
        .into()
}

#[track_caller]
fn refusal(command: &str, site: &Path, more: &[&str]) -> String {
    run(arguments(command, site, more)).refusal().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

#[test]
fn pages_with_the_configuration_or_handlers_among_them_are_refused() {
    let site = Site::new().with_page("index.html", "a page");
    fs::write(site.path().join("wasgi.toml"), "").expect("written");
    for line in refusals(site.path(), &["--root", text(site.path())]) {
        assert!(line.contains("--root: site.root: "), "{line}");
        assert!(
            line.contains("configuration") && line.contains("wasgi.toml"),
            "{line}"
        );
        assert!(line.contains("html beside wasgi.toml"), "{line}");
        assert!(line.contains("--allow-overlap"), "{line}");
    }
    // The configuration is elsewhere, and the folder of handlers doesn't exist yet.
    fs::remove_dir(site.handlers()).expect("removed");
    let elsewhere = Site::new();
    let file = elsewhere.path().join("other.toml");
    fs::write(&file, "").expect("written");
    let flags = ["--config", text(&file), "--root", text(site.path())];
    for line in refusals(site.path(), &flags) {
        assert!(
            line.contains("site.root") && line.contains("folder of handlers"),
            "{line}"
        );
    }
    // A symbolic link gives the folder a second name.
    symlink(site.html(), site.handlers()).expect("a link");
    for line in refusals(site.path(), &[]) {
        assert!(
            line.contains("site.root") && line.contains("folder of handlers"),
            "{line}"
        );
    }
}

#[test]
fn the_line_of_the_file_that_is_to_blame_is_named() {
    let site = Site::new();
    let file = site.path().join("wasgi.toml");
    fs::write(&file, "\n[site]\nroot = \".\"\n").expect("written");
    for line in refusals(site.path(), &[]) {
        assert!(line.contains("wasgi.toml:3: site.root: "), "{line}");
    }
}

#[test]
fn pages_among_the_handlers_are_refused() {
    let site = Site::new();
    let pages = site.handlers().join("pages");
    fs::create_dir(&pages).expect("a folder");
    for line in refusals(site.path(), &["--root", text(&pages)]) {
        assert!(
            line.contains("site.handlers: ") && line.contains("would be run"),
            "{line}"
        );
    }
}

#[test]
fn a_private_key_among_the_pages_is_refused_whoever_allows_it() {
    let site = Site::new();
    let certificate = Certificate::make(&site.html());
    for more in [&[][..], &["--allow-overlap"]] {
        let flags = [&certificate.flags()[..], more].concat();
        for command in ["serve", "config"] {
            let line = refusal(command, site.path(), &flags);
            assert!(
                line.contains("private key") && line.contains("key.pem"),
                "{line}"
            );
            assert!(!line.contains("--allow-overlap"), "{line}");
        }
    }
}

#[test]
fn who_means_it_can_have_all_in_one_folder() {
    let site = Site::bare();
    fs::create_dir(site.handlers()).expect("a folder");
    fs::write(site.path().join("index.html"), "a page").expect("written");
    fs::write(
        site.path().join("wasgi.toml"),
        "[site]\nallow-overlap = true\n",
    )
    .expect("written");
    let server = Server::with(&site, &["--root", text(site.path())]);
    server
        .error_log()
        .expect(&["site.root", "configuration", "site.allow-overlap"]);
    server
        .error_log()
        .expect(&["site.root", "handlers", "site.allow-overlap"]);
    assert_eq!(server.get("/").text(), "a page");
    assert_eq!(server.get("/wasgi.toml").status(), 200);
    server.stop();
    fs::remove_file(site.path().join("wasgi.toml")).expect("removed");
    let flags = ["--allow-overlap", "--root", text(site.path())];
    let ended = run(arguments("routes", site.path(), &flags));
    assert!(ended.status.success(), "{}", ended.everything());
}

#[test]
fn a_changed_file_that_overlaps_changes_nothing() {
    let site = Site::new().with_page("index.html", "a page");
    let file = site.path().join("wasgi.toml");
    fs::write(&file, "").expect("written");
    let server = Server::new(&site);
    fs::write(
        &file,
        "[site]\nroot = \".\"\n[server]\nserver-field = false\n",
    )
    .expect("written");
    server
        .error_log()
        .expect(&["wasgi.toml:2: site.root: ", "the settings are unchanged"]);
    assert!(server.get("/").field("server").is_some());
    fs::write(&file, "[server]\nserver-field = false\n").expect("written");
    eventually("the good file is taken over", || {
        server.get("/").field("server").is_none()
    });
    server.stop();
}
