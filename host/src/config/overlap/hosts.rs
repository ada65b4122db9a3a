//! Overlaps of virtual hosts: the pages and the handlers of one must not reach the private parts of
//! another, or of the site itself.

use crate::config::Config;

/// Calls `visit` for each pair of sites, of which one at least is a virtual host: with a site that
/// has the pages and the grants of the first, and the other parts of the second; and with a
/// function that turns the key of an overlap of it into that of the configuration.
pub(super) fn each_pair(config: &Config, mut visit: impl FnMut(&Config, &dyn Fn(&str) -> String)) {
    // A host that is wrong was reported before.
    let hosts = config.of_hosts().unwrap_or_default();
    let sites = || {
        let hosts = hosts.iter().map(|(name, host)| (Some(&**name), host));
        [(None, config)].into_iter().chain(hosts)
    };
    // A copy for each site, not for each pair, of which there are ten thousand.
    let mut copies: Vec<(Option<&str>, Config)> =
        sites().map(|(name, site)| (name, site.clone())).collect();
    for (name, one) in sites() {
        for (other_name, both) in &mut copies {
            if name.is_none() && other_name.is_none() {
                continue;
            }
            both.site.root.clone_from(&one.site.root);
            both.handlers.clone_from(&one.handlers);
            visit(both, &|of_site| key(of_site, name, *other_name));
        }
    }
}

/// Returns the key of an overlap between the pages and grants of one site and the other parts of
/// another; `None` stands for the site itself.
fn key(key: &str, one: Option<&str>, other: Option<&str>) -> String {
    match (key, one, other) {
        ("site.root", Some(host), _) => format!("hosts.{host}.root"),
        ("site.handlers", _, Some(host)) => format!("hosts.{host}.handlers-folder"),
        (key, Some(host), _) if key.starts_with("handlers.") => format!("hosts.{host}.{key}"),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::{ResolvedConfig, Sources};

    /// Returns what is wrong with the folders of a site with this configuration.
    fn complaint(text: &str) -> Option<String> {
        let site = tempfile::tempdir().expect("a folder");
        for folder in ["html", "handlers", "a/html", "a/handlers", "b/html", "data"] {
            fs::create_dir_all(site.path().join(folder)).expect("a folder");
        }
        fs::write(site.path().join("wasgi.toml"), text).expect("written");
        let sources = Sources {
            site: site.path().into(),
            file: None,
        };
        let resolved = ResolvedConfig::load(&sources, |_| {}).expect("it is good");
        let result = resolved.check_layout(&sources);
        let place = format!("{}/", site.path().display());
        result
            .err()
            .map(|error| error.to_string().replace(&place, ""))
    }

    #[test]
    fn the_pages_and_grants_of_a_host_do_not_reach_parts_of_another() {
        let hosts = |more: &str| {
            format!(
                "[hosts.\"a.test\"]\nfolder = \"a\"\n[hosts.\"b.test\"]\nfolder = \"b\"\n{more}"
            )
        };
        assert_eq!(complaint(&hosts("")), None);
        // Two hosts may have the same pages, and the same handlers.
        assert_eq!(complaint(&hosts("root = \"a/html\"\n")), None);
        assert_eq!(
            complaint(&hosts("handlers-folder = \"a/handlers\"\n")),
            None
        );
        for (more, said) in [
            (
                "root = \"a\"\n",
                "wasgi.toml:3: hosts.b.test.root: a contains the folder of handlers a/handlers: ",
            ),
            ("root = \".\"\n", "wasgi.toml:3: hosts.b.test.root: "),
            (
                "handlers-folder = \"a/html\"\n",
                "wasgi.toml:1: hosts.a.test.root: a/html contains the folder of handlers a/html: ",
            ),
            (
                "root = \"handlers\"\n",
                "wasgi.toml:3: hosts.b.test.root: handlers contains the folder of handlers handlers",
            ),
            (
                "[hosts.\"b.test\".handlers.x]\nfiles = [{ source = \"a/handlers\", \
                 destination = \"/d\", writable = true }]\n",
                "wasgi.toml:3: hosts.b.test.handlers.x.files: a/handlers contains the folder of \
                 handlers a/handlers: the handler could replace handlers",
            ),
            (
                "[hosts.\"b.test\".handlers.x]\nkey-value = [\"k\"]\n[state]\n\
                 folder = \"html/state\"\n",
                "site.root: html contains the folder of state html/state",
            ),
        ] {
            let found = complaint(&hosts(more)).unwrap_or_default();
            assert!(found.starts_with(said), "{more}: {found}");
        }
    }
}
