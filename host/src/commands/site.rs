//! Functions shared by the commands that work on a whole site.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::config::{Config, unknown_handlers};
use crate::engine::Program;
use crate::policy::Handlers;
use crate::printable;
use crate::registry::{self, RouteTable, shadowed_pages};
use crate::reload;

/// Checks that the site has at least one of its folders. One of them may be missing, and be added
/// later; if both are missing, the path is wrong, unless requests are only for virtual hosts. Logs
/// a missing folder, and the `overlaps` that are allowed.
pub(super) fn check_folders(config: &Config, overlaps: &[String]) -> anyhow::Result<()> {
    for overlap in overlaps {
        tracing::warn!("{overlap}");
    }
    if !config.site.default_host {
        return Ok(());
    }
    let (root, handlers) = (config.site.root(), config.site.handlers());
    let (root_shown, handlers_shown) = (root.display(), handlers.display());
    match (root.is_dir(), handlers.is_dir()) {
        (true, true) => {}
        (true, false) => {
            let what = missing(handlers);
            tracing::warn!("{handlers_shown}: {what}; handlers are served once it exists");
        }
        (false, true) => {
            let what = missing(root);
            tracing::warn!("{root_shown}: {what}; pages are served once it exists");
        }
        (false, false) if !config.handler_sources().is_empty() => {}
        (false, false) => bail!(
            "neither {root_shown} nor {handlers_shown} is a folder: name the folder that holds \
             them (wasgi serve SITE), or each (--root, --handlers)"
        ),
    }
    Ok(())
}

/// Describes what exists instead of a folder.
pub(super) fn missing(folder: &Path) -> &'static str {
    if folder.exists() {
        "a file, not a folder"
    } else {
        "no such folder"
    }
}

/// Logs a warning for each handler that has settings but does not exist: `[handlers.typo]`.
pub(super) fn warn_of_unknown_handlers(
    handlers: &Handlers,
    registry: &registry::Registry<Program>,
) {
    let known = registry.handler_names();
    let host = registry.host();
    let front = host.map_or(String::new(), |host| format!("hosts.{host}."));
    for (name, nearest) in unknown_handlers(handlers, &known) {
        let shown = printable::one_line(name);
        match nearest {
            Some(nearest) => tracing::warn!(
                "{front}handlers.{shown}: no such handler; did you mean {front}handlers.{nearest}?"
            ),
            None => tracing::warn!("{front}handlers.{shown}: no such handler"),
        }
    }
}

pub(super) fn route_table(root: &Path, registry: &registry::Registry<Program>) -> RouteTable {
    let mut routes = registry.route_table();
    routes.problems.extend(shadowed_pages(root, registry));
    routes
}

/// Finds the handler: at the given path, or by its name in the handlers folder. Of several handlers
/// of a name, returns the one that a server serves.
pub(super) fn find_handler(handler: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    if handler.is_file() || reload::is_application(handler) {
        return Ok(handler.to_owned());
    }
    let named = reload::EXTENSIONS.map(|extension| {
        let mut name = folder.join(handler).into_os_string();
        name.push(".");
        name.push(extension);
        PathBuf::from(name)
    });
    let is_file_name = handler.extension().is_some_and(|extension| {
        let is_it = |known: &&str| extension == *known;
        reload::EXTENSIONS.iter().any(is_it)
    });
    let in_folder = folder.join(handler);
    match named.iter().find(|file| file.is_file()) {
        Some(file) => Ok(file.clone()),
        None if reload::is_application(&in_folder) => Ok(in_folder),
        None if handler.is_dir() => bail!(
            "{} is a folder, but not an application: name a handler's file, a folder with {}, or a \
             handler's name in the handlers folder",
            handler.display(),
            reload::MARKERS.join(", ")
        ),
        None if is_file_name => bail!("there is no file {}", handler.display()),
        None => bail!(
            "there is no handler {}: neither a file of that name nor {}",
            handler.display(),
            named[0].display()
        ),
    }
}
