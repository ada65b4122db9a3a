//! Which files of a site belong to its bundle: what the server would serve, and nothing else.
//!
//! - Pages whose names may be served, with their compressed forms.
//! - Handlers, as the server lists them: files, and applications in folders with their packages.
//!   Sources are left out; the results of their builds are added.
//! - No secret, key, certificate, state or granted folder, wherever it is.
//!
//! A link to a file counts as a file, under the rules that the server has for links.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::format::MAX_FILES;
use super::name::{self, CONFIG, HANDLERS, PAGES, RUNTIME};
use crate::{reload, static_files};

/// The maximum nesting of folders.
const MAX_DEPTH: usize = 64;

/// A file for a bundle.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    /// Its name in the bundle.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// The files of a bundle, and what is not among them.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    files: BTreeMap<String, PathBuf>,
    /// One line for each file or folder that could be missed.
    pub(crate) left_out: Vec<String>,
    /// What must not be in it, as the file system resolves the paths.
    private: Vec<(PathBuf, &'static str)>,
}

/// Which names a walk takes.
type Takes<'t> = &'t dyn Fn(&str) -> bool;

/// A folder that is walked.
#[derive(Clone, Copy)]
struct Walk<'w> {
    /// The folder of the site that links must not leave, as the file system resolves it.
    within: &'w Path,
    /// Whether links to files may lead anywhere.
    links_lead_out: bool,
    /// Takes the path relative to the folder.
    takes: Takes<'w>,
}

impl Collection {
    /// Creates a collection that takes nothing at or below the `private` paths. Each has a word
    /// that says what it is.
    pub(crate) fn without(private: impl IntoIterator<Item = (PathBuf, &'static str)>) -> Self {
        let private = private.into_iter();
        let resolved = private.filter_map(|(path, what)| Some((path.canonicalize().ok()?, what)));
        Self {
            private: resolved.collect(),
            ..Self::default()
        }
    }

    /// Adds the pages in a folder.
    ///
    /// # Errors
    ///
    /// Fails if a folder can't be read, or if a limit is exceeded.
    pub(crate) fn add_pages(&mut self, folder: &Path) -> anyhow::Result<()> {
        let takes = |relative: &str| !static_files::is_hidden(relative.as_bytes());
        self.add_folder(folder, PAGES, false, &takes)
    }

    /// Adds the handlers in a folder, except for those that are built.
    ///
    /// # Errors
    ///
    /// Fails if a folder can't be read, or if a limit is exceeded.
    pub(crate) fn add_handlers(&mut self, folder: &Path) -> anyhow::Result<()> {
        if !folder.is_dir() {
            return Ok(());
        }
        let (handlers, problems) = reload::handler_files(folder);
        self.left_out.extend(problems);
        for file in handlers {
            let path = folder.join(&file);
            let name = format!("{HANDLERS}/{file}");
            if path.is_dir() {
                self.add_folder(&path, &name, true, &reload::is_application_file)?;
            } else {
                self.add(name, path)?;
            }
        }
        Ok(())
    }

    /// Adds the result of a build as the handler `name`, in place of a file of this name.
    ///
    /// # Errors
    ///
    /// Fails if the name can't be one of a bundle.
    pub(crate) fn add_built(&mut self, name: &str, artifact: PathBuf) -> anyhow::Result<()> {
        self.add(format!("{HANDLERS}/{name}.wasm"), artifact)
    }

    /// Adds the runtimes for scripts.
    ///
    /// # Errors
    ///
    /// Fails if the folder can't be read, or if a limit is exceeded.
    pub(crate) fn add_runtime(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.add_folder(folder, RUNTIME, false, &|name| !name.starts_with('.'))
    }

    /// Adds the configuration file.
    ///
    /// # Errors
    ///
    /// Never fails: the name is one of a bundle.
    pub(crate) fn add_config(&mut self, path: &Path) -> anyhow::Result<()> {
        self.add(CONFIG.to_owned(), path.to_owned())
    }

    /// Returns the files, sorted by name.
    pub(crate) fn files(&self) -> impl Iterator<Item = Collected> + '_ {
        self.files.iter().map(|(name, path)| Collected {
            name: name.clone(),
            path: path.clone(),
        })
    }

    fn add_folder(
        &mut self,
        folder: &Path,
        name: &str,
        links_lead_out: bool,
        takes: Takes<'_>,
    ) -> anyhow::Result<()> {
        let Ok(within) = folder.canonicalize() else {
            return Ok(());
        };
        let walk = Walk {
            within: &within,
            links_lead_out,
            takes,
        };
        self.enter(walk, folder, name, "", &mut vec![within.clone()])
    }

    /// Adds what is below `folder`, which is `below` the folder that is walked, and has the name
    /// `name` in the bundle. `way` has the folders that lead to it.
    fn enter(
        &mut self,
        walk: Walk<'_>,
        folder: &Path,
        name: &str,
        below: &str,
        way: &mut Vec<PathBuf>,
    ) -> anyhow::Result<()> {
        let shown = || format!("{} can't be read", folder.display());
        ensure!(
            way.len() <= MAX_DEPTH,
            "{}: has more than {MAX_DEPTH} folders in each other",
            folder.display()
        );
        for entry in fs::read_dir(folder).with_context(shown)? {
            let entry = entry.with_context(shown)?;
            let path = entry.path();
            let Some(file) = entry.file_name().to_str().map(str::to_owned) else {
                bail!("{}: its name is not UTF-8: rename it", path.display());
            };
            let relative = match below {
                "" => file.clone(),
                _ => format!("{below}/{file}"),
            };
            if !(walk.takes)(&relative) {
                continue;
            }
            let name = format!("{name}/{file}");
            let (Ok(real), Ok(metadata)) = (path.canonicalize(), path.metadata()) else {
                self.leave_out(&path, "a link to nothing, or not accessible");
                continue;
            };
            let is_inside = real.starts_with(walk.within);
            if metadata.is_dir() {
                if !is_inside || way.contains(&real) {
                    self.leave_out(&path, "a link to a folder elsewhere");
                } else if let Some(what) = self.is_private(&real) {
                    self.leave_out(&path, what);
                } else {
                    way.push(real);
                    self.enter(walk, &path, &name, &relative, way)?;
                    way.pop();
                }
            } else if !metadata.is_file() {
                self.leave_out(&path, "neither a file nor a folder");
            } else if !is_inside && !walk.links_lead_out {
                self.leave_out(&path, "a link that leads out of the folder");
            } else {
                self.add(name, path)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: String, path: PathBuf) -> anyhow::Result<()> {
        if let Some(what) = path
            .canonicalize()
            .ok()
            .and_then(|real| self.is_private(&real))
        {
            self.leave_out(&path, what);
            return Ok(());
        }
        if let Err(why) = name::check(&name) {
            bail!("{}: its name {why}: rename it", path.display());
        }
        ensure!(
            self.files.len() < MAX_FILES,
            "the site has more than {MAX_FILES} files, the limit of a bundle"
        );
        self.files.insert(name, path);
        Ok(())
    }

    fn is_private(&self, real: &Path) -> Option<&'static str> {
        let found = self.private.iter().find(|(path, _)| real.starts_with(path));
        found.map(|(_, what)| *what)
    }

    fn leave_out(&mut self, path: &Path, why: &str) {
        self.left_out.push(format!("{}: {why}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn site(files: &[&str]) -> tempfile::TempDir {
        let site = tempfile::tempdir().expect("a folder");
        for name in files {
            let path = site.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, name).expect("written");
        }
        site
    }

    fn names(collection: &Collection) -> Vec<String> {
        collection.files().map(|file| file.name).collect()
    }

    #[test]
    fn pages_that_are_never_served_are_not_in_a_bundle() {
        let site = site(&[
            "html/index.html",
            "html/index.html.br",
            "html/.env",
            "html/.git/config",
            "html/.well-known/security.txt",
            "html/a/old.html~",
            "html/keys/key.pem",
            "html/real/page",
            "secret",
        ]);
        let html = site.path().join("html");
        for (target, link) in [
            ("index.html", "inside"),
            ("../secret", "outside"),
            ("..", "parent"),
            ("real", "folder"),
            (".", "loop"),
            ("nowhere", "dangling"),
        ] {
            symlink(target, html.join(link)).expect("linked");
        }
        let private = [(html.join("keys"), "a private key")];
        let mut collection = Collection::without(private);
        collection.add_pages(&html).expect("collected");
        assert_eq!(
            names(&collection),
            [
                "html/.well-known/security.txt",
                "html/folder/page",
                "html/index.html",
                "html/index.html.br",
                "html/inside",
                "html/real/page",
            ]
        );
        collection.left_out.sort();
        let left_out = collection.left_out.join("\n");
        for (file, why) in [
            ("dangling", "a link to nothing, or not accessible"),
            ("keys", "a private key"),
            ("loop", "a link to a folder elsewhere"),
            ("outside", "a link that leads out of the folder"),
            ("parent", "a link to a folder elsewhere"),
        ] {
            let line = format!("{}: {why}", html.join(file).display());
            assert!(left_out.contains(&line), "{left_out}");
        }
    }

    #[test]
    fn handlers_are_in_a_bundle_without_their_sources() {
        let site = site(&[
            "handlers/hello.wasm",
            "handlers/users/[id].py",
            "handlers/_off.wasm",
            "handlers/.env",
            "handlers/rust/Cargo.toml",
            "handlers/rust/src/lib.rs",
            "handlers/notes.txt",
            "handlers/app/app.py",
            "handlers/app/.env",
            "handlers/app/templates/a.html",
            "handlers/app/__pycache__/app.pyc",
            "handlers/app/.packages/six.py",
            "handlers/app/.packages/__pycache__/six.pyc",
            "handlers/js/package.json",
            "handlers/js/index.js",
            "handlers/js/node_modules/a/index.js",
            "handlers/js/node_modules/.bin/tool",
            "out/rust.wasm",
        ]);
        let mut collection = Collection::default();
        collection
            .add_handlers(&site.path().join("handlers"))
            .expect("collected");
        collection
            .add_built("rust", site.path().join("out/rust.wasm"))
            .expect("collected");
        assert_eq!(
            names(&collection),
            [
                "handlers/app/.packages/six.py",
                "handlers/app/app.py",
                "handlers/app/templates/a.html",
                "handlers/hello.wasm",
                "handlers/js/index.js",
                "handlers/js/node_modules/a/index.js",
                "handlers/js/package.json",
                "handlers/rust.wasm",
                "handlers/users/[id].py",
            ]
        );
        assert_eq!(collection.left_out.len(), 1, "{:?}", collection.left_out);
        assert!(collection.left_out[0].contains("notes.txt"));
    }
}
