//! `wasgi deps`: installs the packages of applications.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use super::site::find_handler;
use crate::cli;
use crate::deps::{self, Installer};
use crate::engine::Engine;
use crate::printable;
use crate::reload;

/// Runs `wasgi deps`: installs the packages of each application. Returns exit code 1 if those of
/// one of them can't be installed.
///
/// # Errors
///
/// Fails if the configuration is invalid, if an application does not exist, or if there is no
/// installer.
pub fn deps(arguments: &cli::Deps) -> anyhow::Result<ExitCode> {
    let config = arguments.site.load()?.config;
    let handlers = config.site.handlers();
    let applications = match arguments.applications.is_empty() {
        true => reload::applications(handlers),
        false => named(arguments, handlers)?,
    };
    if applications.is_empty() {
        let shown = handlers.display();
        bail!("{shown}: there is no application in a folder, and only those have packages");
    }
    let installer = Installer::find()?;
    let engine = Engine::new(&config.budget, &config.compile, config.site.code_cache())?
        .with_runtime(config.site.runtime().as_deref());
    let mut code = ExitCode::SUCCESS;
    for application in applications {
        let shown = application.display().to_string();
        let shown = printable::one_line(&shown);
        match deps::install(&application, &installer, &engine) {
            Ok(installed) => println!("{shown}: {}", printable::one_line(&installed.to_string())),
            Err(error) => {
                code = ExitCode::FAILURE;
                let told = format!("{error:#}");
                eprintln!("{shown}: not installed: {}", printable::one_line(&told));
            }
        }
    }
    Ok(code)
}

/// Returns the folders of the applications that are named.
fn named(arguments: &cli::Deps, handlers: &std::path::Path) -> anyhow::Result<Vec<PathBuf>> {
    let find = |name: &PathBuf| {
        let found = find_handler(name, handlers)?;
        match found.is_dir() {
            true => Ok(found),
            false => bail!(
                "{}: a handler in one file, which has no packages; put it into a folder as app.py",
                found.display()
            ),
        }
    };
    arguments.applications.iter().map(find).collect()
}
