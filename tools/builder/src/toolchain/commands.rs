//! The toolchains of handlers that are commands: C and Go. Nothing else needs them, so handlers in
//! a language without a toolchain are skipped.

use std::path::{Path, PathBuf};

use anyhow::{Error, Result};
use processes::step;

use super::c::CToolchain;
use super::go::GoToolchain;
use crate::workspace::Workspace;

/// The toolchains of handlers in C and Go, or the reasons why they are not available.
#[derive(Debug)]
pub struct CommandToolchains {
    c: Result<CToolchain>,
    go: Result<GoToolchain>,
}

/// Compiles a handler: its source, and its output file.
pub(crate) type Compile<'a> = &'a dyn Fn(&Path, &Path) -> Result<()>;

impl CommandToolchains {
    /// Finds the installed toolchains.
    pub fn find(workspace: &Workspace) -> Self {
        Self {
            c: CToolchain::find(&workspace.root),
            go: GoToolchain::find(&workspace.target),
        }
    }

    /// Finds the toolchains, and installs those that are missing where possible.
    pub fn ensure(workspace: &Workspace) -> Self {
        Self {
            c: CToolchain::ensure(&workspace.root),
            go: GoToolchain::ensure(&workspace.target),
        }
    }

    /// Prints a line for each toolchain that is missing: the language, and the reason.
    pub fn print_missing(&self) {
        for (language, reason, place) in self.missing() {
            step(format!(
                "skipping handlers in {language}: {reason:#}; `cargo xtask setup` installs the \
                 toolchain {place}"
            ));
        }
    }

    /// Returns the missing toolchains: the language, the reason, and where it can be installed.
    fn missing(&self) -> impl Iterator<Item = (&'static str, &Error, &'static str)> {
        let c = self.c.as_ref().err();
        let go = self.go.as_ref().err();
        let c = c.map(|reason| ("C", reason, "as root on Debian"));
        let go = go.map(|reason| ("Go", reason, "from PyPI if pip is available"));
        c.into_iter().chain(go)
    }

    /// Calls `build` for the handlers of each language that has a toolchain: with their names and
    /// sources, and the function that compiles one.
    pub(crate) fn for_each(
        &self,
        in_c: &[(String, PathBuf)],
        in_go: &[(String, PathBuf)],
        mut build: impl FnMut(&[(String, PathBuf)], Compile<'_>) -> Result<()>,
    ) -> Result<()> {
        if let Ok(c) = &self.c {
            build(in_c, &|source, output| c.compile(source, output))?;
        }
        if let Ok(go) = &self.go {
            build(in_go, &|source, output| go.compile(source, output))?;
        }
        Ok(())
    }
}
