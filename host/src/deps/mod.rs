//! `wasgi deps`: installs the packages of applications in folders.
//!
//! The packages that an application's `requirements.txt` or `pyproject.toml` names are downloaded
//! by an installer of the user's machine (`installer`), as wheels only, so that no code of a
//! package runs outside a sandbox. They go to a new folder beside the application's files, are
//! inspected (`packages`), and replace the earlier ones as a whole (`replace`).
//!
//! The installer, the requirements and the downloads are input: each has a limit, and a failure
//! leaves the earlier packages in place.

mod installer;
mod packages;
mod replace;
mod requirements;
mod sandbox;

use std::fmt;
use std::path::Path;

use anyhow::{Context, bail};

use crate::engine::{Engine, PACKAGES};
pub(crate) use installer::Installer;
use packages::Packages;
use replace::Staging;
use requirements::Requirements;

/// The version of the sandbox's Python. A test compares it with the one of the Python SDK.
const PYTHON: &str = "3.14";

/// What was installed for one application.
#[derive(Debug)]
pub(crate) enum Installed {
    /// It requires no packages.
    Nothing,
    /// These packages.
    Packages {
        /// The number of packages.
        count: usize,
        /// The packages whose compiled modules were left out, each with the name of one.
        without_compiled: Vec<(String, String)>,
        /// Those that can't be imported without them, each with the one that it needs.
        unusable: Vec<(String, String)>,
    },
}

/// Installs the packages of the application in this folder.
///
/// # Errors
///
/// Fails if its requirements can't be read or installed, if what was installed exceeds a limit, or
/// if packages with compiled modules can't be tried in the sandbox. Then the earlier packages
/// remain.
pub(crate) fn install(
    application: &Path,
    installer: &Installer,
    engine: &Engine,
) -> anyhow::Result<Installed> {
    let Some(requirements) = Requirements::from_application(application)? else {
        return Ok(Installed::Nothing);
    };
    let staging = Staging::create(application)?;
    installer.run(&requirements, staging.folder(), &staging.packages())?;
    if !staging.packages().is_dir() {
        bail!("{installer} has installed nothing");
    }
    let packages = Packages::inspect(&staging.packages())
        .with_context(|| format!("what {installer} has installed"))?;
    let mut unusable = Vec::new();
    if packages.has_compiled() {
        packages.empty_compiled_modules()?;
        unusable = sandbox::import(engine, &packages, staging.folder())?;
    }
    let is_unusable = |name: &str| unusable.iter().any(|(unusable, _)| unusable == name);
    let mut without_compiled = packages.compiled();
    without_compiled.retain(|(name, _)| !is_unusable(name));
    let installed = Installed::Packages {
        count: packages.count(),
        without_compiled,
        unusable,
    };
    staging.replace(&application.join(PACKAGES))?;
    Ok(installed)
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("requires no packages"),
            Self::Packages {
                count,
                without_compiled,
                unusable,
            } => {
                let plural = if *count == 1 { "" } else { "s" };
                write!(f, "installed {count} package{plural}")?;
                for (package, module) in without_compiled {
                    write!(f, "; {package} without its compiled code ({module})")?;
                }
                for (package, module) in unusable {
                    write!(
                        f,
                        "; {package} can't be imported, because its compiled code ({module}) can't \
                         run in the sandbox"
                    )?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_of_the_sdk() {
        let sdk = include_str!("../../../guest-sdk/python/src/wasgi/sandbox.py");
        let (major, minor) = PYTHON.split_once('.').expect("two numbers");
        assert!(sdk.contains(&format!("PYTHON = ({major}, {minor})")));
        assert!(sdk.contains(&format!("\"python_version\": \"{PYTHON}\"")));
    }
}
