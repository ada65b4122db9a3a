//! Detects folders of pages that contain the handlers, `wasgi.toml` or a private key, and would
//! make them public; and folders granted to a handler in which it could extend its own rights.
//!
//! Paths are compared as the file system resolves them: symbolic links and `..` are followed,
//! folders are identified by device and inode, and a mount point inside a folder is part of it. A
//! path that does not exist yet is compared by its future location. Names that are never served
//! (`.git`, `old~`) are excluded.

mod disk;
mod grants;
mod hosts;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use self::disk::FileSystem;
use super::{Complaint, Config};
use crate::log::AccessTarget;
use crate::static_files;

/// A path inside a folder that must not contain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overlap {
    key: String,
    why: String,
    /// Whether `site.allow-overlap` does not apply.
    is_secret: bool,
}

/// A folder and a path that must not be inside it.
struct Rule<'c> {
    /// The key that names the folder.
    key: String,
    folder: &'c Path,
    /// The path that must be outside, and its description.
    part: &'c Path,
    part_is: &'static str,
    /// The consequence and the remedy.
    why: &'static str,
    is_secret: bool,
    /// Whether names that are hidden from visitors are unreachable in the folder.
    hides_names: bool,
}

impl Overlap {
    /// Returns the error that prevents the start, unless the overlap is allowed.
    pub(super) fn complaint(&self) -> Complaint {
        let why = match self.is_secret {
            true => self.why.clone(),
            false => format!("{} (--allow-overlap starts anyway)", self.why),
        };
        Complaint::new(&*self.key, why)
    }

    /// Reports whether the overlap prevents the start.
    pub(super) fn is_refused(&self, allowed: bool) -> bool {
        self.is_secret || !allowed
    }

    /// Returns the log message for an allowed overlap.
    pub(super) fn warning(&self) -> String {
        format!("{}: {} (site.allow-overlap is set)", self.key, self.why)
    }
}

/// Returns all overlaps of a site whose configuration is, or would be, in `file`; the most severe
/// first.
pub(super) fn overlaps(config: &Config, file: &Path) -> Vec<Overlap> {
    let disk = FileSystem::new();
    let state = config.state_in_use();
    let mut all = of_site(config, file, state, &disk);
    hosts::each_pair(config, |both, key| {
        for mut overlap in of_site(both, file, state, &disk) {
            overlap.key = key(&overlap.key);
            if !all.contains(&overlap) {
                all.push(overlap);
            }
        }
    });
    all
}

/// Returns the overlaps of one site, without its virtual hosts. `state` is the folder of state, if
/// it is in use.
fn of_site(config: &Config, file: &Path, state: Option<&Path>, disk: &FileSystem) -> Vec<Overlap> {
    let rules = rules(config, file, state).filter(|rule| rule.applies(disk));
    let overlaps = rules.map(|rule| Overlap {
        why: format!(
            "{} contains the {} {}: {}",
            rule.folder.display(),
            rule.part_is,
            rule.part.display(),
            rule.why
        ),
        is_secret: rule.is_secret,
        key: rule.key,
    });
    overlaps.collect()
}

fn rules<'c>(
    config: &'c Config,
    file: &'c Path,
    state: Option<&'c Path>,
) -> impl Iterator<Item = Rule<'c>> {
    let site = &config.site;
    let (root, handlers) = (site.root(), site.handlers());
    let served = |part, part_is, why| Rule {
        key: "site.root".to_owned(),
        folder: root,
        part,
        part_is,
        why,
        is_secret: false,
        hides_names: true,
    };
    let inside = |key: &str, folder, part, part_is, why, hides_names| Rule {
        key: key.to_owned(),
        folder,
        part,
        part_is,
        why,
        is_secret: false,
        hides_names,
    };
    let key = config.tls.key.as_deref().map(|key| Rule {
        is_secret: true,
        ..served(
            key,
            "private key",
            "everyone could read it; keep keys outside of the folder of pages",
        )
    });
    let obtained = config.acme_in_use().map(|folder| Rule {
        is_secret: true,
        ..served(
            folder,
            "folder of certificates and their keys",
            "everyone could read the keys; keep pages in a folder of their own, such as html \
             beside acme",
        )
    });
    let cert = config.tls.cert.as_deref().map(|cert| {
        served(
            cert,
            "certificate",
            "everyone could read the file; keep it outside of the folder of pages",
        )
    });
    let access_log = match &config.server.access_log {
        AccessTarget::File(file) => Some(served(
            file,
            "access log",
            "everyone could read it; keep it outside of the folder of pages",
        )),
        AccessTarget::Off | AccessTarget::Stdout => None,
    };
    let of_site = [
        served(
            file,
            "configuration",
            "everyone could read it; keep pages in a folder of their own, such as html beside \
             wasgi.toml",
        ),
        served(
            handlers,
            "folder of handlers",
            "everyone could read the handlers; keep pages in a folder of their own, such as html \
             beside handlers",
        ),
        inside(
            "site.handlers",
            handlers,
            root,
            "folder of pages",
            "each .wasm among the pages would be run; keep pages in a folder of their own, such as \
             html beside handlers",
            true,
        ),
    ];
    let cache = site.code_cache().map(|it| it.folder);
    let of_cache = cache.into_iter().flat_map(move |cache| {
        let elsewhere = "keep compiled code elsewhere";
        [
            served(
                cache,
                "folder of compiled code",
                "everyone could read it; keep compiled code elsewhere",
            ),
            inside(
                "site.handlers",
                handlers,
                cache,
                "folder of compiled code",
                elsewhere,
                true,
            ),
            inside(
                "site.code-cache",
                cache,
                root,
                "folder of pages",
                elsewhere,
                false,
            ),
            inside(
                "site.code-cache",
                cache,
                handlers,
                "folder of handlers",
                elsewhere,
                false,
            ),
        ]
    });
    let of_state = state.into_iter().flat_map(move |state| {
        let why = "keep state in a folder of its own, such as state beside handlers";
        [
            Rule {
                is_secret: true,
                ..served(
                    state,
                    "folder of state",
                    "everyone could read it; keep it elsewhere",
                )
            },
            inside(
                "site.handlers",
                handlers,
                state,
                "folder of state",
                why,
                true,
            ),
        ]
    });
    let of_pages = key.into_iter().chain(obtained);
    let of_pages = of_pages.chain(cert).chain(access_log);
    let of_pages = of_pages.chain(of_site).chain(of_cache);
    of_pages
        .chain(of_state)
        .chain(grants::rules(config, file, state))
}

impl Rule<'_> {
    /// Reports whether the part is in the folder or in a mount below it, or is the folder itself.
    fn applies(&self, disk: &FileSystem) -> bool {
        let (folder, part) = (disk.resolved(self.folder), disk.resolved(self.part));
        let mounted = disk
            .mounts
            .iter()
            .filter_map(|mount| Some((mount.as_path(), mount.strip_prefix(&folder).ok()?)));
        [(folder.as_path(), Path::new(""))]
            .into_iter()
            .chain(mounted)
            .filter(|(_, from_folder)| !self.hides(from_folder))
            .any(|(folder, from_folder)| {
                disk.below(folder, &part)
                    .is_some_and(|rest| !self.hides(&from_folder.join(rest)))
            })
    }

    /// Reports whether a path relative to the folder contains a hidden name, which is never served.
    fn hides(&self, relative: &Path) -> bool {
        self.hides_names && static_files::is_hidden(relative.as_os_str().as_bytes())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::config::Draft;
    use crate::config::site::Site;

    /// Creates a site with html, handlers and wasgi.toml next to each other.
    pub(super) fn site() -> TempDir {
        let site = tempfile::tempdir().expect("a folder");
        for folder in ["html/deep", "handlers", "keys"] {
            fs::create_dir_all(site.path().join(folder)).expect("a folder");
        }
        for file in ["wasgi.toml", "keys/key.pem", "keys/cert.pem"] {
            fs::write(site.path().join(file), "").expect("written");
        }
        site
    }

    /// Returns the keys that the overlaps of these folders and files are reported for, in order.
    fn keys(
        root: PathBuf,
        handlers: PathBuf,
        cache: Option<PathBuf>,
        tls: [Option<PathBuf>; 2],
        file: &Path,
    ) -> Vec<String> {
        let [cert, key] = tls;
        let mut draft = Draft::default();
        draft.config.site = Site {
            root: Some(root),
            handlers: Some(handlers),
            code_cache: Some(cache.unwrap_or_else(|| "none".into())),
            ..Site::default()
        };
        (draft.config.tls.cert, draft.config.tls.key) = (cert, key);
        overlaps(&draft.config, file)
            .iter()
            .map(|overlap| {
                let what = overlap.why.split(" contains the ").nth(1);
                let what = what.and_then(|what| what.split(" /").next());
                format!("{} {}", overlap.key, what.unwrap_or_default())
            })
            .collect()
    }

    #[test]
    fn separate_folders_do_not_overlap() {
        let site = site();
        let at = |path: &str| site.path().join(path);
        let none = keys(
            at("html"),
            at("handlers"),
            Some(at("code")),
            [Some(at("keys/cert.pem")), Some(at("keys/key.pem"))],
            &at("wasgi.toml"),
        );
        assert_eq!(none, Vec::<String>::new());
        // A folder whose name starts with another folder's name is not inside it.
        let none = keys(
            at("html"),
            at("html-handlers"),
            None,
            [None, None],
            &at("html.toml"),
        );
        assert_eq!(none, Vec::<String>::new());
    }

    #[test]
    fn everything_private_among_the_pages_is_found() {
        let site = site();
        let at = |path: &str| site.path().join(path);
        let all = keys(
            at("."),
            at("handlers"),
            Some(at("code")),
            [Some(at("keys/cert.pem")), Some(at("keys/key.pem"))],
            &at("wasgi.toml"),
        );
        assert_eq!(
            all,
            [
                "site.root private key",
                "site.root certificate",
                "site.root configuration",
                "site.root folder of handlers",
                "site.root folder of compiled code",
            ]
        );
    }

    #[test]
    fn the_same_folder_by_any_name_is_found() {
        let site = site();
        let at = |path: &str| site.path().join(path);
        symlink(at("html"), at("link")).expect("a link");
        symlink("html/later", at("dangling")).expect("a link");
        let file = at("wasgi.toml");
        let same = [
            "site.root folder of handlers",
            "site.handlers folder of pages",
        ];
        for handlers in ["html", "html/", "html/deep/..", "handlers/../html", "link"] {
            let found = keys(at("html"), at(handlers), None, [None, None], &file);
            assert_eq!(found, same, "{handlers}");
        }
        for handlers in [
            "html/deep",
            "link/deep",
            "html/later",
            "link/later/../later",
            "dangling",
            "dangling/deeper",
            "gone/../html/later",
        ] {
            let found = keys(at("html"), at(handlers), None, [None, None], &file);
            assert_eq!(found, same[..1], "{handlers}");
        }
        let found = keys(
            at("handlers/html"),
            at("handlers"),
            None,
            [None, None],
            &file,
        );
        assert_eq!(found, same[1..]);
    }

    #[test]
    fn hidden_names_among_the_pages_do_not_overlap() {
        let site = site();
        let at = |path: &str| site.path().join(path);
        for hidden in ["html/.git/handlers", "html/.handlers", "html/deep/.x/y"] {
            let found = keys(
                at("html"),
                at(hidden),
                None,
                [None, None],
                &at("wasgi.toml"),
            );
            assert_eq!(found, Vec::<String>::new(), "{hidden}");
        }
        // The only hidden folder that is served.
        let found = keys(
            at("html"),
            at("html/.well-known/handlers"),
            None,
            [None, None],
            &at("wasgi.toml"),
        );
        assert_eq!(found, ["site.root folder of handlers"]);
    }

    #[test]
    fn a_cache_around_the_site_is_found() {
        let site = site();
        let at = |path: &str| site.path().join(path);
        let found = keys(
            at("html"),
            at("handlers"),
            Some(at(".")),
            [None, None],
            Path::new("/wasgi.toml"),
        );
        let both = [
            "site.code-cache folder of pages",
            "site.code-cache folder of handlers",
        ];
        assert_eq!(found, both);
        let found = keys(
            at("html"),
            at("handlers"),
            Some(at("handlers/code")),
            [None, None],
            Path::new("/wasgi.toml"),
        );
        assert_eq!(found, ["site.handlers folder of compiled code"]);
    }

    /// A mount is found by its inode instead of its path, as is a link's target here.
    #[test]
    fn a_mount_among_the_pages_is_found() {
        let site = site();
        let at = |path: &str| site.path().join(path);
        symlink(at("handlers"), at("html/mounted here")).expect("a link");
        symlink(at("keys/key.pem"), at("html/key")).expect("a link");
        symlink(at("keys"), at("html/.keys")).expect("a link");
        let root = fs::canonicalize(at("html")).expect("it is there");
        let line = |name: &str| {
            let root = root.display();
            format!("36 35 98:0 /srv {root}/{name} rw,noatime - ext4 /dev/x rw\n")
        };
        let applies = |part: &Path, mounts: &str| {
            let rule = Rule {
                key: "site.root".to_owned(),
                folder: &root,
                part,
                part_is: "part",
                why: "",
                is_secret: false,
                hides_names: true,
            };
            rule.applies(&FileSystem::with_mounts(mounts.as_bytes()))
        };
        let (handlers, key) = (at("handlers"), at("keys/key.pem"));
        assert!(!applies(&handlers, ""));
        assert!(applies(&handlers, &line("mounted\\040here")));
        assert!(applies(&handlers.join("later"), &line("mounted\\040here")));
        assert!(!applies(&key, &line("mounted\\040here")));
        assert!(applies(&key, &line("key")));
        assert!(!applies(&key, &line(".keys")));
    }
}
