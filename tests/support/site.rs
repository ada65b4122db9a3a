//! A site to serve: a temporary folder with pages and handlers.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::guests;

/// A folder with `html/` and `handlers/` in it, gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    /// One with nothing in the two folders.
    pub(crate) fn new() -> Site {
        let site = Site::bare();
        fs::create_dir(site.html()).expect("a folder");
        fs::create_dir(site.handlers()).expect("a folder");
        site
    }

    /// An empty folder.
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

    /// Adds demo handlers, each at its own route.
    #[track_caller]
    pub(crate) fn with_demos<const N: usize>(self, routes: [&str; N]) -> Site {
        for route in routes {
            self.install(&format!("{route}.wasm"), &guests::demo(route));
        }
        self
    }

    /// Adds cases of `tests/guests/`, each at its own name.
    #[track_caller]
    pub(crate) fn with_cases<const N: usize>(self, names: [&str; N]) -> Site {
        for name in names {
            self.install(&format!("{name}.wasm"), &guests::case(name));
        }
        self
    }

    /// Adds a handler that answers with `page`, whose file is `<name>.wat`.
    pub(crate) fn with_page_handler(self, name: &str, page: &str) -> Site {
        self.write_handler(&format!("{name}.wat"), guests::page(page));
        self
    }

    /// Writes a page in its place.
    pub(crate) fn write_page(&self, name: &str, content: impl AsRef<[u8]>) {
        write(&self.html().join(name), content.as_ref());
    }

    /// Writes a handler in its place.
    pub(crate) fn write_handler(&self, name: &str, content: impl AsRef<[u8]>) {
        write(&self.handlers().join(name), content.as_ref());
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of pages.
    pub(crate) fn html(&self) -> PathBuf {
        self.path().join("html")
    }

    /// The folder of handlers.
    pub(crate) fn handlers(&self) -> PathBuf {
        self.path().join("handlers")
    }

    /// Puts a copy of `file` into the folder of handlers, whole from its first moment.
    pub(crate) fn install(&self, name: &str, file: &Path) {
        let content = fs::read(file).expect("the handler can be read");
        self.replace_handler(name, &content);
    }

    /// Writes a handler aside and renames it, so that it is whole from its first moment.
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
