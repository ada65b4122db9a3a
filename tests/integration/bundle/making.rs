//! What is in a bundle, and that it depends on nothing else.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use crate::support::bundle::{Bundle, bundle};
use crate::support::command::run;
use crate::support::site::Site;

#[test]
fn a_bundle_depends_on_nothing_but_the_contents_of_the_site() {
    let write = |names: &[&str]| {
        let site = Site::new();
        for name in names {
            site.write_page(name, format!("the page {name}"));
        }
        site.write_handler("hello.wat", "(module)");
        fs::write(site.path().join("wasgi.toml"), "[server]\nthreads = 2\n").expect("written");
        site
    };
    let one = write(&["a.html", "b/c.html", "b-c"]);
    let other = write(&["b-c", "b/c.html", "a.html"]);
    let page = other.html().join("a.html");
    fs::set_permissions(&page, fs::Permissions::from_mode(0o444)).expect("set");
    let past = SystemTime::now() - Duration::from_secs(1_000_000);
    File::open(&page)
        .expect("open")
        .set_modified(past)
        .expect("set");
    let (one, other) = (Bundle::from_site(&one), Bundle::from_site(&other));
    assert!(one.bytes() == other.bytes());
    assert_eq!(
        one.run(&["bundle", "--check", one.text()]).status.code(),
        Some(0)
    );
}

#[test]
fn a_bundle_lists_its_files_and_says_what_is_not_among_them() {
    let site = Site::new()
        .with_page("index.html", "a page")
        .with_page("index.html.br", "compressed")
        .with_page(".env", "SECRET=1")
        .with_page("keys/key.pem", "a key")
        .with_page_handler("hello", "hello");
    site.write_handler("_off.wat", "(module)");
    site.write_handler("rust/Cargo.toml", "[package]");
    site.write_handler("token", "a secret");
    let config = "[handlers.hello]\nsecrets = { KEY = { file = \"html/keys/key.pem\" } }\n";
    fs::write(site.path().join("wasgi.toml"), config).expect("written");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.wasgi");
    let file = file.to_str().expect("text");
    // The project can't be built, so it is not one here.
    fs::remove_dir_all(site.handlers().join("rust")).expect("removed");
    let ended = bundle(&site, &["-o", file]);
    assert!(ended.status.success(), "{}", ended.everything());
    let told = ended.stderr.join("\n");
    assert!(told.contains("key.pem: a secret"), "{told}");
    assert!(told.contains("token"), "{told}");
    assert!(ended.stdout[0].contains("4 files"), "{:?}", ended.stdout);
    let listed = run(["bundle", "--list", file]).stdout;
    let names: Vec<&str> = listed
        .iter()
        .filter_map(|line| line.rsplit(' ').next())
        .collect();
    let expected = [
        "handlers/hello.wat",
        "html/index.html",
        "html/index.html.br",
        "wasgi.toml",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_bundle_is_not_written_where_visitors_or_the_next_bundle_would_find_it() {
    let site = Site::new().with_page("index.html", "a page");
    for (folder, why) in [
        (site.html(), "visitors could read it"),
        (site.handlers(), "the next bundle would contain it"),
        (site.path().join("missing"), "there is no folder"),
    ] {
        let file = folder.join("a.wasgi");
        let ended = bundle(&site, &["-o", file.to_str().expect("text")]);
        assert!(ended.refusal().contains(why), "{}", ended.refusal());
    }
    let folder = site.path().to_str().expect("text");
    let ended = bundle(&site, &["-o", folder]);
    assert!(
        ended.refusal().contains("it is a folder"),
        "{}",
        ended.refusal()
    );
}

#[test]
fn other_files_and_folders_are_no_bundles() {
    let site = Site::new().with_page("index.html", "a page");
    let page = site.html().join("index.html");
    for path in [&page, site.path(), &site.path().join("missing")] {
        for flag in ["--list", "--check"] {
            let ended = run(["bundle".as_ref(), flag.as_ref(), path.as_os_str()]);
            assert!(
                ended.refusal().contains("is not a bundle"),
                "{}",
                ended.refusal()
            );
        }
    }
    let bundle_of_it = Bundle::from_site(&site);
    let ended = run(["bundle", bundle_of_it.text(), "-o", "/dev/null/x"]);
    assert!(
        ended.refusal().contains("is a bundle already"),
        "{}",
        ended.refusal()
    );
    let ended = run(["dev", bundle_of_it.text(), "--addr", "127.0.0.1:0"]);
    assert!(
        ended.refusal().contains("name the site's folder"),
        "{}",
        ended.refusal()
    );
}

#[test]
fn the_operators_section_is_not_part_of_a_bundle() {
    let site = Site::new().with_page("index.html", "a page");
    fs::write(site.path().join("wasgi.toml"), "[bundle]\ncache = \"x\"\n").expect("written");
    let ended = bundle(&site, &["-o", "/tmp/never.wasgi"]);
    assert!(
        ended.refusal().contains("wasgi serve --config"),
        "{}",
        ended.refusal()
    );
}
