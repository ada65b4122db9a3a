//! Pages: which files are served, and that no other file ever is.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::client::Ending;
use crate::support::response::{Framing, Response};
use crate::support::server::Server;
use crate::support::site::Site;

const SECRET: &str = "nobody may read this";

/// Request targets that try to leave `html/` or to access hidden files in it.
const ATTEMPTS: [&[u8]; 55] = [
    b"/../secret.txt",
    b"/../../../../../../../../etc/passwd",
    b"/docs/../../secret.txt",
    b"/docs/.././../secret.txt",
    b"/./../secret.txt",
    b"/index.html/../../secret.txt",
    b"/%2e%2e/secret.txt",
    b"/%2E%2E/secret.txt",
    b"/.%2e/secret.txt",
    b"/%2e./secret.txt",
    b"/docs/%2e%2e/%2e%2e/secret.txt",
    b"/..%2fsecret.txt",
    b"/%2e%2e%2fsecret.txt",
    b"/docs/..%2f..%2fsecret.txt",
    b"/docs%2f..%2f..%2fsecret.txt",
    b"/%252e%252e/secret.txt",
    b"/%252e%252e%252fsecret.txt",
    b"/%c0%ae%c0%ae/secret.txt",
    b"/%c0%ae%c0%ae%c0%afsecret.txt",
    b"/%uff0e%uff0e/secret.txt",
    b"/..\\secret.txt",
    b"/..%5csecret.txt",
    b"/%2e%2e%5csecret.txt",
    b"/..;/secret.txt",
    b"/....//secret.txt",
    b"/...//secret.txt",
    b"/.../secret.txt",
    b"//../secret.txt",
    b"///secret.txt",
    b"//etc/passwd",
    b"/etc/passwd",
    b"/%2fetc%2fpasswd",
    b"/%2Fetc/passwd",
    b"/proc/self/environ",
    b"/secret.txt",
    b"/secret.txt%00",
    b"/secret.txt%00.html",
    b"/..%00/secret.txt",
    b"/../secret.txt%00.html",
    b"/index.html%00",
    b"/../secret.txt?/index.html",
    b"../secret.txt",
    b"secret.txt",
    b"http://test/../secret.txt",
    b"http://test/%2e%2e/secret.txt",
    b"file:///etc/passwd",
    // Symbolic links that lead out of the folder.
    b"/out.txt",
    b"/parent/secret.txt",
    b"/parent",
    b"/etc-link/passwd",
    b"/proc-link/self/environ",
    // Hidden files and editors' backup files.
    b"/.env",
    b"/.git/config",
    b"/docs/.hidden",
    b"/index.html~",
];

fn site_with_secrets() -> Site {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_page("docs/index.html", "the docs")
        .with_page(".env", SECRET)
        .with_page(".git/config", SECRET)
        .with_page("docs/.hidden", SECRET)
        .with_page("index.html~", SECRET);
    fs::write(site.path().join("secret.txt"), SECRET).expect("written");
    for (target, name) in [
        ("../secret.txt", "out.txt"),
        ("..", "parent"),
        ("/etc", "etc-link"),
        ("/proc", "proc-link"),
    ] {
        symlink(target, site.html().join(name)).expect("a link");
    }
    site
}

#[test]
fn nothing_outside_the_folder_is_served() {
    let site = site_with_secrets();
    let server = Server::new(&site);
    for attempt in ATTEMPTS {
        for method in ["GET", "HEAD", "POST"] {
            let shown = format!("{method} {}", attempt.escape_ascii());
            let mut client = server.connect();
            client.send(method);
            client.send(b" ");
            client.send(attempt);
            client.send(b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            let response = client.response_to(method);
            let status = response.status();
            assert!(matches!(status, 400 | 403 | 404), "{shown}: {status}");
            let body = String::from_utf8_lossy(&response.body);
            assert!(!body.contains(SECRET), "{shown}: {body}");
            assert!(!body.contains("root:"), "{shown}: {body}");
        }
    }
    assert_eq!(server.get("/").text(), "the page");
    server.stop();
}

#[test]
fn what_no_name_of_a_page_has_is_for_handlers_only() {
    let site = Site::new()
        .with_page("100%.html", "the page")
        .with_cases(["variables", "cgi-raw"]);
    let server = Server::new(&site);
    assert_eq!(server.get("/100%25.html").text(), "the page");
    for target in [
        "/100%.html",
        "/%",
        "/%zz",
        "/%2",
        "/nothing%/../100%25.html",
        "/%00",
        "/100%25.html%00",
        "/100%25.html%00.png",
        "/nothing%00/../100%25.html",
        // A NUL would end the variable in a program's environment.
        "/cgi-raw/a%00b",
        "/cgi-raw/a%00/../b",
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let answer = server.ask(method, target);
            assert_eq!(answer.status(), 400, "{method} {target}");
        }
    }
    for (target, path_info) in [
        ("/variables/100%/%zz", "/100%/%zz"),
        ("/variables/a%00b/%00", r"/a\x00b/\x00"),
    ] {
        let answer = server.get(target);
        let text = answer.text();
        let line = format!("\nPATH_INFO={path_info}\n");
        assert!(answer.status() == 200 && text.contains(&line), "{text}");
    }
    server.stop();
}

#[test]
fn a_raw_nul_or_another_control_character_is_refused() {
    let site = site_with_secrets();
    let server = Server::new(&site);
    for byte in [b'\0', b'\x01', b'\x7f', b'\t', b'\r', b'\x80'] {
        let mut client = server.connect();
        client.send(b"GET /index.html");
        client.send([byte]);
        client.send(b"x HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.response().status(), 400, "{byte:#x}");
        assert_eq!(client.ending(), Ending::Closed, "{byte:#x}");
    }
    server.stop();
}

#[test]
fn dot_segments_that_stay_inside_are_resolved() {
    let site = site_with_secrets();
    let server = Server::new(&site);
    for (target, page) in [
        ("/docs/../index.html", "the page"),
        ("/docs/%2e%2e/", "the page"),
        ("/./docs/./", "the docs"),
        ("/docs//index.html", "the docs"),
    ] {
        let response = server.get(target);
        assert_eq!(
            (response.status(), response.text()),
            (200, page),
            "{target}"
        );
    }
    server.stop();
}

#[test]
fn what_is_no_regular_file_is_not_served_and_blocks_nobody() {
    let site = Site::new().with_page("index.html", "the page");
    let special = |name: &str, kind, device| {
        mknodat(CWD, site.html().join(name), kind, Mode::from(0o666), device)
    };
    special("fifo", FileType::Fifo, 0).expect("a FIFO");
    let socket = std::os::unix::net::UnixListener::bind(site.html().join("socket"));
    socket.expect("a socket");
    // The device of /dev/zero, which is endless. Creating one needs a privilege.
    let zero = special("zero", FileType::CharacterDevice, rustix::fs::makedev(1, 5));
    let names = ["/fifo", "/socket", "/zero"];
    let server = Server::with(&site, &["--threads", "1"]);
    for name in &names[..if zero.is_ok() { 3 } else { 2 }] {
        for method in ["GET", "HEAD"] {
            let status = server.ask(method, name).status();
            assert!(matches!(status, 403 | 404), "{method} {name}: {status}");
        }
    }
    assert_eq!(server.get("/").text(), "the page");
    server.stop();
}

#[test]
fn pages_have_their_type_and_length() {
    let site = Site::new()
        .with_page("index.html", "<h1>front</h1>")
        .with_page("style.css", "p {}")
        .with_page("app.js", "1")
        .with_page("data.json", "{}")
        .with_page("logo.svg", "<svg/>")
        .with_page("empty.txt", "");
    let server = Server::new(&site);
    let mut client = server.connect();
    for (target, content_type, length) in [
        ("/", "text/html; charset=utf-8", 14),
        ("/index.html", "text/html; charset=utf-8", 14),
        ("/style.css", "text/css; charset=utf-8", 4),
        ("/app.js", "text/javascript; charset=utf-8", 1),
        ("/data.json", "application/json; charset=utf-8", 2),
        ("/logo.svg", "image/svg+xml; charset=utf-8", 6),
        ("/empty.txt", "text/plain; charset=utf-8", 0),
    ] {
        let page = client.get(target);
        assert_eq!(page.status(), 200, "{target}");
        assert_eq!(page.field("Content-Type"), Some(content_type), "{target}");
        assert_eq!(page.framing, Framing::Length(length), "{target}");

        client.request("HEAD", target);
        let head = client.response_to("HEAD");
        assert_eq!(head.status(), 200, "{target}");
        assert_eq!(without_date(&head), without_date(&page), "{target}");
    }
    server.stop();
}

fn without_date(response: &Response) -> Vec<(String, String)> {
    let names = response.head.names().into_iter();
    names
        .filter(|name| *name != "Date")
        .map(|name| (name.to_owned(), response.head.all(name).join("|")))
        .collect()
}

#[test]
fn a_missing_page_is_the_sites_404_page() {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_page("404.html", "nothing here");
    let server = Server::new(&site);
    let mut client = server.connect();
    let missing = client.get("/missing");
    assert_eq!((missing.status(), missing.text()), (404, "nothing here"));
    assert_eq!(
        missing.field("Content-Type"),
        Some("text/html; charset=utf-8")
    );
    client.request("HEAD", "/missing");
    assert_eq!(client.response_to("HEAD").status(), 404);
    assert_eq!(client.get("/").text(), "the page", "the connection goes on");
    server.stop();
}

#[test]
fn a_folder_without_its_slash_is_redirected() {
    let site = Site::new().with_page("docs/index.html", "the docs");
    let server = Server::new(&site);
    let response = server.get("/docs?page=2");
    assert_eq!(response.status(), 301);
    assert_eq!(response.field("Location"), Some("/docs/?page=2"));
    assert_eq!(server.get("/docs/").text(), "the docs");
    // A browser would interpret the part after two slashes as a host.
    let location = server.get("//docs");
    assert_eq!(location.field("Location"), Some("/docs/"));
    server.stop();
}

#[test]
fn a_big_page_comes_whole_and_the_connection_goes_on() {
    // Larger than any socket buffer, and not a multiple of any buffer size.
    let big: Vec<u8> = (0..12_345_677_u32).map(|n| (n % 251) as u8).collect();
    let site = Site::new()
        .with_page("big.bin", &big)
        .with_page("index.html", "the page");
    let server = Server::new(&site);
    let mut client = server.connect();
    for _ in 0..2 {
        let response = client.get("/big.bin");
        assert_eq!(response.framing, Framing::Length(big.len()));
        assert!(response.body == big, "the body differs");
    }
    assert_eq!(client.get("/").text(), "the page");
    client.request("HEAD", "/big.bin");
    assert_eq!(client.response_to("HEAD").status(), 200);
    assert_eq!(client.get("/").text(), "the page");
    let ended = server.stop();
    assert!(!ended.stdout.iter().any(|line| line.contains("broke")));
}

#[test]
fn a_part_of_a_big_page() {
    let big: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    let site = Site::new().with_page("big.bin", &big);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send("GET /big.bin HTTP/1.1\r\nHost: test\r\nRange: bytes=1000-1500999\r\n\r\n");
    let part = client.response();
    assert_eq!(part.status(), 206);
    assert!(part.body == big[1000..1_501_000], "the part differs");
    assert_eq!(
        part.field("Content-Range"),
        Some("bytes 1000-1500999/2000000")
    );
    client.send("GET /big.bin HTTP/1.1\r\nHost: test\r\nRange: bytes=-10\r\n\r\n");
    assert_eq!(client.response().body, big[1_999_990..]);
    client.send("GET /big.bin HTTP/1.1\r\nHost: test\r\nRange: bytes=2000000-\r\n\r\n");
    assert_eq!(client.response().status(), 416);
    server.stop();
}

#[test]
fn a_page_that_shrinks_while_it_is_sent_is_cut() {
    let site = Site::new().with_page("big.bin", vec![b'x'; 64 * 1024 * 1024]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("GET", "/big.bin");
    assert_eq!(client.head().status, 200);
    // The sockets have buffered far less than this.
    let file = fs::File::options()
        .write(true)
        .open(site.html().join("big.bin"));
    file.expect("the file")
        .set_len(40 * 1024 * 1024)
        .expect("cut");
    let (body, ending) = client.rest();
    assert!(body.len() < 64 * 1024 * 1024);
    assert_eq!(ending, Ending::Reset, "an orderly end is for whole answers");
    assert_eq!(server.get("/missing").status(), 404);
    let ended = server.stop();
    assert_eq!(
        ended.stderr_with(&["WARN", "truncated"]),
        1,
        "{}",
        ended.everything()
    );
}

#[test]
fn a_page_that_is_written_over_while_it_is_sent_is_cut_and_one_that_is_replaced_is_not() {
    let old = vec![b'x'; 32 * 1024 * 1024];
    let site = Site::new()
        .with_page("over.bin", &old)
        .with_page("replaced.bin", &old);
    let server = Server::new(&site);
    let begun = |target: &str| {
        let mut client = server.connect();
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(client.head().status, 200);
        client
    };
    let (mut over, mut replaced) = (begun("/over.bin"), begun("/replaced.bin"));

    // The length stays the same, so only the modification time shows the change.
    let file = fs::File::options()
        .write(true)
        .open(site.html().join("over.bin"));
    file.and_then(|file| file.write_all_at(&vec![b'y'; old.len()], 0))
        .expect("written over");
    let (body, ending) = over.rest();
    assert!(body.len() < old.len());
    assert_eq!(ending, Ending::Reset);

    fs::write(site.path().join("new.bin"), vec![b'y'; old.len()]).expect("written");
    fs::rename(
        site.path().join("new.bin"),
        site.html().join("replaced.bin"),
    )
    .expect("replaced");
    let (body, ending) = replaced.rest();
    assert!(body == old, "it is the old one to its end");
    assert_eq!(ending, Ending::Closed);
    server.stop();
}

#[test]
fn a_page_that_has_not_changed_is_not_sent_again() {
    let site = Site::new().with_page("index.html", "the page");
    let server = Server::new(&site);
    let mut client = server.connect();
    let tag = client.get("/").field("ETag").expect("a tag").to_owned();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: test\r\nIf-None-Match: {tag}\r\n\r\n"
    ));
    let again = client.response();
    assert_eq!((again.status(), again.text()), (304, ""));
    assert_eq!(again.field("ETag"), Some(&*tag));
    assert_eq!(client.get("/").text(), "the page", "nothing is left over");
    server.stop();
}

#[test]
fn only_some_methods_make_sense_for_a_page() {
    let site = Site::new().with_page("index.html", "the page");
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("OPTIONS", "/index.html");
    let options = client.response();
    assert_eq!(options.status(), 204);
    assert_eq!(options.field("Allow"), Some("GET, HEAD, OPTIONS"));
    for method in ["PUT", "DELETE", "PATCH"] {
        client.request(method, "/index.html");
        let refused = client.response();
        assert_eq!(refused.status(), 405, "{method}");
        assert_eq!(
            refused.field("Allow"),
            Some("GET, HEAD, OPTIONS"),
            "{method}"
        );
    }
    client.request("BREW", "/index.html");
    assert_eq!(
        client.response().status(),
        501,
        "a method that nobody knows"
    );
    assert_eq!(client.post("/index.html", b"a body").status(), 405);
    assert_eq!(client.get("/").text(), "the page", "the connection goes on");
    assert_eq!(client.post("/missing", b"a body").status(), 404);
    server.stop();
}

#[test]
fn a_handlers_name_goes_before_a_page_and_a_page_before_a_pattern() {
    let site = Site::new()
        .with_page("hello.html", "a page beside")
        .with_page("hello", "the hidden page")
        .with_page("users/me", "the page of me")
        .with_page("deep/index.html", "the deep page")
        .with_page_handler("hello", "the handler")
        .with_page_handler("users/[id]", "some user")
        .with_page_handler("[...rest]", "anything");
    let server = Server::new(&site);
    for (target, text) in [
        ("/hello", "the handler"),
        ("/hello/below", "the handler"),
        ("/hello.html", "a page beside"),
        ("/users/me", "the page of me"),
        ("/users/7", "some user"),
        ("/deep/", "the deep page"),
        ("/deep/er", "anything"),
    ] {
        assert_eq!(server.get(target).text(), text, "{target}");
    }
    // If a page doesn't support the method, the pattern may.
    assert_eq!(server.ask("POST", "/users/me").text(), "some user");
    server.access_log().expect(&["problem: ", "html/hello"]);
    server.stop();
}
