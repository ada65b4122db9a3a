//! The kinds of projects, and how each is recognised.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;

use crate::regular_file;

/// A folder with this file is a package of Cargo.
const CARGO: &str = "Cargo.toml";

/// A folder with this file is a module of Go.
const GO: &str = "go.mod";

/// A folder with this file is built by make.
const MAKE: &str = "Makefile";

/// A folder with this file is a package of npm.
const NPM: &str = "package.json";

/// The maximum size of a `package.json`, in bytes: npm's largest have some tens of KiB.
const MAX_PACKAGE_BYTES: u64 = 1 << 20;

/// A kind of project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProjectKind {
    /// A package of Cargo: a component for `wasm32-wasip2`.
    Cargo,
    /// A file in Rust: a component, with the SDK as its dependency.
    RustFile,
    /// A module of Go: a CGI program for `wasip1`.
    Go,
    /// A file in Go: a CGI program for `wasip1`.
    GoFile,
    /// A file in C: a CGI program.
    CFile,
    /// A folder with a Makefile, which makes the file named by the variable `OUT`.
    Make,
    /// A package of npm with a script `build`, whose output is served from its folder.
    Npm,
}

impl ProjectKind {
    /// Returns the kind of a folder with these names. `None` if it is no project, or one of npm:
    /// see [`of_package`](Self::of_package).
    pub(crate) fn of_folder<'n>(names: &(impl Iterator<Item = &'n OsStr> + Clone)) -> Option<Self> {
        let has = |file: &str| names.clone().any(|name| name == file);
        [(CARGO, Self::Cargo), (GO, Self::Go), (MAKE, Self::Make)]
            .into_iter()
            .find_map(|(file, kind)| has(file).then_some(kind))
    }

    /// Returns the kind of a JavaScript application: a project if its `package.json` has a script
    /// `build`.
    pub(crate) fn of_package(folder: &Path) -> Option<Self> {
        let package = package(folder)?;
        let build = package.get("scripts")?.get("build")?.as_str()?;
        (!build.trim().is_empty()).then_some(Self::Npm)
    }

    /// Returns the kind of a file with this extension, without the dot.
    pub(crate) fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "rs" => Some(Self::RustFile),
            "go" => Some(Self::GoFile),
            "c" => Some(Self::CFile),
            _ => None,
        }
    }

    /// Returns whether the project is a folder.
    pub(crate) const fn is_folder(self) -> bool {
        matches!(self, Self::Cargo | Self::Go | Self::Make | Self::Npm)
    }

    /// Returns whether a build results in a file that is served.
    pub(crate) const fn has_artifact(self) -> bool {
        !matches!(self, Self::Npm)
    }

    /// Returns whether Cargo builds it. Cargo builds one of a target folder at a time.
    pub(crate) const fn is_of_cargo(self) -> bool {
        matches!(self, Self::Cargo | Self::RustFile)
    }

    /// Returns the program that builds it, as it is named on a command line.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Cargo | Self::RustFile => "cargo",
            Self::Go | Self::GoFile => "go",
            Self::CFile => "clang",
            Self::Make => "make",
            Self::Npm => "npm",
        }
    }
}

/// Returns the content of the `package.json` in a folder, if it is valid.
pub(super) fn package(folder: &Path) -> Option<Value> {
    let text = regular_file::read(&folder.join(NPM), MAX_PACKAGE_BYTES).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_is_known_by_its_manifest() {
        let kind = |names: &[&str]| ProjectKind::of_folder(&names.iter().map(OsStr::new));
        assert_eq!(kind(&["Makefile", "Cargo.toml"]), Some(ProjectKind::Cargo));
        assert_eq!(kind(&["main.go", "go.mod"]), Some(ProjectKind::Go));
        assert_eq!(kind(&["a.c", "Makefile"]), Some(ProjectKind::Make));
        assert_eq!(kind(&["package.json"]), None);
        assert_eq!(kind(&[]), None);
    }

    #[test]
    fn a_package_of_npm_is_a_project_if_it_has_a_build() {
        let folder = tempfile::tempdir().expect("a folder");
        for (text, kind) in [
            (
                r#"{"scripts": {"build": "esbuild a.ts"}}"#,
                Some(ProjectKind::Npm),
            ),
            (r#"{"scripts": {"test": "node t.js"}}"#, None),
            (r#"{"scripts": {"build": " "}}"#, None),
            (r#"{"scripts": [7]}"#, None),
            ("{", None),
        ] {
            fs::write(folder.path().join(NPM), text).expect("written");
            assert_eq!(ProjectKind::of_package(folder.path()), kind, "{text}");
        }
    }
}
