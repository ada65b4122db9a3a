//! Bundles that must be signed.

use std::fs;

use crate::support::bundle::Bundle;
use crate::support::server::Server;
use crate::support::signer::Signer;
use crate::support::site::Site;

fn version(number: u32) -> Site {
    Site::new().with_page("index.html", format!("page {number}"))
}

/// Writes the operator's file, which requires a signature. Returns its path.
fn require(bundle: &Bundle, signer: &Signer) -> String {
    let file = bundle.at("operator.toml");
    let text = format!("[bundle]\npublic-key = \"{}\"\n", signer.public_key());
    fs::write(&file, text).expect("written");
    file.to_str().expect("text").to_owned()
}

#[track_caller]
fn expect_page(server: &Server, number: u32) {
    assert_eq!(server.get("/").body, format!("page {number}").as_bytes());
}

#[test]
fn only_a_bundle_with_a_good_signature_is_served() {
    let (signer, other) = (Signer::new(1), Signer::new(2));
    let bundle = Bundle::from_site(&version(1));
    let flags = ["--config", &require(&bundle, &signer)];
    let line = bundle.refusal(&flags);
    assert!(line.contains("site.wasgi: is not signed"), "{line}");

    other.sign(&bundle.path(), 100);
    let line = bundle.refusal(&flags);
    assert!(
        line.contains("site.wasgi.minisig: was made with another key"),
        "{line}"
    );

    signer.sign(&bundle.path(), 100);
    bundle.replace_by(&version(2));
    let line = bundle.refusal(&flags);
    assert!(
        line.contains("site.wasgi.minisig: is not of this bundle"),
        "{line}"
    );

    signer.sign_with(&bundle.path(), "no time");
    let line = bundle.refusal(&flags);
    assert!(line.contains("doesn't say when it was made"), "{line}");

    fs::write(bundle.at("site.wasgi.minisig"), "x").expect("written");
    let line = bundle.refusal(&flags);
    assert!(line.contains("is no signature of minisign"), "{line}");

    signer.sign(&bundle.path(), 100);
    let server = bundle.serve(&flags);
    expect_page(&server, 2);
    assert!(server.stop().status.success());
}

#[test]
fn an_unsigned_or_older_bundle_changes_nothing_in_a_running_server() {
    let signer = Signer::new(1);
    let bundle = Bundle::from_site(&version(1));
    let flags = ["--config", &require(&bundle, &signer)];
    signer.sign(&bundle.path(), 100);
    let old = (
        bundle.bytes(),
        fs::read(bundle.at("site.wasgi.minisig")).expect("there"),
    );
    let server = bundle.serve(&flags);
    expect_page(&server, 1);
    let log = server.error_log();

    bundle.replace_by(&version(2));
    log.expect(&["is not of this bundle", "the last version is still served"]);
    expect_page(&server, 1);
    signer.sign(&bundle.path(), 200);
    log.expect(&["site.wasgi: serves version"]);
    expect_page(&server, 2);

    fs::write(bundle.at("site.wasgi.minisig"), &old.1).expect("written");
    bundle.replace(&old.0);
    log.expect(&[
        "is older than that of the version before it",
        "is still served",
    ]);
    expect_page(&server, 2);
    assert!(server.stop().status.success());

    // After a restart, too.
    let line = bundle.refusal(&flags);
    assert!(line.contains("sign the older bundle again"), "{line}");
    signer.sign(&bundle.path(), 300);
    expect_page(&bundle.serve(&flags), 1);
}

#[test]
fn a_folder_is_not_served_where_bundles_must_be_signed() {
    let site = version(1);
    let bundle = Bundle::from_site(&site);
    let file = require(&bundle, &Signer::new(1));
    let folder = site.path().to_str().expect("text");
    let ended = bundle.run(&["routes", folder, "--config", &file]);
    assert!(
        ended.refusal().contains("is no signed bundle"),
        "{}",
        ended.refusal()
    );
    fs::write(&file, "[bundle]\npublic-key = \"RWx\"\n").expect("written");
    let line = bundle.refusal(&["--config", &file]);
    assert!(
        line.contains("bundle.public-key: is no key of minisign"),
        "{line}"
    );
}
