//! The effects of the options.

use super::*;

fn options(change: impl FnOnce(&mut PageOptions)) -> PageOptions {
    let mut options = PageOptions::default();
    change(&mut options);
    options
}

#[test]
fn clean_urls_need_the_option() {
    let site = Site::new();
    site.write("about.html", "about");
    site.write("docs/guide.html", "guide");
    site.write("docs.html", "beside the folder");
    site.write("docs/empty.html", "beside an empty one");
    site.write("v1.2.html", "version");
    assert!(site.get("/about").is_none());
    let clean = options(|options| options.clean_urls = true);
    site.pages.set_options(clean).expect("options");
    for (path, text) in [
        ("/about", "about"),
        ("/about.html", "about"),
        ("/docs/guide", "guide"),
        ("/docs/empty", "beside an empty one"),
        ("/v1.2", "version"),
    ] {
        let answer = site.get(path).expect(path);
        assert_eq!((answer.status, body(&answer)), (200, text.into()), "{path}");
        let content_type = field(&answer, "Content-Type");
        assert_eq!(content_type.as_deref(), Some("text/html; charset=utf-8"));
    }
    assert_eq!(site.get("/docs").expect("folder").status, 301);
    for path in ["/about/", "/nothing", "/.about", "/about.html.html", "/404"] {
        assert!(site.get(path).is_none(), "{path}");
    }
    assert_eq!(site.ask("POST", "/about", &[]).expect("page").status, 405);
}

#[test]
fn listings_need_the_option() {
    let site = Site::new();
    site.write("docs/empty/a.txt", "a");
    site.write("docs/empty/.hidden", SECRET);
    assert!(site.get("/docs/empty/").is_none());
    let listing = options(|options| options.listing = true);
    site.pages.set_options(listing).expect("options");
    assert_eq!(body(&site.get("/docs/").expect("index")), PAGE.as_bytes());

    let answer = site.get("/docs/empty/").expect("listing");
    let page = String::from_utf8(body(&answer)).expect("UTF-8");
    assert!(page.contains("<title>/docs/empty/</title>") && page.contains("a.txt"));
    assert!(!page.contains("hidden"));
    let content_type = field(&answer, "Content-Type");
    assert_eq!(content_type.as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!(field(&answer, "Vary").as_deref(), Some("Accept"));

    let json = [("Accept", "application/json")];
    let answer = site.ask("GET", "/docs/empty/", &json).expect("listing");
    let content_type = field(&answer, "Content-Type");
    assert_eq!(content_type.as_deref(), Some("application/json"));
    assert!(body(&answer).starts_with(b"["));

    let answer = site.get("/docs/empty").expect("folder");
    assert_eq!(answer.status, 301);
    assert_eq!(field(&answer, "Location").as_deref(), Some("/docs/empty/"));
    assert_eq!(
        site.ask("POST", "/docs/empty/", &[])
            .expect("listing")
            .status,
        405
    );
    for path in ["/.git/", "/nothing/", "/style.css/", "/docs/..%2f/"] {
        assert!(site.get(path).is_none(), "{path}");
    }
    fs::remove_file(site.dir.path().join("html/index.html")).expect("removed");
    let root = body(&site.get("/").expect("listing"));
    assert!(String::from_utf8_lossy(&root).contains("href=\"./docs/\""));
    symlink("..", site.dir.path().join("html/up")).expect("link");
    assert!(site.get("/up/").is_none());
}

#[test]
fn a_browser_gets_the_fallback_for_a_missing_document() {
    let site = Site::new();
    site.write("app.html", "<app>");
    let view = |accept: &'static str, method: &'static str, path: &str| {
        let fields = [("Accept", accept.as_bytes())];
        let request = Request {
            method,
            query: b"",
            fields: fields.into_iter(),
        };
        site.pages.view().fall_back(&request, path.as_bytes())
    };
    let html = "text/html,*/*;q=0.8";
    assert!(view(html, "GET", "/x").is_none());
    let fallback = options(|options| options.fallback = Some("app.html".into()));
    site.pages.set_options(fallback).expect("options");
    for method in ["GET", "HEAD"] {
        let answer = view(html, method, "/some/where").expect("fallback");
        assert_eq!((answer.status, body(&answer)), (200, b"<app>".to_vec()));
        let vary = field(&answer, "Vary");
        assert_eq!(vary.as_deref(), Some("Accept-Encoding, Accept"));
        assert!(field(&answer, "ETag").is_some());
    }
    for (accept, method, path) in [
        ("*/*", "GET", "/missing.js"),
        ("image/png,*/*;q=0.8", "GET", "/missing.png"),
        ("text/html;q=0", "GET", "/x"),
        (html, "POST", "/x"),
        (html, "GET", "/.env"),
        (html, "GET", "/x%00"),
        (html, "GET", "*"),
    ] {
        assert!(
            view(accept, method, path).is_none(),
            "{accept} {method} {path}"
        );
    }
    fs::remove_file(site.dir.path().join("html/app.html")).expect("removed");
    assert!(view(html, "GET", "/x").is_none());
}

#[test]
fn a_page_for_one_status_takes_precedence_over_its_family() {
    let site = Site::new();
    site.write("404.html", "not here");
    site.write("50x.html", "broken");
    site.write("503.html", "busy");
    let text = |status| body(&site.pages.error(status, "Reason", "detail"));
    assert_eq!(text(404), b"not here");
    assert_eq!(text(500), b"broken");
    assert_eq!(text(503), b"busy");
    assert_eq!(text(504), b"broken");
    assert!(text(403).starts_with(b"<!doctype html>"));
    site.write("40x.html", "yours");
    assert_eq!(
        (text(403), text(404)),
        (b"yours".to_vec(), b"not here".to_vec())
    );
}

#[test]
fn rules_add_fields_to_matching_pages() {
    let rule = |path: &str| Rule {
        path: path.into(),
        ..Rule::default()
    };
    let site = Site::with(options(|options| {
        options.security.frame_options = "DENY".into();
        options.rules = vec![
            Rule {
                cache_control: Some("public, max-age=31536000, immutable".into()),
                ..rule("/*.css")
            },
            Rule {
                fields: [("X-Robots-Tag".into(), "noindex".into())].into(),
                ..rule("/docs/**")
            },
            Rule {
                content_type: Some("text/x-odd".into()),
                ..rule("/a b*")
            },
        ];
    }));
    let style = site.get("/style.css").expect("page");
    let immutable = Some("public, max-age=31536000, immutable".to_owned());
    assert_eq!(field(&style, "Cache-Control"), immutable);
    let tag = field(&style, "ETag").expect("a tag");
    let again = site.ask("GET", "/style.css", &[("If-None-Match", &tag)]);
    assert_eq!(field(&again.expect("page"), "Cache-Control"), immutable);
    for path in ["/docs/", "//docs//", "/docs/index.html"] {
        let answer = site.get(path).expect(path);
        assert_eq!(field(&answer, "X-Robots-Tag").as_deref(), Some("noindex"));
        assert_eq!(field(&answer, "Cache-Control").as_deref(), Some("no-cache"));
    }
    let odd = site.get("/a%20b%3F.txt").expect("page");
    assert_eq!(field(&odd, "Content-Type").as_deref(), Some("text/x-odd"));
    for answer in [
        style,
        site.get("/docs").expect("redirect"),
        site.ask("OPTIONS", "/", &[]).expect("options"),
        site.ask("POST", "/", &[]).expect("refusal"),
        site.pages.error(404, "Not Found", ""),
    ] {
        assert_eq!(field(&answer, "X-Frame-Options").as_deref(), Some("DENY"));
        let sniff = field(&answer, "X-Content-Type-Options");
        assert_eq!(sniff.as_deref(), Some("nosniff"));
    }
}

#[test]
fn invalid_options_change_nothing() {
    let site = Site::with(options(|options| options.clean_urls = true));
    site.write("about.html", "about");
    let broken = options(|options| options.fallback = Some(".env".into()));
    assert!(site.pages.set_options(broken.clone()).is_err());
    assert!(site.get("/about").is_some());
    assert!(Pages::open(site.dir.path(), broken).is_err());
}
