//! A site to serve: a temporary folder with pages and handlers.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::guests;

/// A folder that contains `html/` and `handlers/`. Dropping it deletes the folder.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    /// Creates a site with two empty folders.
    pub(crate) fn new() -> Site {
        let site = Site::bare();
        fs::create_dir(site.html()).expect("a folder");
        fs::create_dir(site.handlers()).expect("a folder");
        site
    }

    /// Creates an empty folder.
    pub(crate) fn bare() -> Site {
        let folder = tempfile::Builder::new().prefix("wasgi-site-").tempdir();
        Site {
            folder: folder.expect("a temporary folder"),
        }
    }

    /// Adds a page.
    pub(crate) fn with_page(self, name: &str, content: impl AsRef<[u8]>) -> Site {
        self.write_page(name, content);
        self
    }

    /// Adds demo handlers, each at its usual route.
    #[track_caller]
    pub(crate) fn with_demos<const N: usize>(self, routes: [&str; N]) -> Site {
        for route in routes {
            self.install(&format!("{route}.wasm"), &guests::demo(route));
        }
        self
    }

    /// Adds cases of `tests/guests/`, each at the route of its name.
    #[track_caller]
    pub(crate) fn with_cases<const N: usize>(self, names: [&str; N]) -> Site {
        for name in names {
            self.install(&format!("{name}.wasm"), &guests::case(name));
        }
        self
    }

    /// Adds a handler that responds with `page`, as the file `<name>.wat`.
    pub(crate) fn with_page_handler(self, name: &str, page: &str) -> Site {
        self.write_handler(&format!("{name}.wat"), guests::page(page));
        self
    }

    /// Writes a page in place.
    pub(crate) fn write_page(&self, name: &str, content: impl AsRef<[u8]>) {
        write(&self.html().join(name), content.as_ref());
    }

    /// Writes a handler in place.
    pub(crate) fn write_handler(&self, name: &str, content: impl AsRef<[u8]>) {
        write(&self.handlers().join(name), content.as_ref());
    }

    /// Returns the site's folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the folder of pages.
    pub(crate) fn html(&self) -> PathBuf {
        self.path().join("html")
    }

    /// Returns the folder of handlers.
    pub(crate) fn handlers(&self) -> PathBuf {
        self.path().join("handlers")
    }

    /// Copies `file` into the folder of handlers atomically.
    pub(crate) fn install(&self, name: &str, file: &Path) {
        let content = fs::read(file).expect("the handler can be read");
        self.replace_handler(name, &content);
    }

    /// Writes a handler to a temporary file and renames it, so that the server never sees a partial
    /// file.
    pub(crate) fn replace_handler(&self, name: &str, content: impl AsRef<[u8]>) {
        let aside = self.path().join("aside");
        fs::write(&aside, content).expect("written");
        let file = self.handlers().join(name);
        fs::create_dir_all(file.parent().expect("it is in a folder")).expect("a folder");
        fs::rename(aside, file).expect("renamed");
    }
}

fn write(file: &Path, content: &[u8]) {
    fs::create_dir_all(file.parent().expect("it is in a folder")).expect("a folder");
    fs::write(file, content).expect("written");
}
