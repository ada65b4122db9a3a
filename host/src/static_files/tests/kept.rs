//! The caches, which must not be observable except by the time that they save.

use std::thread::sleep;
use std::time::Duration;

use super::*;
use crate::content::coding::{Coding, decompress};

/// Longer than a file has to be unchanged before it is cached.
const SETTLED: Duration = Duration::from_millis(2_100);

fn kept(site: &Site) -> usize {
    site.pages.view().served.settings.kept.size().1
}

fn compressed(site: &Site) -> usize {
    site.pages.view().served.settings.compressed.size().1
}

#[test]
fn an_edit_is_seen_by_the_next_request() {
    let site = Site::new();
    let html = site.dir.path().join("html");
    // Just written: not cached, since another edit at the same time would not be detected.
    let get = |path: &str| body(&site.get(path).expect(path));
    assert_eq!(get("/style.css"), b"p {}");
    assert_eq!(kept(&site), 0);

    sleep(SETTLED);
    for path in ["/style.css", "/", "/docs/", "/empty.txt"] {
        assert_eq!(get(path), get(path), "{path}");
    }
    assert_eq!(kept(&site), 4);

    // An edit in place, of the same length, with the time set back.
    let modified = fs::metadata(html.join("style.css")).and_then(|meta| meta.modified());
    site.write("style.css", "q {}");
    File::options()
        .write(true)
        .open(html.join("style.css"))
        .and_then(|file| file.set_modified(modified?))
        .expect("time");
    assert_eq!(get("/style.css"), b"q {}");
    // A replacement by rename.
    site.write("new", "new!");
    fs::rename(html.join("new"), html.join("index.html")).expect("rename");
    assert_eq!(get("/"), b"new!");
    // Another folder in its place.
    fs::rename(html.join("docs"), html.join("old")).expect("rename");
    assert!(site.get("/docs/").is_none());
    fs::create_dir(html.join("docs")).expect("folder");
    site.write("docs/index.html", "another");
    assert_eq!(get("/docs/"), b"another");
    // A file that was removed, or is no longer readable.
    fs::remove_file(html.join("empty.txt")).expect("removed");
    assert!(site.get("/empty.txt").is_none());
}

/// A cached page is not served once a link to it leads outside the root.
#[test]
fn a_cached_page_is_not_served_through_a_link_outside() {
    let site = Site::new();
    let html = site.dir.path().join("html");
    symlink("docs", html.join("link")).expect("link");
    fs::write(site.dir.path().join("index.html"), SECRET).expect("file");
    sleep(SETTLED);
    let get = || site.get("/link/").map(|answer| body(&answer));
    assert_eq!((get(), get()), (Some(PAGE.into()), Some(PAGE.into())));
    assert_eq!(kept(&site), 1);
    fs::remove_file(html.join("link")).expect("removed");
    symlink("..", html.join("link")).expect("link");
    assert_eq!(get(), None);
}

#[test]
fn a_settled_page_is_compressed_once() {
    let site = Site::new();
    let text = "a line of text, again and again\n".repeat(100);
    site.write("page.html", &text);
    let get = || {
        let fields = [("Accept-Encoding", "gzip")];
        let answer = site.ask("GET", "/page.html", &fields).expect("page");
        assert_eq!(field(&answer, "Content-Encoding").as_deref(), Some("gzip"));
        String::from_utf8(decompress(Coding::Gzip, &body(&answer))).expect("text")
    };
    assert_eq!(get(), text);
    assert_eq!(compressed(&site), 0);
    sleep(SETTLED);
    assert!(get() == text && get() == text);
    assert_eq!((compressed(&site), kept(&site)), (1, 1));
    let edited = text.replace("text", "TEXT");
    site.write("page.html", &edited);
    assert!(get() == edited);
}

#[test]
fn a_cache_size_of_zero_disables_the_caches() {
    let site = Site::with(PageOptions {
        cache_bytes: 0,
        compress: content::CompressOptions {
            cache_bytes: 0,
            ..Default::default()
        },
        ..PageOptions::default()
    });
    site.write("page.html", "text ".repeat(1_000));
    sleep(SETTLED);
    let fields = [("Accept-Encoding", "gzip")];
    for _ in 0..2 {
        assert!(site.ask("GET", "/page.html", &fields).is_some());
        assert!(site.get("/").is_some());
    }
    assert_eq!((kept(&site), compressed(&site)), (0, 0));
}
