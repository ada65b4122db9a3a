//! Many virtual hosts: what does not grow with their number.

use std::collections::BTreeMap;
use std::fs;

use super::{add_host, get, put, site};
use crate::support::attempts::configure;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::{eventually, guests};

/// The hosts of the larger site.
const MANY: usize = 40;

fn name(number: usize) -> String {
    format!("host-{number}.test")
}

/// Creates a site with this number of hosts.
fn site_with(count: usize) -> Site {
    let site = site("");
    let mut tables = String::new();
    for number in 0..count {
        add_host(&site, &name(number));
        tables += &format!("[hosts.\"{}\"]\n", name(number));
    }
    configure(&site, &tables);
    site
}

/// Returns the threads of a process, by their names, but those that load files, which end.
fn threads(server: &Server) -> BTreeMap<String, usize> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).expect("it runs");
    let mut threads = BTreeMap::new();
    for task in tasks.flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if !["wasgi-load", "wasgi-compile", "wasgi-started", ""].contains(&name.trim()) {
            *threads.entry(name.trim().to_owned()).or_default() += 1;
        }
    }
    threads
}

/// Returns the descriptors of a process, by what they are: all folders are one kind, and so are the
/// files of compiled code. Connections don't count.
fn descriptors(server: &Server) -> BTreeMap<String, usize> {
    let links = fs::read_dir(format!("/proc/{}/fd", server.id())).expect("it runs");
    let mut kinds = BTreeMap::new();
    for link in links.flatten() {
        // Fails for one that has just been closed.
        let Ok(target) = fs::read_link(link.path()) else {
            continue;
        };
        let shown = target.display().to_string();
        let kind = if target.is_dir() {
            "folder".to_owned()
        } else if shown.ends_with(".cwasm") || shown.starts_with("/memfd:wasgi-code") {
            "code".to_owned()
        } else {
            // Without the numbers of pipes.
            shown.replace(|one: char| one.is_ascii_digit(), "")
        };
        if kind.starts_with("socket:") {
            continue;
        }
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// Requests each host, and waits until what has loaded its handlers has ended.
fn settle(server: &Server, count: usize) {
    for number in 0..count {
        let host = name(number);
        let response = get(server, &host, "/hello");
        assert_eq!(response.text(), format!("hello from {host}"));
        assert_eq!(get(server, &host, "/").text(), host);
    }
    eventually("no file is loaded, and no process compiles", || {
        !server.has_thread("wasgi-load") && !server.has_thread("wasgi-compile")
    });
    server.standing_descriptors();
}

#[test]
fn threads_and_events_do_not_grow_with_the_hosts() {
    let [few, many] = [2, MANY].map(|count| {
        let site = site_with(count);
        let server = Server::new(&site);
        settle(&server, count);
        let mut standing = BTreeMap::new();
        // One that has just begun has the name of the thread that started it.
        eventually("each thread has a name of its own", || {
            standing = threads(&server);
            standing.values().all(|count| *count == 1)
        });
        let found = (standing, descriptors(&server));
        // A changed file of one host is served, and the others serve as before.
        let changed = name(count - 1);
        let file = format!("hosts/{changed}/handlers/hello.wat");
        put(&site, &file, guests::page("changed"));
        eventually("it is reloaded", || {
            get(&server, &changed, "/hello").text() == "changed"
        });
        for number in 0..count - 1 {
            let host = name(number);
            assert_eq!(
                get(&server, &host, "/hello").text(),
                format!("hello from {host}")
            );
        }
        // So is a page, which a cache holds.
        put(
            &site,
            &format!("hosts/{changed}/html/index.html"),
            "new page",
        );
        eventually("it is served", || {
            get(&server, &changed, "/").text() == "new page"
        });
        assert!(!server.stop().has_complaints());
        found
    });
    assert_eq!(few.0, many.0);
    // Each host has its folder of pages open, and the code of its handler.
    let (mut few, mut many) = (few.1, many.1);
    let folders = [&mut few, &mut many].map(|kinds| kinds.remove("folder").unwrap_or_default());
    assert_eq!(folders[1] - folders[0], MANY - 2);
    assert!(few.remove("code").is_some() && many.remove("code").is_some());
    assert_eq!(few, many);
}
