//! Identifiers of requests: in both logs, in the environ, in the response and on error pages.

use crate::support::server::Server;
use crate::support::site::Site;

/// Creates a site whose requests have identifiers, and that trusts these proxies.
fn site(trusted: &str) -> Site {
    let site = Site::new()
        .with_page("index.html", "a page")
        .with_demos(["echo"])
        .with_cases(["exception", "errors", "loop"]);
    let settings = format!(
        "[server]\nrequest-id = true\n[proxy]\ntrusted = [{trusted}]\n[budget]\ncpu-time = \"100ms\"\n"
    );
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    site
}

/// Sends a GET with an X-Request-Id. Returns the response's, and the body.
#[track_caller]
fn get(server: &Server, target: &str, given: &str) -> (String, String) {
    let mut client = server.connect();
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nX-Request-Id: {given}\r\n\r\n"
    ));
    let response = client.response();
    let id = response.field("X-Request-Id").expect("an identifier");
    assert_eq!(response.head.all("X-Request-Id").len(), 1);
    (id.to_owned(), response.text().to_owned())
}

#[test]
fn logs_handler_and_client_know_a_request_by_the_same_identifier() {
    let site = site("");
    let server = Server::new(&site);
    let (page, _) = get(&server, "/", "forged");
    server
        .access_log()
        .expect(&["\"GET / HTTP/1.1\" 200 ", &format!(" #{page}")]);
    let (echo, text) = get(&server, "/echo", "forged");
    assert_ne!(page, echo);
    assert!(text.contains(&format!("x-request-id: {echo}")), "{text}");
    assert!(!text.contains("forged"), "{text}");
    server
        .access_log()
        .expect(&["\"GET /echo HTTP/1.1\" 200 ", &format!(" echo #{echo}")]);
    let (errors, _) = get(&server, "/errors?n=1", "forged");
    server
        .error_log()
        .expect(&[&format!("WARN errors #{errors}: line 1")]);
    for (path, status) in [("/exception", "500"), ("/loop", "504")] {
        let (failed, text) = get(&server, path, "forged");
        assert!(text.contains(&failed), "{text}");
        server
            .error_log()
            .expect(&["ERROR", &format!("(GET {path} #{failed})")]);
        server
            .access_log()
            .expect(&[path, status, &format!("#{failed}")]);
    }
    // A rejected request has one, too.
    let mut client = server.connect();
    client.send("GET nonsense HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    let id = response.field("X-Request-Id").expect("an identifier");
    server.access_log().expect(&[" 400 ", &format!("#{id}")]);
    server.stop();
}

#[test]
fn only_a_trusted_proxy_names_a_request() {
    let site = site("\"127.0.0.1\"");
    let server = Server::new(&site);
    let (id, _) = get(&server, "/", "0af7651916cd43dd-8448");
    assert_eq!(id, "0af7651916cd43dd-8448");
    server.access_log().expect(&[" #0af7651916cd43dd-8448"]);
    let too_long = "a".repeat(129);
    for bad in ["a b", "a\"b", "<b>", &too_long, ""] {
        assert_ne!(get(&server, "/", bad).0, bad);
    }
    server.stop();
}

#[test]
fn without_the_key_only_failures_have_an_identifier() {
    let site = Site::new().with_demos(["echo"]).with_cases(["exception"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send("GET /echo HTTP/1.1\r\nHost: a\r\nX-Request-Id: the-clients\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("X-Request-Id"), None);
    assert!(
        response.text().contains("x-request-id: the-clients"),
        "{}",
        response.text()
    );
    let response = server.get("/exception");
    let line = server
        .access_log()
        .expect(&["\"GET /exception HTTP/1.1\" 500 "]);
    let (_, id) = line.split_once(" #").expect("an identifier");
    assert!(response.text().contains(id), "{}", response.text());
    server.stop();
}
