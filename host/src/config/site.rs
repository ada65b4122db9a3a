//! Where a site's folders are.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::units;

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
        for path in [self.root.as_mut(), self.handlers.as_mut(), code_cache]
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

/// A path seen from a folder; as it is for the current one, so that messages stay short.
pub(super) fn within(folder: &Path, path: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() || folder == "." {
        path.into()
    } else {
        folder.join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
