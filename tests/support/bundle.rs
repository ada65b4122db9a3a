//! Bundles of sites, and the folder that they are served from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::command::{code_cache, wasgi};
use super::process::{Ended, Process};
use super::server::Server;
use super::site::Site;

/// A folder with a bundle, `site.wasgi`, and a cache of its own. Dropping it deletes the folder.
#[derive(Debug)]
pub(crate) struct Bundle {
    folder: TempDir,
}

impl Bundle {
    /// Makes a bundle of a site.
    #[track_caller]
    pub(crate) fn from_site(site: &Site) -> Bundle {
        let folder = tempfile::Builder::new().prefix("wasgi-bundle-").tempdir();
        let bundle = Bundle {
            folder: folder.expect("a temporary folder"),
        };
        bundle.replace_by(site);
        bundle
    }

    /// Makes a bundle of a site in place of this one.
    #[track_caller]
    pub(crate) fn replace_by(&self, site: &Site) {
        bundle(site, &["-o", self.text()]).expect_success();
    }

    /// Returns the bundle's path.
    pub(crate) fn path(&self) -> PathBuf {
        self.at("site.wasgi")
    }

    /// Returns a path in the bundle's folder.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the bundle's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("it can be read")
    }

    /// Writes bytes in place of the bundle, by a rename.
    pub(crate) fn replace(&self, bytes: &[u8]) {
        let aside = self.at("aside");
        fs::write(&aside, bytes).expect("written");
        fs::rename(aside, self.path()).expect("renamed");
    }

    /// Returns the folder to which it is unpacked.
    pub(crate) fn cache(&self) -> PathBuf {
        self.at("cache/wasgi/bundles")
    }

    /// Returns the unpacked versions of the bundle, sorted by name.
    pub(crate) fn unpacked(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.cache()).into_iter().flatten();
        let folders = folders.map(|entry| entry.expect("it can be read").path());
        let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
        folders.sort();
        folders
    }

    /// Runs a command with its cache.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Process::start(&mut self.command(arguments)).wait()
    }

    /// Serves it with these flags.
    #[track_caller]
    pub(crate) fn serve(&self, flags: &[&str]) -> Server {
        let mut command = self.command(&["serve", self.text(), "--addr", "127.0.0.1:0"]);
        command.arg("--code-cache").arg(code_cache()).args(flags);
        Server::started(Process::start(&mut command))
    }

    /// Returns the one line with which `wasgi routes` rejects it.
    #[track_caller]
    pub(crate) fn refusal(&self, flags: &[&str]) -> String {
        let arguments = [&["routes", self.text()], flags].concat();
        self.run(&arguments).refusal().to_owned()
    }

    /// Returns the bundle's path as text.
    pub(crate) fn text(&self) -> &'static str {
        let path = self
            .path()
            .to_str()
            .expect("a temporary path is text")
            .to_owned();
        // Tests are short.
        path.leak()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = wasgi(arguments);
        command.env("XDG_CACHE_HOME", self.at("cache"));
        command
    }
}

/// Runs `wasgi bundle` for a site.
#[track_caller]
pub(crate) fn bundle(site: &Site, flags: &[&str]) -> Ended {
    bundle_at(site.path(), flags)
}

/// Runs `wasgi bundle` for a site at a path.
#[track_caller]
pub(crate) fn bundle_at(site: &Path, flags: &[&str]) -> Ended {
    let mut command = wasgi(["bundle"]);
    command.arg(site).args(flags);
    Process::start(&mut command).wait()
}
