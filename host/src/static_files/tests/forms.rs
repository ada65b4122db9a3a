//! The forms of pages: compressed beforehand, compressed on request, and uncompressed.

use std::time::Duration;

use super::*;
use crate::content::coding::{Coding, decompress};

/// Text that is long and repetitive enough to be compressed.
fn text() -> Vec<u8> {
    b"a line of text, again and again\n".repeat(200)
}

fn ask(site: &Site, path: &str, encodings: &str) -> Answer {
    site.ask("GET", path, &[("Accept-Encoding", encodings)])
        .expect(path)
}

fn coding(answer: &Answer) -> Option<String> {
    field(answer, "Content-Encoding")
}

fn vary(answer: &Answer) -> Option<String> {
    field(answer, "Vary")
}

/// Sets a file's modification time to a number of seconds before now.
fn age(site: &Site, name: &str, seconds: u64) {
    let path = site.dir.path().join("html").join(name);
    let file = File::options().write(true).open(path).expect("file");
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
        .expect("time");
}

#[test]
fn a_precompressed_file_is_sent_in_the_best_coding() {
    let site = Site::new();
    site.write("app.js", "plain");
    for (ending, content) in [("br", "brotli"), ("zst", "zstandard"), ("gz", "gzipped")] {
        site.write(&format!("app.js.{ending}"), content);
    }
    let table = [
        ("gzip, deflate, br, zstd", Some("br"), "brotli"),
        ("gzip, zstd", Some("zstd"), "zstandard"),
        ("gzip", Some("gzip"), "gzipped"),
        ("gzip, br;q=0.5", Some("gzip"), "gzipped"),
        ("*;q=0.1", Some("br"), "brotli"),
        ("identity, br;q=0.5", None, "plain"),
        ("deflate", None, "plain"),
        ("", None, "plain"),
        // No available coding is acceptable: the uncompressed page is better than a 406.
        ("identity;q=0, deflate", None, "plain"),
        ("*;q=0", None, "plain"),
    ];
    let mut tags = std::collections::HashMap::new();
    for (encodings, name, content) in table {
        let answer = ask(&site, "/app.js", encodings);
        assert_eq!(answer.status, 200);
        assert_eq!(coding(&answer).as_deref(), name, "{encodings}");
        assert_eq!(body(&answer), content.as_bytes(), "{encodings}");
        assert_eq!(
            field(&answer, "Content-Type").as_deref(),
            Some("text/javascript; charset=utf-8")
        );
        assert_eq!(vary(&answer).as_deref(), Some("Accept-Encoding"));
        let tag = field(&answer, "ETag").expect("a tag");
        assert_eq!(tags.entry(content).or_insert(tag.clone()), &tag);
    }
    let different: std::collections::HashSet<_> = tags.values().collect();
    assert_eq!(different.len(), 4, "a tag for each form");

    for (content, tag) in &tags {
        let fields = [("Accept-Encoding", "gzip, br"), ("If-None-Match", tag)];
        let answer = site.ask("GET", "/app.js", &fields).expect("page");
        assert_eq!(answer.status == 304, *content == "brotli", "{content}");
        assert_eq!(vary(&answer).as_deref(), Some("Accept-Encoding"));
        assert_eq!(coding(&answer).is_some(), answer.status == 200);
    }
    let fields = [("Accept-Encoding", "br"), ("Range", "bytes=1-2")];
    let answer = site.ask("GET", "/app.js", &fields).expect("page");
    assert_eq!((answer.status, body(&answer)), (206, b"ro".to_vec()));
    assert_eq!(coding(&answer).as_deref(), Some("br"));
}

#[test]
fn a_stale_precompressed_file_is_not_used() {
    let site = Site::new();
    site.write("app.js", "plain");
    site.write("app.js.gz", "gzipped");
    for (page, beside, used) in [(60, 120, false), (120, 60, true), (60, 60, true)] {
        age(&site, "app.js", page);
        age(&site, "app.js.gz", beside);
        let answer = ask(&site, "/app.js", "gzip");
        assert_eq!(
            coding(&answer).is_some(),
            used || page == beside,
            "{page} {beside}"
        );
    }
    site.write("app.js", "plain again");
    assert_eq!(body(&ask(&site, "/app.js", "gzip")), b"plain again");
}

#[test]
fn only_a_regular_file_next_to_the_page_is_a_form() {
    let site = Site::new();
    site.write("app.js", "plain");
    let html = site.dir.path().join("html");
    fs::create_dir(html.join("app.js.br")).expect("folder");
    symlink("../secret", html.join("app.js.gz")).expect("link");
    let answer = ask(&site, "/app.js", "br, gzip");
    assert_eq!((coding(&answer), body(&answer)), (None, b"plain".to_vec()));
    // A compressed file without its page is not a page.
    site.write("gone.js.gz", "gzipped");
    assert!(site.get("/gone.js").is_none());
    // A picture has no other forms.
    site.write("a.png", "picture");
    site.write("a.png.gz", "gzipped");
    let answer = ask(&site, "/a.png", "gzip");
    assert_eq!((coding(&answer), vary(&answer)), (None, None));
}

#[test]
fn a_page_without_a_precompressed_file_is_compressed() {
    let site = Site::new();
    site.write("page.html", text());
    let plain = ask(&site, "/page.html", "identity");
    for coding_ in Coding::BY_SPEED {
        let answer = ask(&site, "/page.html", coding_.name());
        assert_eq!(coding(&answer).as_deref(), Some(coding_.name()));
        assert!(decompress(coding_, &body(&answer)) == text());
        assert_eq!(vary(&answer).as_deref(), Some("Accept-Encoding"));
        assert_eq!(field(&answer, "Accept-Ranges"), None);
        let tag = field(&answer, "ETag").expect("a tag");
        assert_ne!(Some(&tag), field(&plain, "ETag").as_ref());

        let fields = [("Accept-Encoding", coding_.name()), ("If-None-Match", &tag)];
        let again = site.ask("GET", "/page.html", &fields).expect("page");
        assert_eq!(again.status, 304);
        let head = site.ask("HEAD", "/page.html", &fields[..1]).expect("page");
        assert_eq!((head.status, &head.fields), (200, &answer.fields));
        assert_eq!(head.body.length(), answer.body.length());
    }
    assert_eq!(
        coding(&ask(&site, "/page.html", "gzip, br, zstd")).as_deref(),
        Some("zstd")
    );
    // A range is of the uncompressed page.
    let fields = [("Accept-Encoding", "gzip"), ("Range", "bytes=0-5")];
    let answer = site.ask("GET", "/page.html", &fields).expect("page");
    assert_eq!((answer.status, body(&answer)), (206, b"a line".to_vec()));
    assert_eq!((coding(&answer), vary(&answer).is_some()), (None, true));
}

#[test]
fn compression_without_a_gain_is_skipped() {
    let site = Site::new();
    site.write("short.html", "short");
    site.write("long.html", vec![b'x'; 300 * 1024]);
    site.write("page.bin", text());
    // Text by its name, noise by its content: compression gains nothing.
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let noise: Vec<u8> = noise.take(5_000).collect();
    site.write("noise.txt", &noise);
    for path in ["/short.html", "/long.html", "/page.bin", "/noise.txt"] {
        assert_eq!(coding(&ask(&site, path, "gzip")), None, "{path}");
    }
    assert!(body(&ask(&site, "/noise.txt", "gzip")) == noise);
    // A client that does not accept the uncompressed page gets a compressed one if possible.
    for encodings in ["gzip, identity;q=0", "gzip, *;q=0"] {
        for (path, whole) in [("/short.html", &b"short"[..]), ("/noise.txt", &noise)] {
            let answer = ask(&site, path, encodings);
            assert_eq!(coding(&answer).as_deref(), Some("gzip"), "{path}");
            assert!(decompress(Coding::Gzip, &body(&answer)) == whole, "{path}");
        }
    }
    // Such a client does not get ranges either.
    for encodings in ["gzip, identity;q=0", "gzip, *;q=0"] {
        let fields = [("Accept-Encoding", encodings), ("Range", "bytes=1-2")];
        let answer = site.ask("GET", "/short.html", &fields).expect("page");
        let found = (answer.status, coding(&answer));
        assert_eq!(found, (200, Some("gzip".into())), "{encodings}");
        assert!(decompress(Coding::Gzip, &body(&answer)) == b"short");
        assert_eq!(field(&answer, "Accept-Ranges"), None);
    }
    let answer = ask(&site, "/short.html", "identity;q=0");
    assert_eq!((coding(&answer), body(&answer)), (None, b"short".to_vec()));

    site.write("page.html", text());
    let off = PageOptions {
        compress: content::CompressOptions {
            pages: false,
            ..Default::default()
        },
        precompressed: false,
        ..PageOptions::default()
    };
    site.pages.set_options(off).expect("options");
    let answer = ask(&site, "/page.html", "gzip");
    assert_eq!((coding(&answer), vary(&answer)), (None, None));
    let untouched = PageOptions {
        cache_control: "no-cache, no-transform".into(),
        ..PageOptions::default()
    };
    site.pages.set_options(untouched).expect("options");
    assert_eq!(coding(&ask(&site, "/page.html", "gzip")), None);
}

#[test]
fn a_compressed_file_requested_by_name_declares_its_coding() {
    let site = Site::new();
    let gzip = Coding::Gzip.compress(&text()).expect("gzip");
    for name in ["x.svgz", "x.js.gz", "x.tar.gz"] {
        site.write(name, &gzip);
    }
    for encodings in ["gzip", "", "br", "identity"] {
        let answer = ask(&site, "/x.js.gz", encodings);
        assert_eq!(coding(&answer).as_deref(), Some("gzip"), "{encodings}");
        let content_type = field(&answer, "Content-Type");
        assert_eq!(
            content_type.as_deref(),
            Some("text/javascript; charset=utf-8")
        );
        assert!(body(&answer) == gzip, "it is sent as it is");
        assert_eq!(vary(&answer), None);
        let answer = ask(&site, "/x.svgz", encodings);
        assert_eq!(coding(&answer).as_deref(), Some("gzip"), "{encodings}");
        let answer = ask(&site, "/x.tar.gz", encodings);
        assert_eq!(coding(&answer), None, "an archive is a file");
    }
    let part = [("Range", "bytes=2-3")];
    let answer = site.ask("GET", "/x.js.gz", &part).expect("page");
    assert_eq!((answer.status, body(&answer)), (206, gzip[2..4].to_vec()));
    assert_eq!(coding(&answer).as_deref(), Some("gzip"));

    // A rule can declare compressed scripts as downloads.
    let rule = Rule {
        path: "/x.js.gz".into(),
        content_type: Some("application/gzip".into()),
        ..Rule::default()
    };
    let options = PageOptions {
        rules: vec![rule],
        ..PageOptions::default()
    };
    site.pages.set_options(options).expect("options");
    let answer = ask(&site, "/x.js.gz", "gzip");
    let content_type = field(&answer, "Content-Type");
    assert_eq!(
        (coding(&answer), content_type.as_deref()),
        (None, Some("application/gzip"))
    );
}
