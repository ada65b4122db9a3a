//! The folders of a site.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::engine::CacheFolder;
use crate::reload::projects::Places;
use crate::{file_kind, units};

/// The section `[site]` of `wasgi.toml`. Relative paths in it start at the file's folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Site {
    /// The folder of pages; defaults to `html` in the site's folder.
    pub root: Option<PathBuf>,
    /// The folder of handlers; defaults to `handlers` in the site's folder.
    pub handlers: Option<PathBuf>,
    /// The cache folder of compiled handlers, so that a restart need not compile them. `none`
    /// disables the cache. Defaults to `wasgi/code` in the user's cache folder.
    pub code_cache: Option<PathBuf>,
    /// The folder of runtimes for scripts, created by `cargo xtask runtime`. Defaults to `runtime`
    /// next to the program or next to the program's folder.
    pub runtime: Option<PathBuf>,
    /// Whether the server builds the projects in the folder of handlers when they change.
    pub build: bool,
    /// Whether the server starts even if the folder of pages contains the handlers or `wasgi.toml`,
    /// so that visitors can read them. A private key is never allowed there.
    pub allow_overlap: bool,
    /// Whether the site itself answers requests to hosts that are no virtual hosts. Otherwise they
    /// get 421 (Misdirected Request).
    pub default_host: bool,
    /// The maximum disk space of compiled handlers, in bytes; the least recently used are removed.
    /// 2 GiB: some thousand small handlers, or thirty Python applications.
    #[serde(rename = "code-cache-size", with = "units::size")]
    pub code_cache_bytes: u64,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            root: None,
            handlers: None,
            code_cache: None,
            runtime: None,
            build: false,
            allow_overlap: false,
            default_host: true,
            code_cache_bytes: 2 << 30,
        }
    }
}

/// The value that disables the cache of compiled handlers.
const NO_CACHE: &str = "none";

impl Site {
    /// Resolves relative paths against `folder`.
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

    /// Fills in unset values for the site in `folder`.
    pub(super) fn settle(&mut self, folder: &Path) {
        let default = |name: &str| within(folder, Path::new(name));
        self.root.get_or_insert_with(|| default("html"));
        self.handlers.get_or_insert_with(|| default("handlers"));
        self.code_cache = self.code_cache.take().or_else(default_code_cache);
    }

    /// Returns the folder of pages.
    pub fn root(&self) -> &Path {
        self.root.as_deref().unwrap_or(Path::new("html"))
    }

    /// Returns the folder of handlers.
    pub fn handlers(&self) -> &Path {
        self.handlers.as_deref().unwrap_or(Path::new("handlers"))
    }

    /// Returns the folder of the runtimes for scripts, if it is set or found.
    pub fn runtime(&self) -> Option<PathBuf> {
        self.runtime.clone().or_else(default_runtime)
    }

    /// Returns where the projects of the folder of handlers are built. `None` if the user has no
    /// home or cache folder.
    pub(crate) fn builds(&self) -> Option<Places> {
        Some(Places::new(&builds_folder()?, self.handlers()))
    }

    /// Returns the cache of compiled handlers, unless it is disabled.
    pub fn code_cache(&self) -> Option<CacheFolder<'_>> {
        let folder = self.code_cache.as_deref()?;
        (folder != NO_CACHE).then_some(CacheFolder {
            folder,
            max_bytes: self.code_cache_bytes,
        })
    }
}

/// Returns the default folder of builds. None if the user has no home or cache folder.
pub(crate) fn builds_folder() -> Option<PathBuf> {
    Some(user_caches()?.join("wasgi").join("projects"))
}

/// Returns the default folder of compiled handlers. None if the user has no home or cache folder.
fn default_code_cache() -> Option<PathBuf> {
    Some(user_caches()?.join("wasgi").join("code"))
}

/// Returns the default folder of unpacked bundles. None if the user has no home or cache folder.
pub(crate) fn default_bundle_cache() -> Option<PathBuf> {
    Some(user_caches()?.join("wasgi").join("bundles"))
}

/// Returns the default folder of artifacts from registries. None if the user has no home or cache
/// folder.
pub(super) fn default_oci_store() -> Option<PathBuf> {
    Some(user_caches()?.join("wasgi").join("oci"))
}

/// Returns the user's cache folder.
fn user_caches() -> Option<PathBuf> {
    // The XDG base directory specification requires ignoring a relative path there.
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let absolute = |path: &PathBuf| path.is_absolute();
    set("XDG_CACHE_HOME")
        .filter(absolute)
        .or_else(|| set("HOME").filter(absolute).map(|home| home.join(".cache")))
}

/// Returns the default folder of the runtimes: next to the program, next to the program's folder,
/// or where a package installs them.
fn default_runtime() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    ["runtime", "../runtime", "../lib/wasgi/runtime"]
        .into_iter()
        .map(|place| folder.join(place))
        .find(|folder| folder.is_dir())
}

/// Resolves a path against a folder. The path stays unchanged for the current folder, so that
/// messages stay short.
pub(super) fn within(folder: &Path, path: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() || folder == "." {
        path.into()
    } else {
        folder.join(path)
    }
}

/// Checks that the site is not a file.
///
/// # Errors
///
/// Fails if it is a file, with advice on its use.
pub(super) fn check_folder(site: &Path) -> anyhow::Result<()> {
    if site.metadata().is_ok_and(|found| found.is_file()) {
        bail!("{}", not_a_folder(site, &beginning(site)));
    }
    Ok(())
}

/// Reads a file's first bytes; empty if it cannot be read.
fn beginning(file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let limit = file_kind::LOOK_BYTES as u64;
    // After an error, the bytes read so far are used.
    let _ = File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    bytes
}

/// Describes how to use a file that was given instead of a site.
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
    let foreign = file_kind::identify(bytes);
    let what = match (extension, foreign) {
        _ if is_handler && foreign.is_none() => format!(
            "put it into SITE/handlers, then `wasgi serve SITE`; `wasgi run {shown}` sends it one \
             request"
        ),
        ("toml", _) => format!(
            "name its folder, `wasgi serve {}`, or `--config {shown}`",
            folder.display()
        ),
        ("js" | "mjs", _) => {
            "put a handler into SITE/handlers, and a page's script into SITE/html, then `wasgi serve \
             SITE`"
                .to_owned()
        }
        ("html" | "htm" | "css", _) => {
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
    fn a_file_instead_of_a_site_is_rejected_with_advice() {
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
    fn a_site_holds_both_folders_unless_they_are_set() {
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
