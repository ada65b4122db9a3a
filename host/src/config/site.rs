//! Where a site's folders are.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::{file_kind, units};

/// The section `[site]` of `wasgi.toml`. A path in there is seen from the file's own folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Site {
    /// The folder of pages; `html` in the site's folder if it isn't set.
    pub root: Option<PathBuf>,
    /// The folder of handlers; `handlers` in the site's folder if it isn't set.
    pub handlers: Option<PathBuf>,
    /// Where compiled handlers are kept, so that a restart need not compile; `none` for nowhere,
    /// and `wasgi/code` in the user's cache folder if it isn't set.
    pub code_cache: Option<PathBuf>,
    /// The folder of the runtimes for scripts, that `cargo xtask runtime` makes; `runtime` beside
    /// the program or beside its folder if it isn't set.
    pub runtime: Option<PathBuf>,
    /// Whether the server starts although the folder of pages has the handlers or `wasgi.toml` in
    /// it, so that visitors can read them. A private key is never allowed there.
    pub allow_overlap: bool,
    /// The most that compiled handlers take on disk, in bytes; what was used least lately is
    /// removed. 2 GiB: some thousand small handlers, or thirty Python applications.
    #[serde(rename = "code-cache-size", with = "units::size")]
    pub code_cache_bytes: u64,
}

/// Where compiled handlers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeCache<'site> {
    /// The folder.
    pub folder: &'site Path,
    /// The most that they take there, in bytes on disk.
    pub max_bytes: u64,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            root: None,
            handlers: None,
            code_cache: None,
            runtime: None,
            allow_overlap: false,
            code_cache_bytes: 2 << 30,
        }
    }
}

/// The word for having no cache of compiled handlers.
const NO_CACHE: &str = "none";

impl Site {
    /// Has relative paths start at `folder`.
    pub(super) fn start_at(&mut self, folder: &Path) {
        let code_cache = self
            .code_cache
            .as_mut()
            .filter(|path| path.as_os_str() != NO_CACHE);
        for path in [
            self.root.as_mut(),
            self.handlers.as_mut(),
            self.runtime.as_mut(),
            code_cache,
        ]
        .into_iter()
        .flatten()
        {
            *path = within(folder, path);
        }
    }

    /// Fills in what isn't set, for the site in `folder`.
    pub(super) fn settle(&mut self, folder: &Path) {
        let default = |name: &str| within(folder, Path::new(name));
        self.root.get_or_insert_with(|| default("html"));
        self.handlers.get_or_insert_with(|| default("handlers"));
        self.code_cache = self.code_cache.take().or_else(default_code_cache);
    }

    /// The folder of pages.
    pub fn root(&self) -> &Path {
        self.root.as_deref().unwrap_or(Path::new("html"))
    }

    /// The folder of handlers.
    pub fn handlers(&self) -> &Path {
        self.handlers.as_deref().unwrap_or(Path::new("handlers"))
    }

    /// The folder of the runtimes for scripts, if there is one.
    pub fn runtime(&self) -> Option<PathBuf> {
        self.runtime.clone().or_else(default_runtime)
    }

    /// Where compiled handlers are kept, if they are to be.
    pub fn code_cache(&self) -> Option<CodeCache<'_>> {
        let folder = self.code_cache.as_deref()?;
        (folder != NO_CACHE).then_some(CodeCache {
            folder,
            max_bytes: self.code_cache_bytes,
        })
    }
}

/// The folder of compiled handlers for who doesn't say. None where the user has no folder at all.
fn default_code_cache() -> Option<PathBuf> {
    // The XDG base directory specification: a relative path there is to be ignored.
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let absolute = |path: &PathBuf| path.is_absolute();
    let caches = set("XDG_CACHE_HOME")
        .filter(absolute)
        .or_else(|| set("HOME").filter(absolute).map(|home| home.join(".cache")))?;
    Some(caches.join("wasgi").join("code"))
}

/// The folder of the runtimes for who doesn't say: beside the program, or beside the folder that it
/// is in.
fn default_runtime() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    [folder.join("runtime"), folder.join("../runtime")]
        .into_iter()
        .find(|folder| folder.is_dir())
}

/// A path seen from a folder; as it is for the current one, so that messages stay short.
pub(super) fn within(folder: &Path, path: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() || folder == "." {
        path.into()
    } else {
        folder.join(path)
    }
}

/// Checks that the site's folder is none of the files that people name in its place.
///
/// # Errors
///
/// It is a file; the line says what to do with it.
pub(super) fn check_folder(site: &Path) -> anyhow::Result<()> {
    if site.metadata().is_ok_and(|found| found.is_file()) {
        bail!("{}", not_a_folder(site, &beginning(site)));
    }
    Ok(())
}

/// A file's first bytes; none where it can't be read.
fn beginning(file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let limit = file_kind::LOOK_BYTES as u64;
    // What was read until an error is as good as it gets.
    let _ = File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    bytes
}

/// What to do with a file that is named in place of a site.
fn not_a_folder(file: &Path, bytes: &[u8]) -> String {
    let shown = file.display();
    let extension = file
        .extension()
        .and_then(|it| it.to_str())
        .unwrap_or_default();
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let is_handler = bytes.starts_with(b"\0asm") || ["wasm", "wat"].contains(&extension);
    let foreign = file_kind::of(bytes);
    let what = match (extension, foreign) {
        _ if is_handler && foreign.is_none() => format!(
            "put it into SITE/handlers, then `wasgi serve SITE`; `wasgi run {shown}` sends it one \
             request"
        ),
        ("toml", _) => format!(
            "name its folder, `wasgi serve {}`, or `--config {shown}`",
            folder.display()
        ),
        ("html" | "htm" | "css" | "js", _) => {
            "put it into SITE/html, then `wasgi serve SITE`".to_owned()
        }
        (_, Some(foreign)) => format!(
            "{}, not WebAssembly: {}; SITE is the folder that holds html/ and handlers/",
            foreign.name, foreign.advice
        ),
        ("py", None) => "`python -m wasgi build MODULE:APP -o SITE/handlers/NAME.wasm` makes a \
                         handler of it, then `wasgi serve SITE`"
            .to_owned(),
        _ => "name the folder that holds html/ and handlers/".to_owned(),
    };
    format!("{shown} is a file: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_place_of_a_site_is_told_with_what_to_do() {
        for (file, bytes, said) in [
            (
                "hello.wasm",
                &b"\0asm"[..],
                "hello.wasm is a file: put it into SITE/handlers, then `wasgi serve SITE`",
            ),
            ("hello", b"\0asm", "put it into SITE/handlers"),
            (
                "a/wasgi.toml",
                b"",
                "`wasgi serve a`, or `--config a/wasgi.toml`",
            ),
            ("wasgi.toml", b"", "name its folder, `wasgi serve .`"),
            ("index.html", b"<!doctype html>", "put it into SITE/html"),
            (
                "app.py",
                b"import os",
                "`python -m wasgi build MODULE:APP -o SITE/handlers/",
            ),
            (
                "a.whl",
                b"PK\x03\x04",
                "a zip archive, such as a wheel, not WebAssembly",
            ),
            ("hello.wasm", b"\x7fELF", "an ELF program, not WebAssembly"),
            (
                "notes.txt",
                b"notes",
                "name the folder that holds html/ and handlers/",
            ),
        ] {
            let told = not_a_folder(Path::new(file), bytes);
            assert!(told.contains(said), "{told}");
        }
    }

    #[test]
    fn a_folder_holds_both_and_each_can_be_elsewhere() {
        let mut site = Site {
            root: Some("www".into()),
            code_cache: Some("none".into()),
            ..Site::default()
        };
        site.start_at(Path::new("/etc/wasgi"));
        site.settle(Path::new("/srv"));
        assert_eq!(site.root(), Path::new("/etc/wasgi/www"));
        assert_eq!(site.handlers(), Path::new("/srv/handlers"));
        assert_eq!(site.code_cache(), None);
    }

    #[test]
    fn the_current_folder_has_no_name() {
        let mut site = Site::default();
        site.settle(Path::new("."));
        assert_eq!(site.root(), Path::new("html"));
    }
}
