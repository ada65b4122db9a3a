//! What a registry sends is a stranger's: only its digest is trusted.

use std::io::Write;
use std::net::TcpStream;

use crate::support::oci::{Artifact, Asked, Home, StandIn, digest_of, respond, serve_artifact};

/// Pulls an artifact from a stand-in that answers each request by `answer`, and returns the line
/// with which it fails. Nothing is left in the store.
#[track_caller]
fn refusal(
    artifact: &Artifact,
    answer: impl Fn(&Artifact, &Asked, &mut TcpStream) + Send + Sync + 'static,
) -> String {
    let served = artifact.clone();
    let registry = StandIn::start(move |asked, stream| answer(&served, asked, stream));
    refusal_of(&registry, artifact)
}

#[track_caller]
fn refusal_of(registry: &StandIn, artifact: &Artifact) -> String {
    let home = Home::new();
    let pulled = home.run(&[
        "pull",
        &artifact.reference(registry.addr(), "shop"),
        "-o",
        "a",
    ]);
    let line = pulled.refusal().to_owned();
    assert_eq!(home.stored(), [""; 0], "{line}");
    assert!(!home.at("a").exists(), "{line}");
    line
}

fn is_blob(asked: &Asked) -> bool {
    asked.target.contains("/blobs/")
}

#[test]
fn a_manifest_with_another_digest_is_refused() {
    let artifact = Artifact::handler(b"a handler");
    let line = refusal(&artifact, |artifact, asked, stream| match is_blob(asked) {
        true => serve_artifact(artifact, asked, stream),
        false => {
            let other = Artifact::handler(b"another handler");
            respond(stream, "200 OK", "", &other.manifest);
        }
    });
    assert!(
        line.contains("sends a manifest with another digest"),
        "{line}"
    );
}

#[test]
fn a_manifest_that_is_too_large_is_refused_unread() {
    let artifact = Artifact::handler(b"a handler");
    let line = refusal(&artifact, |_, _, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        // It must not wait for the rest.
        std::thread::sleep(crate::support::PATIENCE);
    });
    assert!(
        line.contains("sends a manifest of 99999999 bytes"),
        "{line}"
    );
    let line = refusal(&artifact, |_, _, stream| endless(stream));
    assert!(
        line.contains("its manifest: the response is too large"),
        "{line}"
    );
}

#[test]
fn a_manifest_that_is_deep_or_no_json_is_refused() {
    for manifest in ["[".repeat(1_000_000), "<html>".to_owned(), "\0".repeat(10)] {
        let artifact = Artifact {
            manifest: manifest.into_bytes(),
            blobs: Vec::new(),
        };
        let line = refusal(&artifact, serve_artifact);
        assert!(
            line.contains("its manifest is no manifest of OCI"),
            "{line}"
        );
    }
}

#[test]
fn content_with_another_digest_or_length_is_refused() {
    let artifact = Artifact::handler(b"a handler");
    for (body, said) in [
        (&b"A handler"[..], "sends something with another digest"),
        (
            b"a handler that is longer",
            "sends 24 bytes instead of the 9",
        ),
        (b"a", "sends 1 bytes instead of the 9"),
    ] {
        let line = refusal(&artifact, move |artifact, asked, stream| {
            match is_blob(asked) {
                true => respond(stream, "200 OK", "", body),
                false => serve_artifact(artifact, asked, stream),
            }
        });
        assert!(line.contains(said), "{line}");
    }
}

#[test]
fn content_without_end_is_cut_at_its_length() {
    let artifact = Artifact::handler(b"a handler");
    let line = refusal(&artifact, |artifact, asked, stream| match is_blob(asked) {
        true => endless(stream),
        false => serve_artifact(artifact, asked, stream),
    });
    assert!(line.contains("sends more than the 9 bytes"), "{line}");
}

#[test]
fn content_that_ends_early_is_refused() {
    let artifact = Artifact::handler(b"a handler");
    let line = refusal(&artifact, |artifact, asked, stream| match is_blob(asked) {
        true => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na han");
        }
        false => serve_artifact(artifact, asked, stream),
    });
    assert!(line.contains("after 5 of 9 bytes"), "{line}");
}

/// Writes a chunked body until the client closes the connection.
fn endless(stream: &mut TcpStream) {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut written = stream.write_all(head.as_bytes());
    while written.is_ok() {
        written = stream.write_all(b"5\r\nabcde\r\n");
    }
}

/// Answers requests with a token by the artifact, and asks for one otherwise. The realm is on the
/// same host.
fn with_token(artifact: &Artifact, asked: &Asked, stream: &mut TcpStream, realm: &str) {
    if asked.target.starts_with("/token") {
        return respond(stream, "200 OK", "", br#"{"token":"t0ken"}"#);
    }
    match asked.authorization.as_deref() {
        Some("Bearer t0ken") => serve_artifact(artifact, asked, stream),
        _ => {
            let field = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"a\"\r\n");
            respond(stream, "401 Unauthorized", &field, b"");
        }
    }
}

#[test]
fn a_token_is_fetched_once_and_stays_with_the_registry() {
    let artifact = Artifact::handler(b"a handler");
    let storage = StandIn::start_at("127.0.0.2", {
        let artifact = artifact.clone();
        move |asked, stream| serve_artifact(&artifact, asked, stream)
    });
    let issuer = StandIn::start(|_, stream| {
        respond(stream, "200 OK", "", br#"{"access_token":"t0ken"}"#);
    });
    let (realm, elsewhere) = (issuer.addr(), storage.addr());
    let registry = StandIn::start({
        let artifact = artifact.clone();
        move |asked, stream| match is_blob(asked) && asked.authorization.is_some() {
            true => {
                let field = format!("Location: http://{elsewhere}{}\r\n", asked.target);
                respond(stream, "307 Temporary Redirect", &field, b"");
            }
            false => with_token(&artifact, asked, stream, &format!("http://{realm}/token")),
        }
    });
    let home = Home::new();
    home.log_in(&registry.addr().to_string(), "ada", "secret");
    let pinned = artifact.reference(registry.addr(), "org/shop");
    home.run(&["pull", &pinned, "-o", "a"]).expect_success();

    let asked = issuer.asked();
    let [token] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(
        token.target,
        "/token?service=a&scope=repository%3Aorg%2Fshop%3Apull"
    );
    assert_eq!(
        token.authorization.as_deref(),
        Some("Basic YWRhOnNlY3JldA==")
    );
    let with_password = |asked: &Asked| {
        let value = asked.authorization.as_deref();
        value.is_some_and(|value| value.contains("Basic"))
    };
    assert!(!registry.asked().iter().any(with_password));
    let asked = storage.asked();
    let [blob] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(blob.authorization, None, "the token is the registry's");
}

#[test]
fn a_host_that_the_registry_redirects_to_gets_no_password() {
    let artifact = Artifact::handler(b"a handler");
    let issuer = StandIn::start(|_, stream| {
        respond(stream, "200 OK", "", br#"{"token":"t0ken"}"#);
    });
    let realm = issuer.addr();
    let storage = StandIn::start_at("127.0.0.2", move |_, stream| {
        let field = format!("WWW-Authenticate: Bearer realm=\"http://{realm}/token\"\r\n");
        respond(stream, "401 Unauthorized", &field, b"");
    });
    let elsewhere = storage.addr();
    let registry = StandIn::start(move |asked, stream| {
        let field = format!("Location: http://{elsewhere}{}\r\n", asked.target);
        respond(stream, "307 Temporary Redirect", &field, b"");
    });
    let home = Home::new();
    home.log_in(&registry.addr().to_string(), "ada", "secret");
    let pulled = home.run(&["pull", &artifact.reference(registry.addr(), "shop")]);
    let line = pulled.refusal();
    assert!(line.contains("refuses access (status 401"), "{line}");
    assert_eq!(storage.asked().len(), 1);
    assert!(issuer.asked().is_empty(), "{:?}", issuer.asked());
}

#[test]
fn a_registry_that_asks_again_and_again_is_refused() {
    let artifact = Artifact::handler(b"a handler");
    let registry = StandIn::start(|_, stream| {
        let field = "WWW-Authenticate: Basic realm=\"a\"\r\n";
        respond(stream, "401 Unauthorized", field, b"");
    });
    let home = Home::new();
    home.log_in(&registry.addr().to_string(), "ada", "secret");
    let pinned = artifact.reference(registry.addr(), "shop");
    let line = home.run(&["pull", &pinned]).refusal().to_owned();
    assert!(line.contains("refuses access (status 401)"), "{line}");
    assert_eq!(registry.asked().len(), 2);
}

#[test]
fn a_token_that_is_useless_is_refused() {
    let artifact = Artifact::handler(b"a handler");
    let long = format!(r#"{{"token":"{}"}}"#, "a".repeat(20_000));
    let endless_document = format!(r#"{{"token":"{}"}}"#, "a".repeat(100_000));
    for (document, said) in [
        (
            r#"{"token":"other"}"#.to_owned(),
            "refuses access (status 401)",
        ),
        (long, "its token is too long"),
        (endless_document, "the response is too large"),
        ("{}".to_owned(), "its answer has no token"),
        (
            r#"{"token":"a\r\nb"}"#.to_owned(),
            "its token can't be sent",
        ),
    ] {
        let issuer = StandIn::start(move |_, stream| {
            respond(stream, "200 OK", "", document.as_bytes());
        });
        let realm = format!("http://{}/token", issuer.addr());
        let line = refusal(&artifact, move |artifact, asked, stream| {
            with_token(artifact, asked, stream, &realm);
        });
        assert!(line.contains(said), "{line}");
        assert_eq!(issuer.asked().len(), 1);
    }
}

#[test]
fn redirects_end_and_lead_to_no_private_network() {
    let artifact = Artifact::handler(b"a handler");
    let redirect = |to: &'static str| {
        refusal(&artifact, move |artifact, asked, stream| {
            match is_blob(asked) {
                true => respond(stream, "302 Found", &format!("Location: {to}\r\n"), b""),
                false => serve_artifact(artifact, asked, stream),
            }
        })
    };
    let line = redirect("/v2/shop/blobs/again");
    assert!(line.contains("redirects more than 5 times"), "{line}");
    let line = redirect("http://169.254.169.254/latest/meta-data");
    assert!(
        line.contains("link-local or reserved address 169.254.169.254"),
        "{line}"
    );
    let line = redirect("https://10.0.0.1/");
    assert!(line.contains("private address 10.0.0.1"), "{line}");
    for bad in [
        "file:///etc/passwd",
        "//a/b",
        "http://ada:pw@127.0.0.1/",
        "",
    ] {
        let line = redirect(bad);
        assert!(line.contains("redirects to"), "{line}");
    }
    let line = refusal(&artifact, |_, _, stream| {
        respond(stream, "302 Found", "", b"");
    });
    assert!(line.contains("redirects to no location"), "{line}");
}

#[test]
fn a_realm_in_a_private_network_gets_no_password() {
    let artifact = Artifact::handler(b"a handler");
    let line = refusal(&artifact, |artifact, asked, stream| {
        with_token(artifact, asked, stream, "http://192.168.0.1/token");
    });
    assert!(line.contains("private address 192.168.0.1"), "{line}");
}

#[test]
fn a_tag_that_moves_is_noticed() {
    let (first, second) = (Artifact::handler(b"first"), Artifact::handler(b"second"));
    // The tag moves after the first request.
    let artifacts = [first.clone(), second.clone()];
    let count = std::sync::atomic::AtomicUsize::new(0);
    let registry = StandIn::start(move |asked, stream| {
        let [first, second] = &artifacts;
        if !asked.target.contains("/manifests/") {
            let all = Artifact {
                manifest: Vec::new(),
                blobs: [&first.blobs[..], &second.blobs[..]].concat(),
            };
            return serve_artifact(&all, asked, stream);
        }
        let is_first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        let manifest = if is_first { first } else { second };
        respond(stream, "200 OK", "", &manifest.manifest);
    });
    let home = Home::new();
    let (addr, tagged) = (registry.addr(), format!("oci://{}/shop:1", registry.addr()));
    let pulled = home.run(&["pull", &tagged, "-o", "a"]);
    assert_eq!(pulled.stdout, [first.reference(addr, "shop")]);
    assert_eq!(std::fs::read(home.at("a")).expect("written"), b"first");
    // What is stored is found by its digest, without a question.
    let asked = registry.asked().len();
    home.run(&["pull", &first.reference(addr, "shop")])
        .expect_success();
    assert_eq!(registry.asked().len(), asked);
    // The tag is another artifact by now.
    let pulled = home.run(&["pull", &tagged]);
    assert_eq!(pulled.stdout, [second.reference(addr, "shop")]);
}

#[test]
fn text_of_a_registry_is_escaped() {
    let artifact = Artifact::new(&[("a\u{1b}[2J", b"x")]);
    let line = refusal(&artifact, serve_artifact);
    assert!(
        line.contains("a layer of the type a") && !line.contains('\u{1b}'),
        "{line}"
    );
    let line = refusal(&artifact, |_, _, stream| {
        let body = br#"{"errors":[{"code":"\u001b[2J","message":"\u001b[2J"}]}"#;
        respond(stream, "500 Internal Server Error", "", body);
    });
    assert!(line.ends_with("answers with status 500"), "{line}");
}

#[test]
fn a_store_that_cant_be_written_is_one_line() {
    let artifact = Artifact::handler(b"a handler");
    let registry = StandIn::for_artifact(&artifact);
    let home = Home::new();
    std::fs::write(home.at("cache"), "a file").expect("written");
    let pinned = artifact.reference(registry.addr(), "shop");
    let line = home.run(&["pull", &pinned]).refusal().to_owned();
    assert!(
        line.contains("cache/wasgi/oci (oci.store names another folder)"),
        "{line}"
    );
    assert!(!line.contains(&digest_of(b"a handler")));
}
