//! Builds the demo site's handlers to `handlers/`, where the server serves them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};
use processes::step;

use crate::handlers::{self, Built};
use crate::record::Record;
use crate::toolchain::{CommandToolchains, GuestToolchain};
use crate::workspace::{Demo, HANDLERS, Workspace};

/// Builds the handlers with these names, or all if there are no names. Returns one line for each
/// that was not built; a failure doesn't prevent the others from being built.
///
/// # Errors
///
/// Fails if there is no handler of a name, no toolchain for Rust, or a file can't be written.
pub fn build(workspace: &Workspace, names: &[OsString]) -> Result<Vec<String>> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    let mut found = workspace.demos();
    let (mut c_demos, mut go_demos) = (workspace.c_demos(), workspace.go_demos());
    let all_files = file_names(&found.demos, &[&c_demos, &go_demos]);
    let mut selection = Selection::new(names);
    found.demos.retain(|demo| {
        let folder = demo.folder().file_name().unwrap_or_default();
        selection.includes(&[&demo.route, &demo.package, &folder.to_string_lossy()])
    });
    c_demos.retain(|(name, _)| selection.includes(&[name]));
    go_demos.retain(|(name, _)| selection.includes(&[name]));
    found.problems.retain(|line| selection.includes_line(line));
    selection.check()?;
    let mut failures = found.problems;
    let mut record = Record::read(&workspace.root)?;
    let mut add = |built: Built| {
        for (file, source) in &built.files {
            record.note(file, source);
        }
        failures.extend(built.failures);
    };
    add(handlers::build_demos(workspace, &toolchain, &found.demos)?);
    if !c_demos.is_empty() || !go_demos.is_empty() {
        let toolchains = CommandToolchains::find(workspace);
        toolchains.print_missing();
        toolchains.for_each(&c_demos, &go_demos, |sources, compile| {
            add(handlers::build_commands(workspace, sources, compile)?);
            Ok(())
        })?;
    }
    for (file, source) in record.orphans(&workspace.root, |file| all_files.contains(file)) {
        step(format!(
            "{file}: still served, but {source} no longer builds it; delete it with `rm '{file}'`"
        ));
    }
    record.write(&workspace.root)?;
    Ok(failures)
}

/// Returns the names of the files that handlers are built to.
fn file_names(demos: &[Demo], commands: &[&[(String, PathBuf)]]) -> BTreeSet<String> {
    let routes = demos.iter().map(|demo| &demo.route);
    let commands = commands
        .iter()
        .flat_map(|commands| commands.iter().map(|(name, _)| name));
    routes
        .chain(commands)
        .map(|name| format!("{HANDLERS}/{name}.wasm"))
        .collect()
}

/// The handlers that a user named, or all.
struct Selection<'n> {
    names: &'n [OsString],
    /// The names that belong to a handler.
    matched: BTreeSet<&'n OsString>,
    /// The main name of each handler.
    known: Vec<String>,
}

impl<'n> Selection<'n> {
    /// Selects the handlers with these names, or all if there are no names.
    fn new(names: &'n [OsString]) -> Self {
        Self {
            names,
            matched: BTreeSet::new(),
            known: Vec::new(),
        }
    }

    /// Returns whether a handler with these names is selected. The first one is its main name.
    fn includes(&mut self, aliases: &[&str]) -> bool {
        self.known
            .extend(aliases.first().map(|&name| name.to_owned()));
        self.includes_any(|name| aliases.iter().any(|alias| name == alias))
    }

    /// Returns whether a line about a handler that can't be built concerns a selected handler.
    fn includes_line(&mut self, line: &str) -> bool {
        self.includes_any(|name| {
            let folder = format!("{HANDLERS}/{}/", name.to_string_lossy());
            line.contains(&folder)
        })
    }

    fn includes_any(&mut self, is_it: impl Fn(&OsString) -> bool) -> bool {
        let matched: Vec<_> = self.names.iter().filter(|name| is_it(name)).collect();
        let is_included = self.names.is_empty() || !matched.is_empty();
        self.matched.extend(matched);
        is_included
    }

    /// Fails if a name matched no handler.
    fn check(&self) -> Result<()> {
        let unknown = self.names.iter().find(|name| !self.matched.contains(name));
        let Some(name) = unknown else { return Ok(()) };
        bail!(
            "{HANDLERS}/: there is no handler {}; the handlers are {}",
            name.display(),
            self.known.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_selected_by_each_of_its_names_and_an_unknown_name_is_an_error() {
        let names = ["users".into(), "nothing".into()];
        let mut selection = Selection::new(&names);
        assert!(selection.includes(&["users/[id]", "user", "users"]));
        assert!(!selection.includes(&["hello"]));
        assert!(!selection.includes_line("handlers/hello/Cargo.toml: no library"));
        let error = selection.check().expect_err("`nothing` is unknown");
        let expected = "handlers/: there is no handler nothing; the handlers are users/[id], hello";
        assert_eq!(error.to_string(), expected);
        assert!(selection.includes_line("handlers/nothing/Cargo.toml: no library"));
        selection.check().expect("each name matched");
    }

    #[test]
    fn without_names_every_handler_is_selected() {
        let mut selection = Selection::new(&[]);
        assert!(selection.includes(&["hello"]));
        assert!(selection.includes_line("handlers/hello/Cargo.toml: no library"));
        selection.check().expect("there are no names");
    }
}
