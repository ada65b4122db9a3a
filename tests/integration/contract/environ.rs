//! The environ that a handler receives: rules E1 to E5.

use crate::support::guests;
use crate::support::response::Response;
use crate::support::server::Server;
use crate::support::site::Site;

/// The variables that `tests/guests/variables.rs` lists.
struct Variables(Vec<(String, String)>);

impl Variables {
    #[track_caller]
    fn from_response(response: &Response) -> Variables {
        assert_eq!(response.status(), 200);
        let lines = response.text().lines().map(|line| {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
            (name.to_owned(), value.to_owned())
        });
        Variables(lines.collect())
    }

    /// Returns the value of a variable. Panics if the variable is repeated.
    #[track_caller]
    fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }
}

/// Returns the variables of a request that consists of these lines.
#[track_caller]
fn ask(server: &Server, lines: &[&str]) -> Variables {
    let mut client = server.connect();
    client.send(lines.join("\r\n") + "\r\n\r\n");
    Variables::from_response(&client.response())
}

/// E1: "Always present"
#[test]
fn e1_what_is_always_there() {
    let site = Site::new().with_cases(["variables"]);
    let server = Server::new(&site);
    let port = server.addr().port().to_string();
    let variables = ask(
        &server,
        &["GET /variables/a%2Fb?c=%20 HTTP/1.1", "Host: test"],
    );
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", "/variables"),
        ("PATH_INFO", "/a/b"),
        ("QUERY_STRING", "c=%20"),
        ("REQUEST_URI", "/variables/a%2Fb?c=%20"),
        ("RAW_URI", "/variables/a%2Fb?c=%20"),
        ("SERVER_NAME", "test"),
        ("SERVER_PORT", &port),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_HOST", "test"),
        ("wsgi.version", "1.0"),
        ("wsgi.url_scheme", "http"),
        ("wsgi.multithread", "false"),
        ("wsgi.multiprocess", "true"),
        ("wsgi.run_once", "true"),
        ("wsgi.input_terminated", "true"),
    ] {
        assert_eq!(variables.get(name), Some(value), "{name}");
    }
    let remote_port: Option<u16> = variables.get("REMOTE_PORT").and_then(|n| n.parse().ok());
    assert!(remote_port.is_some_and(|port| port > 0));
    server.stop();
}

/// E1: "`CONTENT_TYPE` and `CONTENT_LENGTH` are present if the request has these fields."
#[test]
fn e1_what_is_there_when_the_request_has_it() {
    let site = Site::new().with_cases(["variables"]);
    let server = Server::new(&site);
    let bare = ask(&server, &["GET /variables HTTP/1.0"]);
    assert_eq!(bare.get("CONTENT_TYPE"), None);
    assert_eq!(bare.get("CONTENT_LENGTH"), None);
    assert_eq!(bare.get("QUERY_STRING"), Some(""));
    assert_eq!(bare.get("SERVER_PROTOCOL"), Some("HTTP/1.0"));
    assert_eq!(bare.get("SERVER_NAME"), Some("127.0.0.1"));
    assert_eq!(bare.get("HTTP_HOST"), None);

    let line = "POST /variables HTTP/1.1";
    let (host, content_type) = ("Host: a:80", "Content-Type: text/plain");
    let with_length = ask(&server, &[line, host, content_type, "Content-Length: 0"]);
    assert_eq!(with_length.get("CONTENT_LENGTH"), Some("0"));
    assert_eq!(with_length.get("CONTENT_TYPE"), Some("text/plain"));
    assert_eq!(with_length.get("SERVER_NAME"), Some("a"));

    let mut client = server.connect();
    client.send([line, host, "Transfer-Encoding: chunked", "", ""].join("\r\n"));
    client.send("0\r\n\r\n");
    let chunked = Variables::from_response(&client.response());
    assert_eq!(chunked.get("CONTENT_LENGTH"), None);
    assert_eq!(chunked.get("wsgi.input_terminated"), Some("true"));
    server.stop();
}

/// E2: "`HTTP_*` variables contain the request's fields."
#[test]
fn e2_fields_are_variables() {
    let site = Site::new().with_cases(["variables"]);
    let server = Server::new(&site);
    let variables = ask(
        &server,
        &[
            "POST /variables HTTP/1.1",
            "Host: test",
            "Content-Type: text/plain",
            "Content-Length: 0",
            "x-lower-case: one",
            "Accept: a",
            "ACCEPT: b",
            "accept: c",
            "Cookie: a=1",
            "Cookie: b=2",
            "X-Forwarded-For: honest",
            "X_Forwarded_For: forged",
            "Content_Length: 7",
            "Proxy: http://evil",
            "X-Empty:",
        ],
    );
    for (name, value) in [
        ("HTTP_X_LOWER_CASE", Some("one")),
        ("HTTP_ACCEPT", Some("a,b,c")),
        ("HTTP_COOKIE", Some("a=1; b=2")),
        ("HTTP_X_FORWARDED_FOR", Some("honest")),
        ("HTTP_X_EMPTY", Some("")),
        ("HTTP_CONTENT_TYPE", None),
        ("HTTP_CONTENT_LENGTH", None),
        ("HTTP_PROXY", None),
    ] {
        assert_eq!(variables.get(name), value, "{name}");
    }
    assert_eq!(variables.get("CONTENT_LENGTH"), Some("0"));
    server.stop();
}

/// E3: "their concatenation is the decoded path"
#[test]
fn e3_script_name_and_path_info_are_the_path() {
    let site = Site::new();
    for name in [
        "index.wasm",
        "variables.wasm",
        "deep/er.wasm",
        "users/[id].wasm",
        "files/[...rest].wasm",
    ] {
        site.install(name, &guests::case("variables"));
    }
    let server = Server::new(&site);
    for (target, script_name, path_info) in [
        ("/", "", "/"),
        ("/variables", "/variables", ""),
        ("/variables/", "/variables", "/"),
        ("/variables/a//b/", "/variables", "/a//b/"),
        ("/variables/a%2Fb%20c", "/variables", "/a/b c"),
        ("/variables/../deep/er/x", "/deep/er", "/x"),
        ("/%76ariables/%61", "/variables", "/a"),
        ("/users/7", "/users/7", ""),
        ("/users/a%2Fb/c", "/users/a/b", "/c"),
        ("/files/a/b", "/files", "/a/b"),
        ("/unknown/path", "", "/unknown/path"),
    ] {
        let variables = Variables::from_response(&server.get(target));
        assert_eq!(variables.get("SCRIPT_NAME"), Some(script_name), "{target}");
        assert_eq!(variables.get("PATH_INFO"), Some(path_info), "{target}");
        assert_eq!(variables.get("REQUEST_URI"), Some(target));
    }
    server.stop();
}

/// E4: "Values are bytes."
#[test]
fn e4_values_are_bytes() {
    let site = Site::new().with_cases(["variables"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send(b"GET /variables/%ff%e9%c3%a9?%c3%a9%ff HTTP/1.1\r\nHost: test\r\n");
    client.send(b"X-Bytes: caf\xe9 \xff\t.\r\n\r\n");
    let variables = Variables::from_response(&client.response());
    assert_eq!(variables.get("PATH_INFO"), Some("/\\xff\\xe9\\xc3\\xa9"));
    assert_eq!(variables.get("QUERY_STRING"), Some("%c3%a9%ff"));
    assert_eq!(variables.get("HTTP_X_BYTES"), Some("caf\\xe9 \\xff\\t."));
    server.stop();
}

/// E5: "wasgi's own keys are lower-case and begin with `wasgi.`"
#[test]
fn e5_what_a_route_binds() {
    let site = Site::new();
    for name in ["users/[id].wasm", "files/[user]/[...rest].wasm"] {
        site.install(name, &guests::case("variables"));
    }
    let server = Server::new(&site);
    let user = Variables::from_response(&server.get("/users/%22J%C3%BCrgen%22"));
    assert_eq!(user.get("wasgi.route.id"), Some("\\\"J\\xc3\\xbcrgen\\\""));
    let json = "[[],{\\\"id\\\":\\\"\\\\\\\"J\\xc3\\xbcrgen\\\\\\\"\\\"}]";
    assert_eq!(user.get("wsgiorg.routing_args"), Some(json));
    let file = Variables::from_response(&server.get("/files/7/a/b.txt"));
    assert_eq!(file.get("wasgi.route.user"), Some("7"));
    assert_eq!(file.get("wasgi.route.rest"), Some("a/b.txt"));
    for (name, _) in &file.0 {
        let is_ours = name.starts_with("wasgi.");
        assert!(!is_ours || *name == name.to_lowercase(), "{name}");
    }
    server.stop();
}

/// E1: "the target as it was sent, which preserves `%2F`"
#[test]
fn e1_an_encoded_slash_is_not_lost() {
    let site = Site::new();
    site.install("users/[id].wasm", &guests::case("variables"));
    let server = Server::new(&site);
    for target in ["/users/a%2Fb", "/users/a%2fb/c", "/users/a%2F%2Fb?c=%2F"] {
        let variables = Variables::from_response(&server.get(target));
        assert_eq!(variables.get("REQUEST_URI"), Some(target));
        assert_eq!(variables.get("RAW_URI"), Some(target));
        let (id, _) = target["/users/".len()..]
            .split_once(['/', '?'])
            .unwrap_or((&target["/users/".len()..], ""));
        let id = id.replace("%2F", "/").replace("%2f", "/");
        assert_eq!(variables.get("wasgi.route.id"), Some(&*id), "{target}");
    }
    server.stop();
}

/// E2: "A field with an underscore in its name is omitted"
#[test]
fn e2_a_forged_field_is_not_there_even_alone() {
    let site = Site::new().with_cases(["variables"]);
    let server = Server::new(&site);
    let variables = ask(
        &server,
        &[
            "GET /variables HTTP/1.1",
            "Host: test",
            "X_Forwarded_For: forged",
            "Remote_User: admin",
            "proxy: http://evil",
            "PROXY: http://evil",
        ],
    );
    for (name, _) in &variables.0 {
        let is_forged = ["FORWARDED", "REMOTE_USER", "PROXY"];
        assert!(!is_forged.iter().any(|part| name.contains(part)), "{name}");
    }
    server.stop();
}
