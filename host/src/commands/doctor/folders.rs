//! The site's folders, its cache, and its addresses.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use rustix::fs::Access;
use rustix::io::Errno;

use super::certificates;
use super::finding::Finding;
use crate::admin::AdminAddr;
use crate::config::Config;
use crate::confinement::User;
use crate::log::AccessTarget;

pub(super) const GROUP: &str = "site";

pub(super) fn findings(config: &Config, overlaps: &[String]) -> Vec<Finding> {
    let mut findings = as_user(config, &files);
    findings.push(addr("address", "--addr", config.server.addr));
    let redirect = config.tls.redirect_http;
    findings.extend(redirect.map(|to| addr("redirect", "--redirect-http", to)));
    if let Some(AdminAddr::Tcp(to)) = config.admin.addr {
        findings.push(addr("admin listener", "admin.addr", to));
    }
    for overlap in overlaps {
        let advice = "move the folders apart";
        findings.push(Finding::warn(GROUP, "overlap", overlap, advice));
    }
    findings
}

/// Runs checks with the rights that the server will have.
fn as_user(config: &Config, checks: &(impl Fn(&Config) -> Vec<Finding> + Sync)) -> Vec<Finding> {
    let Some(user) = &config.server.user else {
        return checks(config);
    };
    let group = config.server.group.as_deref();
    let user = match User::find(user, group) {
        Ok(user) => user,
        Err(error) => {
            let advice = "create it, or correct the key";
            return vec![Finding::problem(
                GROUP,
                "user",
                &format!("{error:#}"),
                advice,
            )];
        }
    };
    // The user belongs to a thread.
    let checked = thread::scope(|scope| {
        let check = || user.assume().map(|()| checks(config));
        scope.spawn(check).join()
    });
    match checked {
        Ok(Ok(findings)) => {
            let mut all = vec![Finding::ok(GROUP, "user", &format!("{user} serves"))];
            all.extend(findings);
            all
        }
        Ok(Err(error)) => {
            let advice = "run `wasgi doctor` as the user that starts the server";
            let mut all = checks(config);
            all.push(Finding::warn(GROUP, "user", &format!("{error:#}"), advice));
            all
        }
        Err(_) => Vec::new(),
    }
}

/// Checks the files and folders that the configuration names.
fn files(config: &Config) -> Vec<Finding> {
    let site = &config.site;
    let mut findings = vec![
        folder("pages", site.root()),
        folder("handlers", site.handlers()),
        cache(config),
    ];
    for (name, host) in config.of_hosts().unwrap_or_default() {
        findings.push(folder(&format!("pages of {name}"), host.site.root()));
        findings.push(folder(&format!("handlers of {name}"), host.site.handlers()));
    }
    if let Some(state) = config.state_in_use() {
        findings.push(writable("state", state, "state.folder"));
    }
    if config.obtains_certificates() {
        findings.extend(certificates::findings(config));
    }
    if let AccessTarget::File(file) = &config.server.access_log {
        let folder = match file.parent() {
            Some(folder) if folder.as_os_str() != "" => folder,
            _ => Path::new("."),
        };
        findings.push(writable("access log", folder, "server.access-log"));
    }
    let granted = config.handlers.iter();
    let granted = granted.flat_map(|(name, handler)| {
        let folders = handler.files.iter();
        folders.map(move |granted| (format!("handlers.{name}"), granted))
    });
    findings.extend(granted.map(|(key, granted)| match granted.writable {
        true => writable("granted folder", &granted.source, &key),
        false => granted_folder(&granted.source, &key),
    }));
    findings
}

/// Checks that a folder that is read can be read.
fn granted_folder(path: &Path, key: &str) -> Finding {
    const NAME: &str = "granted folder";
    let shown = path.display();
    match fs::read_dir(path) {
        Ok(_) => Finding::ok(GROUP, NAME, &format!("{shown}: readable")),
        Err(error) => Finding::problem(
            GROUP,
            NAME,
            &format!("{shown}: can't be read: {error}"),
            &format!("make it readable for the server's user, or correct {key}"),
        ),
    }
}

/// Checks that files can be created in a folder, or that the folder can be created.
pub(super) fn writable(name: &str, path: &Path, key: &str) -> Finding {
    let shown = path.display();
    // One that can't be looked at may exist.
    let mut above = path.ancestors();
    let existing = above.find(|folder| folder.try_exists().unwrap_or(true));
    let existing = existing.unwrap_or(Path::new("."));
    let needed = Access::WRITE_OK | Access::EXEC_OK;
    let allowed = match existing.is_file() {
        true => Err(Errno::NOTDIR),
        false => rustix::fs::access(existing, needed),
    };
    match allowed {
        Ok(()) if existing == path => Finding::ok(GROUP, name, &format!("{shown}: writable")),
        Ok(()) => Finding::ok(GROUP, name, &format!("{shown}: can be created")),
        Err(error) => Finding::problem(
            GROUP,
            name,
            &format!("{shown}: can't be written: {}", io::Error::from(error)),
            &format!("give the server's user the right to write there, or correct {key}"),
        ),
    }
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

/// Checks that an address, given by `key`, can be listened on.
fn addr(name: &str, key: &str, addr: std::net::SocketAddr) -> Finding {
    match TcpListener::bind(addr) {
        Ok(_) => Finding::ok(GROUP, name, &format!("{addr}: free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::warn(
            GROUP,
            name,
            &format!("{addr}: taken, perhaps by this site's server"),
            &format!("if not, end that program, or choose another: {key}"),
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Finding::problem(
            GROUP,
            name,
            &format!("{addr}: can't be listened on: {error}"),
            "start the server as root with server.user, give it CAP_NET_BIND_SERVICE, or choose a \
             port above 1023",
        ),
        Err(error) => Finding::problem(
            GROUP,
            name,
            &format!("{addr}: can't be listened on: {error}"),
            &format!("choose another: {key}"),
        ),
    }
}
