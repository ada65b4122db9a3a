//! Tests of the pages as a whole, on real folders.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;

mod choices;
mod forms;
mod kept;
mod parts;

const PAGE: &str = "<h1>page</h1>";
const SECRET: &str = "secret";

/// A folder with a site in `html`, and secrets around and inside it.
struct Site {
    dir: tempfile::TempDir,
    pages: Pages,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().expect("temporary folder");
        let html = dir.path().join("html");
        fs::create_dir_all(html.join("docs/empty")).expect("folders");
        fs::create_dir(html.join(".git")).expect("folder");
        for (name, text) in [
            ("html/index.html", PAGE),
            ("html/docs/index.html", PAGE),
            ("html/style.css", "p {}"),
            ("html/empty.txt", ""),
            ("html/a b?.txt", PAGE),
            ("html/.env", SECRET),
            ("html/.git/config", SECRET),
            ("html/index.html~", SECRET),
            ("secret", SECRET),
            ("html2", SECRET),
        ] {
            fs::write(dir.path().join(name), text).expect("file");
        }
        let pages = Pages::open(&html, PageOptions::default()).expect("pages");
        Site { dir, pages }
    }

    fn with(options: PageOptions) -> Site {
        let site = Site::new();
        site.pages.set_options(options).expect("options");
        site
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.dir.path().join("html").join(name), bytes).expect("file");
    }

    fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Option<Answer> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = RequestPath::parse(path.as_bytes()).ok()?;
        let fields = fields.iter().map(|&(name, value)| (name, value.as_bytes()));
        let request = Request {
            method,
            query: query.as_bytes(),
            fields,
        };
        self.pages.view().respond(&request, &path)
    }

    fn get(&self, path: &str) -> Option<Answer> {
        self.ask("GET", path, &[])
    }
}

fn field(answer: &Answer, name: &str) -> Option<String> {
    let mut values = answer.fields.iter().filter(|(known, _)| known == name);
    let value = values
        .next()
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    assert!(values.next().is_none(), "{name} twice");
    value
}

fn body(answer: &Answer) -> Vec<u8> {
    let read = |part: &FilePart| {
        let mut bytes = vec![0; usize::try_from(part.length).expect("short")];
        part.file
            .file()
            .read_exact_at(&mut bytes, part.start)
            .expect("readable");
        bytes
    };
    match &answer.body {
        Content::Empty => Vec::new(),
        Content::Bytes(bytes) => bytes.to_vec(),
        Content::File(part) => read(part),
        Content::Pieces(pieces) => pieces
            .iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.to_vec(),
                Piece::File(part) => read(part),
            })
            .collect(),
    }
}

#[test]
fn a_file_or_an_index_is_a_page() {
    let site = Site::new();
    for path in [
        "/",
        "/index.html",
        "//",
        "/docs/",
        "/docs/../index.html",
        "/a%20b%3F.txt",
    ] {
        let answer = site.get(path).expect(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(body(&answer), PAGE.as_bytes(), "{path}");
    }
    let answer = site.get("/style.css").expect("style");
    assert_eq!(
        field(&answer, "Content-Type").as_deref(),
        Some("text/css; charset=utf-8")
    );
    assert_eq!(
        field(&answer, "X-Content-Type-Options").as_deref(),
        Some("nosniff")
    );
    assert_eq!(field(&answer, "Cache-Control").as_deref(), Some("no-cache"));
    assert_eq!(field(&answer, "Accept-Ranges").as_deref(), Some("bytes"));
    assert!(field(&answer, "Last-Modified").is_some_and(|date| date.ends_with(" GMT")));
    assert!(field(&answer, "ETag").is_some_and(|tag| tag.starts_with('"') && tag.ends_with('"')));
}

#[test]
fn a_missing_file_is_no_page() {
    let site = Site::new();
    let long = format!("/{}", "a".repeat(300));
    let deep = "/a".repeat(3000);
    for path in [
        "/nothing",
        "/docs/nothing",
        "/style.css/",
        "/style.css/x",
        "/docs/empty",
        "/docs/empty/",
        "/INDEX.HTML",
        &long,
        &deep,
    ] {
        assert!(site.get(path).is_none(), "{path}");
        assert!(site.ask("POST", path, &[]).is_none(), "POST {path}");
    }
}

/// Every known form of path traversal; none may expose the secret, in the root or next to it.
#[test]
fn nothing_but_the_site_is_served() {
    let site = Site::new();
    let html = site.dir.path().join("html");
    for (target, link) in [
        ("../secret", "link"),
        ("..", "up"),
        ("../html2", "sibling"),
        ("/etc/passwd", "passwd"),
        ("/", "slash"),
        ("self", "self"),
        ("/proc/self/root/etc/passwd", "magic"),
    ] {
        symlink(target, html.join(link)).expect("link");
    }
    symlink(site.dir.path().join("secret"), html.join("absolute")).expect("link");
    let outside = format!("{}/secret", site.dir.path().display());
    let shapes = r"
        /../secret /../../secret /docs/../../secret /./../secret /..//secret /%2e%2e/secret
        /%2E%2E/secret /.%2e/secret /%2e./secret /docs/%2e%2e/%2e%2e/secret /..%2fsecret
        /..%2Fsecret /%2e%2e%2fsecret /docs/..%2f..%2fsecret /docs%2f..%2f..%2fsecret
        /%252e%252e/secret /..%252fsecret /%c0%ae%c0%ae/secret /..%c0%afsecret
        /%uff0e%uff0e/secret /..\secret /..%5csecret /..%5c..%5csecret \..\secret //etc/passwd
        ///etc/passwd /%2fetc/passwd /%2Fetc%2Fpasswd //..//secret /secret%00.html /%00
        /index.html%00../secret /..%00/secret /..;/secret /...//secret ../secret secret /../html2
        /%2e%2e/html2 /link /up/secret /up/ /sibling /passwd /slash/etc/passwd /self /magic
        /absolute /.env /%2eenv /%2Eenv /./.env /.git/config /.git/ /.git /docs/../.env
        /index.html~ /index.html%7e /file:///etc/passwd /C:/secret /proc/self/environ /dev/null
    ";
    for shape in shapes.split_whitespace().chain([outside.as_str()]) {
        for method in ["GET", "HEAD", "OPTIONS", "POST"] {
            assert!(site.ask(method, shape, &[]).is_none(), "{method} {shape}");
        }
    }
}

#[test]
fn links_that_stay_inside_are_followed() {
    let site = Site::new();
    let html = site.dir.path().join("html");
    symlink("index.html", html.join("home")).expect("link");
    symlink("../style.css", html.join("docs/style.css")).expect("link");
    symlink("docs", html.join("manual")).expect("link");
    symlink(html.join("docs"), html.join("absolute")).expect("link");
    symlink(html.join("style.css"), html.join("absolute.css")).expect("link");
    for path in [
        "/home",
        "/docs/style.css",
        "/manual/",
        "/absolute/",
        "/absolute/style.css",
        "/absolute.css",
    ] {
        assert_eq!(site.get(path).expect(path).status, 200, "{path}");
    }
    assert_eq!(site.get("/manual").expect("folder").status, 301);
}

#[test]
fn only_regular_files_are_served() {
    let site = Site::new();
    let html = site.dir.path().join("html");
    fs::create_dir(html.join("odd")).expect("folder");
    for fifo in ["fifo", "odd/index.html"] {
        let fifo = html.join(fifo);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).expect("fifo");
    }
    let _socket = UnixListener::bind(html.join("socket")).expect("socket");
    for path in ["/fifo", "/socket", "/odd/", "/odd"] {
        assert!(site.get(path).is_none(), "{path}");
    }
}

#[test]
fn a_folder_redirects_into_itself() {
    let site = Site::new();
    fs::create_dir_all(site.dir.path().join("html/a b/\\evil.example/%")).expect("folder");
    site.write("a b/index.html", PAGE);
    site.write("a b/\\evil.example/index.html", PAGE);
    site.write("a b/\\evil.example/%/index.html", PAGE);
    let table = [
        ("/docs", "/docs/"),
        ("//docs", "/docs/"),
        ("///docs", "/docs/"),
        ("//evil.example/../docs", "/docs/"),
        ("/docs?a=1&b=%2F", "/docs/?a=1&b=%2F"),
        ("/docs?", "/docs/"),
        ("/docs?\u{e9}", "/docs/"),
        ("/docs?a b", "/docs/"),
        ("/docs?\r\nX: y", "/docs/"),
        ("/a%20b", "/a%20b/"),
        ("/a%20b//%5cevil.example", "/a%20b/%5Cevil.example/"),
        ("/a%20b/%5cevil.example/%25", "/a%20b/%5Cevil.example/%25/"),
    ];
    for (path, location) in table {
        for method in ["GET", "HEAD"] {
            let answer = site.ask(method, path, &[]).expect(path);
            assert_eq!(answer.status, 301, "{path}");
            assert_eq!(
                field(&answer, "Location").as_deref(),
                Some(location),
                "{path}"
            );
        }
        assert_eq!(
            site.ask("POST", path, &[]).expect(path).status,
            405,
            "{path}"
        );
    }
}

#[test]
fn a_page_has_get_head_and_options() {
    let site = Site::new();
    let head = site.ask("HEAD", "/style.css", &[]).expect("HEAD");
    let get = site.get("/style.css").expect("GET");
    assert_eq!((head.status, &head.fields), (200, &get.fields));
    assert!(
        matches!(&head.body, Content::File(part) if part.length == 4),
        "announced, not read"
    );

    let options = site.ask("OPTIONS", "/style.css", &[]).expect("OPTIONS");
    assert_eq!(options.status, 204);
    assert_eq!(
        field(&options, "Allow").as_deref(),
        Some("GET, HEAD, OPTIONS")
    );

    for method in ["get", "BREW", "M-SEARCH"] {
        let answer = site.ask(method, "/style.css", &[]).expect(method);
        assert_eq!(answer.status, 501, "{method}");
        assert!(!body(&answer).is_empty(), "{method}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"] {
        let answer = site.ask(method, "/style.css", &[]).expect(method);
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(
            field(&answer, "Allow").as_deref(),
            Some("GET, HEAD, OPTIONS"),
            "{method}"
        );
        assert!(!body(&answer).is_empty(), "{method}");
    }
}

#[test]
fn a_date_before_1990_is_not_a_validator() {
    let site = Site::new();
    let file = File::open(site.dir.path().join("html/style.css")).expect("file");
    // As in a reproducible container image.
    file.set_modified(std::time::UNIX_EPOCH).expect("a time");
    let answer = site.get("/style.css").expect("page");
    assert_eq!(
        (answer.status, field(&answer, "Last-Modified")),
        (200, None)
    );
    let date = "Thu, 01 Jan 1970 00:00:00 GMT";
    for since in [date, "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let answer = site.ask("GET", "/style.css", &[("If-Modified-Since", since)]);
        assert_eq!(answer.expect("page").status, 200, "{since}");
    }
    let parts = [("Range", "bytes=0-0"), ("If-Range", date)];
    let answer = site.ask("GET", "/style.css", &parts).expect("page");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_page_that_the_client_has_is_not_sent_again() {
    let site = Site::new();
    let first = site.get("/").expect("page");
    let etag = field(&first, "ETag").expect("ETag");
    let date = field(&first, "Last-Modified").expect("Last-Modified");
    for condition in [("If-None-Match", &etag), ("If-Modified-Since", &date)] {
        let again = site
            .ask("GET", "/", &[(condition.0, condition.1)])
            .expect("page");
        assert_eq!(again.status, 304);
        assert!(matches!(again.body, Content::Empty));
        assert_eq!(field(&again, "ETag"), Some(etag.clone()));
        assert_eq!(field(&again, "Last-Modified"), Some(date.clone()));
        assert_eq!(field(&again, "Cache-Control").as_deref(), Some("no-cache"));
        assert_eq!(field(&again, "Content-Type"), None);
    }
    let failed = site
        .ask("GET", "/", &[("If-Match", "\"x\"")])
        .expect("page");
    assert_eq!(failed.status, 412);
    assert!(matches!(failed.body, Content::Empty));
}

/// The length and, by `set_modified`, the date are the same; the tag differs nonetheless.
#[test]
fn each_change_has_its_own_tag() {
    let site = Site::new();
    let path = site.dir.path().join("html/index.html");
    let date = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let mut tags = Vec::new();
    for text in ["one", "two"] {
        fs::write(&path, text).expect("in place");
        File::open(&path)
            .and_then(|file| file.set_modified(date))
            .expect("set back");
        tags.push(field(&site.get("/").expect("page"), "ETag"));
    }
    fs::copy(&path, path.with_extension("new")).expect("copy");
    fs::rename(path.with_extension("new"), &path).expect("by rename");
    tags.push(field(&site.get("/").expect("page"), "ETag"));
    assert!(
        tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2],
        "{tags:?}"
    );
}

#[test]
fn short_pages_are_read_and_long_ones_passed_as_files() {
    let site = Site::new();
    let limit = usize::try_from(INLINE_MAX_BYTES).expect("small");
    for (length, inline) in [(1, true), (limit, true), (limit + 1, false)] {
        site.write("page", vec![b'x'; length]);
        let answer = site.get("/page").expect("page");
        assert_eq!(matches!(answer.body, Content::Bytes(_)), inline, "{length}");
        assert_eq!(body(&answer).len(), length);
    }
    assert!(matches!(
        site.get("/empty.txt").expect("page").body,
        Content::Empty
    ));
}

/// A file that is written to while it is served: the response is either an error or complete, and
/// never declares a length that the data does not have.
#[test]
fn a_page_that_becomes_shorter_is_read_again() {
    let site = Site::new();
    site.write("page", "0123456789");
    let path = RequestPath::parse(b"/page").expect("path");
    let view = site.pages.view();
    let Ok(Some(Found::Page(page))) = view.finder().find(&path) else {
        panic!("there is a page");
    };
    File::options()
        .write(true)
        .open(site.dir.path().join("html/page"))
        .and_then(|file| file.set_len(4))
        .expect("truncated");
    let request = Request {
        method: "GET",
        query: b"",
        fields: std::iter::empty(),
    };
    let told = view.deliver(page, &request);
    assert_eq!(
        told.map_err(|why| why.kind()).expect_err("short"),
        io::ErrorKind::UnexpectedEof
    );
    assert_eq!(body(&site.get("/page").expect("page")), b"0123");
}

#[test]
fn an_error_page_is_the_sites_own_or_built_in() {
    let site = Site::new();
    let answer = site.pages.error(404, "Not Found", "nothing at /<x>");
    assert_eq!(answer.status, 404);
    let text = String::from_utf8(body(&answer)).expect("UTF-8");
    assert!(text.contains("Not Found") && text.contains("nothing at /&lt;x&gt;"));

    site.write("404.html", "<p>our own</p>");
    let answer = site.pages.error(404, "Not Found", "nothing at /<x>");
    assert_eq!(
        (answer.status, body(&answer)),
        (404, b"<p>our own</p>".to_vec())
    );
    assert_eq!(
        field(&answer, "Content-Type").as_deref(),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(field(&answer, "ETag"), None);
    assert_eq!(
        site.pages.error(500, "Internal Server Error", "").status,
        500
    );

    fs::remove_file(site.dir.path().join("html/404.html")).expect("removed");
    symlink("../secret", site.dir.path().join("html/404.html")).expect("link");
    let answer = site.pages.error(404, "Not Found", "");
    assert!(!body(&answer).starts_with(SECRET.as_bytes()));
}

#[test]
fn a_replaced_or_late_folder_is_served_after_reopen() {
    let site = Site::new();
    let html = site.dir.path().join("html");
    fs::rename(&html, site.dir.path().join("before")).expect("away");
    fs::create_dir(&html).expect("new");
    site.write("index.html", "new");
    assert_eq!(
        body(&site.get("/").expect("the folder that was opened")),
        PAGE.as_bytes()
    );
    site.pages.reopen();
    assert_eq!(body(&site.get("/").expect("the new folder")), b"new");

    assert!(Pages::open(&html.join("index.html"), PageOptions::default()).is_err());
    let later = site.dir.path().join("later");
    let pages = Pages::open(&later, PageOptions::default()).expect("a folder that may come");
    fs::rename(&html, &later).expect("rename");
    pages.reopen();
    assert!(pages.view().served.root.open_file(b"index.html").is_ok());
    assert!(
        Pages::open(&site.dir.path().join("nowhere"), PageOptions::default())
            .expect("pages")
            .view()
            .served
            .root
            .open_file(b"x")
            .is_err()
    );
}

/// Readers on several threads while the page is replaced by rename: each sees one complete version.
#[test]
fn concurrent_readers_see_complete_versions() {
    let site = Site::new();
    let versions = ["a".repeat(20_000), "b".repeat(30_000)];
    site.write("page", &versions[0]);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let bytes = body(&site.get("/page").expect("always there"));
                        assert!(versions.iter().any(|version| version.as_bytes() == bytes));
                        site.pages.reopen();
                    }
                })
            })
            .collect();
        for turn in 0..200 {
            site.write("next", &versions[turn % 2]);
            let html = site.dir.path().join("html");
            fs::rename(html.join("next"), html.join("page")).expect("renamed");
        }
        for reader in readers {
            reader.join().expect("reader");
        }
    });
}
