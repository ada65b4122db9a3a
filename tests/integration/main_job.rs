//! The main use of wasgi: pages from one folder, handlers from another, over one connection.

use std::os::unix::fs::symlink;

use crate::support::client::Ending;
use crate::support::guests;
use crate::support::response::Framing;
use crate::support::server::Server;
use crate::support::site::Site;

fn tour() -> Site {
    Site::new()
        .with_page("index.html", "<h1>the front page</h1>")
        .with_page("404.html", "<h1>nothing here</h1>")
        .with_page("style.css", "h1 { color: teal }")
        .with_demos([
            "hello",
            "time",
            "environ",
            "echo",
            "stream",
            "sleep",
            "fail",
            "users/[id]",
        ])
}

#[test]
fn pages_and_handlers_of_every_kind_answer() {
    let site = tour();
    let server = Server::new(&site);
    assert!(server.get("/").text().contains("the front page"));
    let hello = server.get("/hello");
    assert_eq!(hello.status(), 200);
    assert_eq!(
        hello.field("Content-Type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(hello.framing, Framing::Length(hello.body.len()));
    assert_ne!(server.get("/time").text(), server.get("/time").text());
    let environ = server.get("/environ/below?a=1");
    for name in ["REQUEST_METHOD", "PATH_INFO", "wsgi.url_scheme"] {
        assert!(environ.text().contains(name), "{name}");
    }
    assert!(server.get("/users/7").text().contains("<h1>User 7</h1>"));
    assert_eq!(server.get("/sleep?ms=1").text(), "slept for 1 ms\n");
    assert_eq!(server.get("/stream?n=3&ms=0").framing, Framing::Chunked);
    assert_eq!(server.get("/fail").status(), 200);
    let missing = server.get("/missing");
    assert_eq!(missing.status(), 404);
    assert!(missing.text().contains("nothing here"));
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn a_file_that_is_uploaded_is_kept_in_the_granted_folder() {
    let site = Site::new().with_demos(["upload"]);
    let folder = site.path().join("data");
    std::fs::create_dir(&folder).expect("created");
    let settings = "[handlers.upload]\nfiles = [{ source = \"data\", destination = \"/files\", \
                    writable = true }]\n";
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let server = Server::new(&site);
    let mut client = server.connect();
    let body = "x".repeat(200_000);
    client.send(format!(
        "PUT /upload/a.txt HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let stored = client.response_to("PUT");
    assert_eq!(stored.status(), 201, "{}", stored.text());
    let kept = std::fs::read_to_string(folder.join("a.txt")).expect("it is there");
    assert_eq!(kept.len(), body.len());
    assert_eq!(client.get("/upload/a.txt").text(), body);
    assert!(client.get("/upload").text().contains(">a.txt</a>"));
    server.stop();
}

/// Returns the targets of a page's links within its site.
fn links(page: &str) -> Vec<String> {
    let attributes = ["href=\"/", "src=\"/", "action=\"/"];
    let values = attributes
        .iter()
        .flat_map(|start| page.split(start).skip(1));
    let mut links: Vec<String> = values
        .filter_map(|rest| rest.split(['"', '#']).next())
        .map(|link| format!("/{}", link.replace("&amp;", "&")))
        .collect();
    links.sort();
    links.dedup();
    links
}

#[test]
fn every_link_of_the_repositorys_own_site_leads_somewhere() {
    let site = Site::bare();
    for (folder, name) in [
        (guests::demo_pages(), "html"),
        (guests::demos(), "handlers"),
    ] {
        symlink(folder, site.path().join(name)).expect("a link");
    }
    // Grants of the repository's own file. Little memory, so that `fail` exhausts it long before
    // its CPU time.
    std::fs::create_dir(site.path().join("data")).expect("created");
    let settings = "[handlers.guestbook]\nkey-value = [\"default\"]\n\
                    [handlers.upload]\nfiles = [{ source = \"data\", destination = \"/files\", \
                    writable = true }]\n\
                    [handlers.fail]\nmemory = \"16MiB\"\n";
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    guests::demo("hello");
    let server = Server::with(&site, &["--max-cpu-time", "1"]);
    let links: Vec<String> = ["/", "/write-your-own.html"]
        .into_iter()
        .flat_map(|page| links(server.get(page).text()))
        .collect();
    assert!(links.len() > 15, "{links:?}");
    for link in links {
        let expected = match link.as_str() {
            "/fail?how=loop" => 504,
            "/no-such-page" => 404,
            // Its API is a script, and the tests have the built handlers alone.
            "/weather" => 503,
            // The page explains how to create this handler.
            "/greet?name=Ada" => 404,
            // Built by `cargo xtask python`, and in another folder for the tests.
            "/flask/" => 404,
            // A script, and the tests have the built handlers alone.
            "/dice" => 404,
            "/cgi" if guests::optional_demo("cgi").is_none() => 404,
            "/go" if guests::optional_demo("go").is_none() => 404,
            _ if link.starts_with("/fail?") => 500,
            _ => 200,
        };
        assert_eq!(server.get(&link).status(), expected, "{link}");
    }
    let ended = server.stop();
    let problems = ended
        .stdout
        .iter()
        .filter(|line| line.starts_with("problem:"));
    assert_eq!(problems.count(), 0, "{}", ended.everything());
}

#[test]
fn each_request_is_a_line_in_the_access_log() {
    let site = tour();
    let server = Server::new(&site);
    server.get("/hello?a=b");
    server.get("/style.css");
    server.ask("HEAD", "/missing");
    server.connect().post("/echo", b"a body");
    let mut client = server.connect();
    client.send("nonsense\x1b[31m\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    drop(client);
    let ended = server.stop();
    let log: Vec<&String> = ended
        .stdout
        .iter()
        .filter(|line| line.contains('"'))
        .collect();
    assert_eq!(log.len(), 5, "{log:#?}");
    for parts in [
        ["127.0.0.1 \"GET /hello?a=b HTTP/1.1\" 200 ", "ms hello"],
        ["127.0.0.1 \"GET /style.css HTTP/1.1\" 200 ", "ms -"],
        ["127.0.0.1 \"HEAD /missing HTTP/1.1\" 404 ", "ms -"],
        ["127.0.0.1 \"POST /echo HTTP/1.1\" 200 ", "ms echo"],
        ["127.0.0.1 \"nonsense\\x1b[31m\" 400 ", "ms -"],
    ] {
        let [start, end] = parts;
        let found = log
            .iter()
            .any(|line| line.contains(start) && line.ends_with(end));
        assert!(found, "{parts:?} in {log:#?}");
    }
}

#[test]
fn the_access_log_can_be_left_out() {
    let site = tour();
    let server = Server::with(&site, &["--no-access-log"]);
    assert_eq!(server.get("/hello").status(), 200);
    let ended = server.stop();
    assert!(!ended.stdout.iter().any(|line| line.contains("GET")));
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let site = tour();
    let server = Server::new(&site);
    let mut client = server.connect();
    for _ in 0..50 {
        assert_eq!(client.get("/hello").status(), 200);
        assert_eq!(client.get("/style.css").text(), "h1 { color: teal }");
        assert_eq!(client.get("/missing").status(), 404);
        assert_eq!(
            client.get("/stream?n=2&ms=0").text(),
            "block 1 of 2\nblock 2 of 2\n"
        );
        assert_eq!(client.post("/echo", b"a body").body, b"a body");
        assert_eq!(client.post("/echo", b"").body, b"");
        assert_eq!(client.get("/fail?how=exception").status(), 500);
    }
    client.finish_sending();
    assert_eq!(client.ending(), Ending::Closed);
    server.stop();
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let site = tour();
    let server = Server::new(&site);
    let mut client = server.connect();
    // One write with slow and fast requests for handlers and pages, with and without bodies.
    let mut requests = String::new();
    for round in 0..20 {
        requests += &format!(
            "GET /sleep?ms=3 HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /style.css HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{round:02}\
             HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n\
             GET /missing HTTP/1.1\r\nHost: a\r\n\r\n"
        );
    }
    client.send(requests);
    client.finish_sending();
    for round in 0..20 {
        assert_eq!(client.response().text(), "slept for 3 ms\n");
        assert_eq!(client.response().text(), "h1 { color: teal }");
        assert_eq!(client.response().text(), format!("{round:02}"));
        assert_eq!(client.response_to("HEAD").status(), 200);
        assert_eq!(client.response().text(), "onetwo");
        assert_eq!(client.response().status(), 404);
    }
    assert_eq!(client.ending(), Ending::Closed);
    server.stop();
}

#[test]
fn more_requests_ahead_than_are_kept_are_answered_all_the_same() {
    let site = tour();
    let server = Server::new(&site);
    let mut client = server.connect();
    // 5,000 requests of about 40 bytes are three times the server's read-ahead limit.
    const COUNT: usize = 5000;
    let mut stream = client.stream();
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        let requests = "GET /style.css HTTP/1.1\r\nHost: a\r\n\r\n".repeat(COUNT);
        stream.write_all(requests.as_bytes())
    });
    for _ in 0..COUNT {
        assert_eq!(client.response().text(), "h1 { color: teal }");
    }
    sender.join().expect("no panic").expect("all were sent");
    assert!(client.is_quiet());
    server.stop();
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    let site = tour();
    let server = Server::new(&site);
    let mut client = server.connect();
    for target in [
        "/",
        "/hello",
        "/stream?n=3&ms=0",
        "/missing",
        "/fail?how=exception",
    ] {
        let get = client.get(target);
        client.request("HEAD", target);
        let head = client.response_to("HEAD");
        assert_eq!(head.status(), get.status(), "{target}");
        assert_eq!(
            head.field("Content-Length"),
            get.field("Content-Length"),
            "{target}"
        );
        assert_eq!(
            head.field("Content-Type"),
            get.field("Content-Type"),
            "{target}"
        );
        // Any leftover bytes would be the start of the next response.
        assert_eq!(
            client.get("/style.css").text(),
            "h1 { color: teal }",
            "after {target}"
        );
    }
    server.stop();
}

#[test]
fn options_reaches_the_server_and_handlers() {
    let site = tour();
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("OPTIONS", "*");
    let whole_server = client.response();
    assert_eq!(whole_server.status(), 204);
    assert!(
        whole_server
            .field("Allow")
            .is_some_and(|allow| allow.contains("DELETE"))
    );
    // A handler decides which methods it supports.
    client.request("OPTIONS", "/echo");
    assert!(client.response().text().starts_with("OPTIONS /echo"));
    client.request("DELETE", "/echo");
    assert!(client.response().text().starts_with("DELETE /echo"));
    server.stop();
}

#[test]
fn http_1_0_ends_with_the_connection_unless_asked_otherwise() {
    let site = tour();
    let server = Server::new(&site);
    for (target, framing) in [
        ("/hello", Framing::Length(server.get("/hello").body.len())),
        ("/style.css", Framing::Length(18)),
        ("/stream?n=3&ms=0", Framing::Close),
    ] {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status(), 200, "{target}");
        assert_eq!(response.framing, framing, "{target}");
        assert_eq!(client.ending(), Ending::Closed, "{target}");
    }
    let mut client = server.connect();
    for _ in 0..2 {
        client.send("GET /style.css HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response();
        assert_eq!(response.field("Connection"), Some("keep-alive"));
        assert_eq!(response.text(), "h1 { color: teal }");
    }
    // The end of the connection ends the body, so the request for keep-alive can't be granted.
    client.send("GET /stream?n=2&ms=0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("Connection"), Some("close"));
    assert_eq!(response.text(), "block 1 of 2\nblock 2 of 2\n");
    server.stop();
}

#[test]
fn connection_close_is_kept() {
    let site = tour();
    let server = Server::new(&site);
    for target in ["/hello", "/style.css", "/missing", "/stream?n=2&ms=0"] {
        let mut client = server.connect();
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
        client.request("GET", "/never");
        assert_eq!(
            client.response().field("Connection"),
            Some("close"),
            "{target}"
        );
        assert_eq!(client.ending(), Ending::Closed, "{target}");
    }
    server.stop();
}

#[test]
fn a_client_that_ends_its_side_gets_its_answers() {
    let site = tour();
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("GET", "/sleep?ms=50");
    client.request("GET", "/style.css");
    client.finish_sending();
    assert_eq!(client.response().text(), "slept for 50 ms\n");
    assert_eq!(client.response().text(), "h1 { color: teal }");
    assert_eq!(client.ending(), Ending::Closed);
    server.stop();
}

#[test]
fn clients_that_leave_are_forgotten() {
    let site = tour();
    let server = Server::new(&site);
    server.get("/hello");
    let before = server.standing_descriptors();
    for target in ["/", "/hello", "/sleep?ms=20", "/stream?n=5&ms=20", "/echo"] {
        for _ in 0..20 {
            let mut client = server.connect();
            client.request("GET", target);
        }
        // Disconnects in the middle of a head, and of a body.
        server.connect().send("GET / HT");
        server
            .connect()
            .send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
    }
    crate::support::eventually("their descriptors are closed", || {
        server.descriptors() <= before
    });
    assert_eq!(server.get("/hello").status(), 200);
    let ended = server.stop();
    assert!(
        !ended.everything().contains("panicked"),
        "{}",
        ended.everything()
    );
}
