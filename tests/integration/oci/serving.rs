//! A bundle that is served from a registry.

use std::fs;

use crate::support::bundle::Bundle;
use crate::support::command::code_cache;
use crate::support::oci::{Artifact, BUNDLE, DockerRegistry, Home, SIGNATURE, StandIn};
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::signer::Signer;
use crate::support::site::Site;

/// Returns a bundle of a site with a page that says which version it is.
fn version(number: u32) -> Bundle {
    let site = Site::new()
        .with_page("index.html", format!("page {number}"))
        .with_page_handler("hello", &format!("handler {number}"));
    Bundle::from_site(&site)
}

fn serve(home: &Home, reference: &str, flags: &[&str]) -> Server {
    let mut command = home.command(&["serve", reference, "--addr", "127.0.0.1:0"]);
    command.arg("--code-cache").arg(code_cache()).args(flags);
    Server::started(Process::start(&mut command))
}

#[track_caller]
fn expect_version(server: &Server, number: u32) {
    assert_eq!(server.get("/").body, format!("page {number}").as_bytes());
    let handler = server.get("/hello").body;
    assert_eq!(handler, format!("handler {number}").as_bytes());
}

#[test]
fn a_bundle_is_served_from_a_registry_and_later_from_the_store() {
    let Some(registry) = DockerRegistry::start() else {
        return;
    };
    let artifact = Artifact::new(&[(BUNDLE, &version(1).bytes())]);
    registry.push("site", "1", &artifact);
    let reference = artifact.reference(registry.addr(), "site");
    let home = Home::new();
    let server = serve(&home, &reference, &[]);
    expect_version(&server, 1);
    server.stop();
    drop(registry);
    let server = serve(&home, &reference, &["--processes", "2", "--threads", "1"]);
    expect_version(&server, 1);
    server.stop();
    let routes = home.run(&["routes", &reference]);
    assert!(routes.stdout.join("\n").contains("/hello"), "{routes:?}");
}

#[test]
fn a_tag_or_a_handler_in_place_of_a_bundle_is_refused() {
    let artifact = Artifact::handler(b"a handler");
    let registry = StandIn::for_artifact(&artifact);
    let home = Home::new();
    let tagged = format!("oci://{}/site:1", registry.addr());
    let line = home.run(&["serve", &tagged]).refusal().to_owned();
    assert!(
        line.contains(&format!("`wasgi pull {tagged}` prints")),
        "{line}"
    );
    let reference = artifact.reference(registry.addr(), "shop");
    let line = home.run(&["serve", &reference]).refusal().to_owned();
    assert!(line.contains("is a handler, not a bundle"), "{line}");
    let artifact = Artifact::new(&[(BUNDLE, b"no bundle")]);
    let registry = StandIn::for_artifact(&artifact);
    let reference = artifact.reference(registry.addr(), "shop");
    let line = home.run(&["serve", &reference]).refusal().to_owned();
    assert!(
        line.contains("is not a bundle that wasgi bundle wrote"),
        "{line}"
    );
    assert!(line.contains(&reference), "{line}");
}

#[test]
fn a_bundle_of_a_registry_is_signed_as_the_operator_requires() {
    let (signer, other) = (Signer::new(1), Signer::new(2));
    let artifact = |number: u32, signer: Option<(&Signer, u64)>| {
        let bundle = version(number);
        let bytes = bundle.bytes();
        let Some((signer, at_s)) = signer else {
            return Artifact::new(&[(BUNDLE, &bytes)]);
        };
        signer.sign(&bundle.path(), at_s);
        let signature = fs::read(bundle.at("site.wasgi.minisig")).expect("written");
        Artifact::new(&[(BUNDLE, &bytes), (SIGNATURE, &signature)])
    };
    let home = Home::new();
    let config = format!("[bundle]\npublic-key = \"{}\"\n", signer.public_key());
    fs::write(home.at("wasgi.toml"), config).expect("written");
    // One repository, in which each version is found by its digest.
    let versions = [
        artifact(1, None),
        artifact(2, Some((&other, 100))),
        artifact(3, Some((&signer, 100))),
        artifact(4, Some((&signer, 99))),
    ];
    let served = versions.clone();
    let registry = StandIn::start(move |asked, stream| {
        let by_digest = |one: &&Artifact| asked.target.ends_with(&one.digest());
        let all = Artifact {
            manifest: served
                .iter()
                .find(by_digest)
                .map_or(Vec::new(), |one| one.manifest.clone()),
            blobs: served.iter().flat_map(|one| one.blobs.clone()).collect(),
        };
        crate::support::oci::serve_artifact(&all, asked, stream);
    });
    let reference = |at: usize| versions[at].reference(registry.addr(), "site");
    let flags = ["--config", "wasgi.toml"];
    let refused = |at: usize| {
        let reference = reference(at);
        let all = [&["serve", &*reference], &flags[..]].concat();
        home.run(&all).refusal().to_owned()
    };
    let line = refused(0);
    assert!(
        line.contains("is not signed, and bundle.public-key requires it"),
        "{line}"
    );
    assert!(line.contains(&reference(0)), "{line}");
    let line = refused(1);
    assert!(line.contains("was made with another key"), "{line}");
    let server = serve(&home, &reference(2), &flags);
    expect_version(&server, 3);
    server.stop();
    // The signature of another version in the same repository is older.
    let line = refused(3);
    assert!(line.contains("older"), "{line}");
}

#[test]
fn relative_paths_of_a_bundle_of_a_registry_start_at_the_current_folder() {
    let site = Site::new().with_page_handler("hello", "x");
    fs::write(
        site.path().join("wasgi.toml"),
        "[state]\nfolder = \"kept\"\n",
    )
    .expect("written");
    let artifact = Artifact::new(&[(BUNDLE, &Bundle::from_site(&site).bytes())]);
    let registry = StandIn::for_artifact(&artifact);
    let home = Home::new();
    let shown = home.run(&["config", &artifact.reference(registry.addr(), "site")]);
    let shown = shown.stdout.join("\n");
    for folder in ["kept", "cache/wasgi/bundles"] {
        let folder = home.at(folder);
        assert!(shown.contains(&*folder.to_string_lossy()), "{shown}");
    }
}

#[test]
fn a_bundle_says_nothing_about_registries() {
    let site = Site::new().with_page("index.html", "x");
    fs::write(site.path().join("wasgi.toml"), "[oci]\nstore = \"a\"\n").expect("written");
    let refused = crate::support::bundle::bundle(&site, &["-o", "/tmp/never-written.wasgi"]);
    let line = refused.refusal();
    assert!(
        line.contains("[bundle] and [oci] belong into the file"),
        "{line}"
    );
}
