//! The site's folders, its cache, and its addresses.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;

use super::finding::Finding;
use crate::config::Config;

const GROUP: &str = "site";

pub(super) fn findings(config: &Config, overlaps: &[String]) -> Vec<Finding> {
    let site = &config.site;
    let mut findings = vec![
        folder("pages", site.root()),
        folder("handlers", site.handlers()),
        cache(config),
        addr("address", config.server.addr),
    ];
    findings.extend(config.tls.redirect_http.map(|to| addr("redirect", to)));
    for (name, host) in config.of_hosts().unwrap_or_default() {
        findings.push(folder(&format!("pages of {name}"), host.site.root()));
        findings.push(folder(&format!("handlers of {name}"), host.site.handlers()));
    }
    for overlap in overlaps {
        let advice = "move the folders apart";
        findings.push(Finding::warn(GROUP, "overlap", overlap, advice));
    }
    findings
}

/// Checks that a folder can be read.
fn folder(name: &str, path: &Path) -> Finding {
    let shown = path.display();
    match fs::read_dir(path) {
        Ok(entries) => {
            let count = entries.count();
            let plural = if count == 1 { "" } else { "s" };
            let what = format!("{shown}: {count} name{plural}");
            Finding::ok(GROUP, name, &what)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Finding::warn(
            GROUP,
            name,
            &format!("{shown}: there is no such folder"),
            "make it, or `wasgi new SITE`, which makes a site",
        ),
        Err(error) => Finding::problem(
            GROUP,
            name,
            &format!("{shown}: can't be read: {error}"),
            "give the server's user the right to read and enter it",
        ),
    }
}

/// Checks that compiled code can be stored.
fn cache(config: &Config) -> Finding {
    const NAME: &str = "code cache";
    let Some(cache) = config.site.code_cache() else {
        let what = "off: each start compiles all handlers";
        return Finding::warn(GROUP, NAME, what, "set site.code-cache to a folder");
    };
    let shown = cache.folder.display();
    // Its own names are hashes, so this one can't collide with them.
    let probe = cache.folder.join(format!(".doctor-{}", std::process::id()));
    let written = fs::create_dir_all(cache.folder).and_then(|()| fs::write(&probe, "x"));
    let _ = fs::remove_file(&probe);
    match written {
        Ok(()) => Finding::ok(GROUP, NAME, &format!("{shown}: writable")),
        Err(error) => Finding::problem(
            GROUP,
            NAME,
            &format!("{shown}: can't be written: {error}"),
            "give the server's user the right to write there, or name another: --code-cache",
        ),
    }
}

/// Checks that an address can be listened on.
fn addr(name: &str, addr: std::net::SocketAddr) -> Finding {
    match TcpListener::bind(addr) {
        Ok(_) => Finding::ok(GROUP, name, &format!("{addr}: free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::warn(
            GROUP,
            name,
            &format!("{addr}: taken, perhaps by this site's server"),
            "if not, end that program, or choose another: --addr",
        ),
        Err(error) => Finding::problem(
            GROUP,
            name,
            &format!("{addr}: can't be listened on: {error}"),
            "choose another: --addr",
        ),
    }
}
