//! `wasgi pull`, from a real registry.

use std::fs;

use serde_json::json;

use crate::support::oci::{
    Artifact, BUNDLE, DockerRegistry, HANDLER, Home, INDEX, MANIFEST, PASSWORD, SIGNATURE, USER,
    describe, digest_of,
};
use crate::support::process::Process;

/// Longer than what is read at once.
fn content() -> Vec<u8> {
    (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn an_artifact_is_pulled_by_its_tag_and_then_found_by_its_digest() {
    let Some(registry) = DockerRegistry::start() else {
        return;
    };
    let handler = Artifact::handler(&content());
    registry.push("org/shop", "1.0", &handler);
    let home = Home::new();
    let addr = registry.addr();
    let pinned = handler.reference(addr, "org/shop");

    let pulled = home.run(&[
        "pull",
        &format!("oci://{addr}/org/shop:1.0"),
        "-o",
        "shop.wasm",
    ]);
    pulled.expect_success();
    assert_eq!(pulled.stdout, [&*pinned]);
    pulled.expect_stderr(&["wrote shop.wasm: handler, 4000000 bytes"]);
    assert_eq!(fs::read(home.at("shop.wasm")).expect("written"), content());

    // Another tag, and no network.
    registry.push("org/shop", "1.0", &Artifact::handler(b"another version"));
    drop(registry);
    let again = home.run(&["pull", &pinned, "-o", "again.wasm"]);
    again.expect_success();
    assert_eq!(again.stdout, [&*pinned]);
    assert_eq!(fs::read(home.at("again.wasm")).expect("written"), content());
}

#[test]
fn an_artifact_is_pulled_by_its_digest_and_a_damaged_one_again() {
    let Some(registry) = DockerRegistry::start() else {
        return;
    };
    let handler = Artifact::handler(b"a handler");
    registry.push("shop", "latest", &handler);
    let home = Home::new();
    let pinned = handler.reference(registry.addr(), "shop");
    let pulled = home.run(&["pull", &pinned]);
    pulled.expect_success();
    let stored = home.stored();
    let [folder] = &stored[..] else {
        panic!("{stored:?}");
    };
    let stored = home.store().join(folder).join("handler.wasm");
    pulled.expect_stderr(&["handler, 9 bytes, in", &stored.display().to_string()]);
    fs::write(&stored, "A handler").expect("written");
    let again = home.run(&["pull", &pinned, "-o", "shop.wasm"]);
    again.expect_success();
    again.expect_stderr(&["is damaged: downloaded again"]);
    let written = fs::read(home.at("shop.wasm")).expect("written");
    assert_eq!(written, b"a handler");
}

#[test]
fn a_bundle_is_pulled_with_its_signature() {
    let Some(registry) = DockerRegistry::start() else {
        return;
    };
    let bundle = Artifact::new(&[(BUNDLE, b"a bundle"), (SIGNATURE, b"its signature")]);
    registry.push("site", "1", &bundle);
    let home = Home::new();
    let pinned = bundle.reference(registry.addr(), "site");
    home.run(&["pull", &pinned, "-o", "a.wasgi"])
        .expect_success();
    let read = |name: &str| fs::read(home.at(name)).expect(name);
    assert_eq!(read("a.wasgi"), b"a bundle");
    assert_eq!(read("a.wasgi.minisig"), b"its signature");
}

#[test]
fn the_manifest_for_webassembly_in_an_index_is_pulled() {
    let Some(registry) = DockerRegistry::start() else {
        return;
    };
    let [wasm, other] = [&b"for wasm"[..], b"for amd64"].map(Artifact::handler);
    for one in [&wasm, &other] {
        registry.push("shop", &one.digest(), one);
    }
    let entry = |artifact: &Artifact, architecture: &str| {
        let mut entry = describe(MANIFEST, &artifact.manifest);
        entry["platform"] = json!({"architecture": architecture, "os": "wasip2"});
        entry
    };
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [entry(&other, "amd64"), entry(&wasm, "wasm")],
    })
    .to_string();
    registry.push_manifest("shop", "both", INDEX, index.as_bytes());
    let home = Home::new();
    let addr = registry.addr();
    let pulled = home.run(&["pull", &format!("oci://{addr}/shop:both"), "-o", "a.wasm"]);
    pulled.expect_success();
    let digest = digest_of(index.as_bytes());
    assert_eq!(pulled.stdout, [format!("oci://{addr}/shop@{digest}")]);
    assert_eq!(fs::read(home.at("a.wasm")).expect("written"), b"for wasm");
}

#[test]
fn what_is_neither_handler_nor_bundle_is_refused() {
    let Some(registry) = DockerRegistry::start() else {
        return;
    };
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    registry.push(
        "image",
        "1",
        &Artifact::new(&[(layer, b"one"), (layer, b"two")]),
    );
    let home = Home::new();
    let addr = registry.addr();
    let refused = home.run(&["pull", &format!("oci://{addr}/image:1")]);
    let line = refused.refusal();
    assert!(line.contains("2 layers, the first of the type"), "{line}");
    let missing = home.run(&["pull", &format!("oci://{addr}/image:2")]);
    let line = missing.refusal();
    assert!(
        line.contains("has no such artifact (status 404, MANIFEST_UNKNOWN)"),
        "{line}"
    );
    assert_eq!(home.stored(), [""; 0]);
}

#[test]
fn a_password_comes_from_dockers_file_or_from_variables_and_is_never_shown() {
    let Some(registry) = DockerRegistry::with_password() else {
        return;
    };
    let handler = Artifact::handler(b"a private handler");
    registry.push("shop", "1", &handler);
    let addr = registry.addr();
    let pinned = handler.reference(addr, "shop");

    let home = Home::new();
    let refused = home.run(&["pull", &pinned]);
    let line = refused.refusal();
    assert!(line.contains("no password is set for it"), "{line}");

    home.log_in(&addr.to_string(), USER, "wrongword");
    let refused = home.run(&["pull", &pinned]);
    let line = refused.refusal();
    assert!(line.contains("refuses access (status 401"), "{line}");
    assert!(line.contains("the password that is set for it"), "{line}");
    assert!(
        !line.contains("wrongword") && !line.contains(USER),
        "{line}"
    );

    // The password of another registry stays here.
    home.log_in("example.com", USER, PASSWORD);
    let line = home.run(&["pull", &pinned]).refusal().to_owned();
    assert!(line.contains("no password is set for it"), "{line}");

    home.log_in(&addr.to_string(), USER, PASSWORD);
    let pulled = home.run(&["pull", &pinned]);
    pulled.expect_success();
    assert!(!pulled.everything().contains(PASSWORD));

    let home = Home::new();
    let variables = |host: &str| {
        let mut command = home.command(&["pull", &pinned]);
        command
            .env("WASGI_REGISTRY", host)
            .env("WASGI_REGISTRY_USER", USER)
            .env("WASGI_REGISTRY_PASSWORD", PASSWORD);
        Process::start(&mut command).wait()
    };
    let line = variables("example.com").refusal().to_owned();
    assert!(line.contains("no password is set for it"), "{line}");
    variables(&addr.to_string()).expect_success();
}

#[test]
fn a_wrong_reference_is_one_line() {
    let home = Home::new();
    for (reference, said) in [
        ("shop", "is no reference of the form oci://"),
        ("oci://ada:secret@registry.example.com/shop", "has a user"),
        (
            "oci://registry.example.com/shop@sha256:12",
            "has no digest after @",
        ),
        ("oci://registry.example.com/Shop", "parts in lower case"),
    ] {
        let line = home.run(&["pull", reference]).refusal().to_owned();
        assert!(line.contains(said) && !line.contains("secret"), "{line}");
    }
    // A name that no host has (RFC 6761 section 6.4).
    let digest = digest_of(HANDLER.as_bytes());
    let line = home.run(&["pull", &format!("oci://a.invalid/shop@{digest}")]);
    let line = line.refusal();
    assert!(line.starts_with(&format!(
        "wasgi: oci://a.invalid/shop@{digest}: a.invalid: "
    )));
}
