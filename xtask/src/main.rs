//! The project's commands, run as `cargo xtask <command>`: set up, build, serve, test, lint,
//! measure.
//!
//! Each is a short script around cargo. The server's own commands are in the package `wasgi`.

mod axe;
mod bench;
mod dependencies;
mod docs;
mod guest_toolchain;
mod guests;
mod hostile;
mod javascript;
mod python;
mod python_native;
mod record;
mod server;
mod tracked;
mod workspace;

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use processes::{run, step};

use crate::guest_toolchain::{CToolchain, GoToolchain, GuestToolchain};
use crate::workspace::Workspace;

/// A command of this program.
struct Task {
    name: &'static str,
    /// The arguments that may follow the name.
    arguments: &'static str,
    about: &'static str,
    run: fn(&Workspace, &[OsString]) -> Result<()>,
}

const TASKS: [Task; 18] = [
    Task {
        name: "serve",
        arguments: "[ARGS…]",
        about: "Build all, then serve html/ and handlers/; ARGS are those of `wasgi serve`",
        run: serve,
    },
    Task {
        name: "build",
        arguments: "[NAME…]",
        about: "Build the server (target/release/wasgi) and all handlers, or these handlers alone",
        run: build,
    },
    Task {
        name: "install",
        arguments: "",
        about: "Put `wasgi` on the path (cargo install), for the other commands of the README",
        run: install,
    },
    Task {
        name: "python",
        arguments: "",
        about: "Build the Python demos (handlers/{clock,flask,django,bottle}.wasm) as well",
        run: python,
    },
    Task {
        name: "python-frameworks",
        arguments: "[NAME…]",
        about: "Build and ask an application of each Python framework",
        run: python_frameworks,
    },
    Task {
        name: "python-figures",
        arguments: "[OPTIONS]",
        about: "Measure Python handlers beside gunicorn, and twenty scripts",
        run: python_figures,
    },
    Task {
        name: "python-native",
        arguments: "[--check]",
        about: "Build the compiled part of the Python SDK, or compare what is there",
        run: python_native::run,
    },
    Task {
        name: "axe",
        arguments: "",
        about: "Look at the pages with axe-core in Chromium, light and dark, phone and desktop",
        run: axe::axe,
    },
    Task {
        name: "runtime",
        arguments: "",
        about: "Build the runtime with which the server loads scripts (target/runtime)",
        run: runtime,
    },
    Task {
        name: "test",
        arguments: "[FILTER…]",
        about: "Build what the tests need, then run them, or those whose names match",
        run: test,
    },
    Task {
        name: "lint",
        arguments: "[PART]",
        about: "Check formatting, code (clippy), docs (rustdoc) and dependencies (the only PART)",
        run: lint,
    },
    Task {
        name: "docs",
        arguments: "[PAGE…]",
        about: "Run what the documents, or these pages, tell to run, in a fresh copy",
        run: docs::docs,
    },
    Task {
        name: "bench",
        arguments: "[OPTIONS]",
        about: "Measure the server beside others; --write: docs/benchmarks.md (see there)",
        run: bench::bench,
    },
    Task {
        name: "instructions",
        arguments: "",
        about: "Count the instructions of one request, beside the last count that was kept",
        run: bench::instructions,
    },
    Task {
        name: "hostile",
        arguments: "[OPTIONS]",
        about: "Drop 300 hostile files into a running server, which has to go on for others",
        run: hostile::hostile,
    },
    Task {
        name: "soak",
        arguments: "[OPTIONS]",
        about: "Ten minutes of load (--minutes N) while a hostile file is dropped in every second",
        run: hostile::soak,
    },
    Task {
        name: "churn",
        arguments: "[OPTIONS]",
        about: "Reload a handler while 6,000 folders of pages are created, renamed and removed",
        run: hostile::churn,
    },
    Task {
        name: "setup",
        arguments: "",
        about: "Only install what handlers are built with; every other command does it too",
        run: setup,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", help());
        return ExitCode::SUCCESS;
    };
    if ["help", "--help", "-h"].iter().any(|help| name == help) {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(task) = TASKS.iter().find(|task| name == task.name) else {
        eprint!(
            "xtask: there is no command {}\n\n{}",
            name.display(),
            help()
        );
        return ExitCode::from(2);
    };
    let asks_for_help = |argument: &OsString| argument == "--help" || argument == "-h";
    if task.has_own_help() {
        // They print it when they parse their arguments.
    } else if rest.first().is_some_and(asks_for_help) {
        print!("{}", task.help());
        return ExitCode::SUCCESS;
    }
    match Workspace::load().and_then(|workspace| (task.run)(&workspace, rest)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Task {
    /// Returns whether the command describes its own arguments.
    fn has_own_help(&self) -> bool {
        ["bench", "hostile", "soak", "churn"].contains(&self.name)
    }

    fn help(&self) -> String {
        let (name, arguments, about) = (self.name, self.arguments, self.about);
        format!("{about}\n\nUsage: cargo xtask {name} {arguments}\n")
    }
}

fn help() -> String {
    let mut help = String::from("Usage: cargo xtask <command>\n\nCommands:\n");
    for task in &TASKS {
        let usage = format!("{} {}", task.name, task.arguments);
        help.push_str(&format!("  {usage:<15}  {}\n", task.about));
    }
    help
}

fn setup(workspace: &Workspace, _: &[OsString]) -> Result<()> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    step(format!("handlers are built with {}", toolchain.describe()));
    if let Err(error) = CToolchain::ensure(&workspace.root) {
        step(format!("no toolchain for handlers in C: {error:#}"));
    }
    if let Err(error) = GoToolchain::ensure(&workspace.target) {
        step(format!("no toolchain for handlers in Go: {error:#}"));
    }
    Ok(())
}

/// The toolchains of handlers in C and Go, if available. Nothing else needs them.
struct Toolchains {
    c: Result<CToolchain>,
    go: Result<GoToolchain>,
}

impl Toolchains {
    fn find(workspace: &Workspace) -> Self {
        Self {
            c: CToolchain::find(&workspace.root),
            go: GoToolchain::find(&workspace.target),
        }
    }

    fn ensure(workspace: &Workspace) -> Self {
        Self {
            c: CToolchain::ensure(&workspace.root),
            go: GoToolchain::ensure(&workspace.target),
        }
    }

    /// Prints which toolchains are missing.
    fn say_what_is_missing(&self) {
        let skip = |language: &str, error: &anyhow::Error, where_possible: &str| {
            step(format!(
                "skipping the handlers in {language}: {error:#} (`cargo xtask setup` \
                 {where_possible} installs their toolchain)"
            ));
        };
        if let Err(error) = &self.c {
            skip("C", error, "as root on Debian");
        }
        if let Err(error) = &self.go {
            skip("Go", error, "where pip and PyPI are at hand");
        }
    }
}

/// Builds the server and all handlers, or some handlers. Lists failures at the end; a failure
/// doesn't prevent the rest from being built.
fn build(workspace: &Workspace, names: &[OsString]) -> Result<()> {
    let mut failures = build_handlers(workspace, names)?;
    if names.is_empty()
        && let Err(error) = javascript_runtime(workspace)
    {
        failures.push(format!("the runtime for JavaScript: {error:#}"));
    }
    if names.is_empty()
        && let Err(error) = server::build(workspace)
    {
        failures.push(format!("the server: {error:#}"));
    }
    report(&failures)
}

/// Fails if there are failures.
fn report(failures: &[String]) -> Result<()> {
    for failure in failures {
        step(format!("not built: {failure}"));
    }
    match failures.len() {
        0 => Ok(()),
        1 => bail!("1 was not built, for the reason above"),
        count => bail!("{count} were not built, for the reasons above"),
    }
}

/// Builds the handlers with these names, or all. Returns one line for each that was not built.
fn build_handlers(workspace: &Workspace, names: &[OsString]) -> Result<Vec<String>> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    let mut found = workspace.demos();
    let (mut c_demos, mut go_demos) = (workspace.c_demos(), workspace.go_demos());
    let all_files = file_names(&found.demos, &[&c_demos, &go_demos]);
    let (mut known, mut asked) = (Vec::new(), BTreeSet::new());
    let mut is_wanted = |known_as: &[&str]| {
        known.push(known_as[0].to_owned());
        let is_it = |name: &&OsString| known_as.iter().any(|one| *name == *one);
        asked.extend(names.iter().filter(is_it));
        names.is_empty() || names.iter().any(|name| is_it(&name))
    };
    found.demos.retain(|demo| {
        let folder = demo
            .folder()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        is_wanted(&[&demo.route, &demo.package, &folder])
    });
    c_demos.retain(|(name, _)| is_wanted(&[name]));
    go_demos.retain(|(name, _)| is_wanted(&[name]));
    let mut failures = Vec::new();
    for complaint in found.complaints {
        let is_in_it = |name: &&OsString| {
            complaint.contains(&format!(
                "{}/{}/",
                workspace::HANDLERS,
                name.to_string_lossy()
            ))
        };
        let named: Vec<_> = names.iter().filter(is_in_it).collect();
        if names.is_empty() || !named.is_empty() {
            asked.extend(named);
            failures.push(complaint);
        }
    }
    if let Some(name) = names.iter().find(|name| !asked.contains(name)) {
        let (name, known) = (name.display(), known.join(", "));
        bail!("there is no handler {name} in handlers/; there are {known}");
    }
    let mut record = record::Record::read(&workspace.root)?;
    let mut take = |built: guests::Built| {
        for (file, source) in &built.files {
            record.note(file, source);
        }
        failures.extend(built.failures);
    };
    take(guests::build_demos(workspace, &toolchain, &found.demos)?);
    if !c_demos.is_empty() || !go_demos.is_empty() {
        let toolchains = Toolchains::find(workspace);
        toolchains.say_what_is_missing();
        if let Ok(c) = &toolchains.c {
            let compile = |source: &_, output: &_| c.compile(source, output);
            take(guests::build_commands(workspace, &c_demos, compile)?);
        }
        if let Ok(go) = &toolchains.go {
            let compile = |source: &_, output: &_| go.compile(source, output);
            take(guests::build_commands(workspace, &go_demos, compile)?);
        }
    }
    for (file, source) in record.orphans(&workspace.root, |file| all_files.contains(file)) {
        step(format!(
            "orphan: {file} is still served, and {source} builds it no more: `rm '{file}'`"
        ));
    }
    record.write(&workspace.root)?;
    Ok(failures)
}

/// Returns the names of the files that handlers are built to.
fn file_names(demos: &[workspace::Demo], commands: &[&[(String, PathBuf)]]) -> BTreeSet<String> {
    let routes = demos.iter().map(|demo| &demo.route);
    let commands = commands
        .iter()
        .flat_map(|commands| commands.iter().map(|(name, _)| name));
    routes
        .chain(commands)
        .map(|name| format!("{}/{name}.wasm", workspace::HANDLERS))
        .collect()
}

/// Installs the server in cargo's folder for programs.
fn install(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!(
            "install takes no arguments, and {} is one",
            argument.display()
        );
    }
    step("cargo install --path host --locked");
    run(workspace
        .cargo("install")
        .args(["--path", "host", "--locked", "--force"])
        .arg("--target-dir")
        .arg(&workspace.target))
}

fn runtime(workspace: &Workspace, _: &[OsString]) -> Result<()> {
    python::build_runtime(workspace)?;
    javascript_runtime(workspace)
}

fn javascript_runtime(workspace: &Workspace) -> Result<()> {
    javascript::build_runtime(workspace, &GuestToolchain::ensure(&workspace.root)?)
}

fn python(workspace: &Workspace, _: &[OsString]) -> Result<()> {
    python::build(workspace)
}

fn python_frameworks(workspace: &Workspace, names: &[OsString]) -> Result<()> {
    let server = server::build(workspace)?;
    python::frameworks(workspace, &server, names)
}

fn python_figures(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let server = server::build(workspace)?;
    python::build_runtime(workspace)?;
    python::figures(workspace, &server, arguments)
}

fn serve(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let mut failures = build_handlers(workspace, &[])?;
    if let Err(error) = javascript_runtime(workspace) {
        failures.push(format!("the runtime for JavaScript: {error:#}"));
    }
    let server = server::build(workspace)?;
    for failure in &failures {
        step(format!("not built: {failure}"));
    }
    // Replaces this process, so that signals and the exit status are the server's.
    let error = Command::new(&server)
        .arg("serve")
        .arg(&workspace.root)
        .args(arguments)
        .exec();
    Err(error).with_context(|| format!("can't start {}", server.display()))
}

fn test(workspace: &Workspace, filters: &[OsString]) -> Result<()> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    let others = Toolchains::ensure(workspace);
    others.say_what_is_missing();
    let (c, go) = (others.c.as_ref().ok(), others.go.as_ref().ok());
    guests::build_tracked(workspace, &toolchain, c, go)?;
    guests::build_cases(workspace, &toolchain)?;
    javascript::build_runtime(workspace, &toolchain)?;
    step("cargo test --workspace");
    run(workspace
        .cargo("test")
        .args(["--workspace", "--"])
        .args(filters))?;
    if filters.is_empty() {
        python::test(workspace)?;
        check_outsiders(workspace)?;
    }
    Ok(())
}

/// Checks that the packages outside of the tests compile.
fn check_outsiders(workspace: &Workspace) -> Result<()> {
    for manifest in workspace.outsiders() {
        step(format!(
            "cargo check --manifest-path {}",
            manifest.display()
        ));
        let mut cargo = workspace.cargo("check");
        cargo
            .args(["--all-targets", "--manifest-path"])
            .arg(manifest);
        // They share a folder, since most of their dependencies are the same.
        run(cargo
            .arg("--target-dir")
            .arg(workspace.target.join("outsiders")))?;
    }
    Ok(())
}

fn lint(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    match arguments {
        [] => {}
        [part] if part == "dependencies" => return dependencies::lint(workspace),
        [part, ..] => bail!("{} is no part of the lints", part.display()),
    }
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    step("cargo fmt --check");
    run(workspace.cargo("fmt").args(["--all", "--check"]))?;
    let other_guests = workspace.other_guests();
    for manifest in workspace.outsiders().into_iter().chain(other_guests) {
        run(workspace
            .cargo("fmt")
            .args(["--check", "--manifest-path"])
            .arg(manifest))?;
    }
    step("cargo clippy");
    let strict = ["--", "--deny", "warnings"];
    run(workspace
        .cargo("clippy")
        .args(["--workspace", "--all-targets"])
        .args(strict))?;
    // Linted separately: otherwise the features of the instruction counter would be enabled for all
    // packages.
    run(workspace
        .cargo("clippy")
        .args([
            "--package",
            bench::PACKAGE,
            "--all-targets",
            "--all-features",
        ])
        .args(strict))?;
    guests::lint(workspace, &toolchain, &strict)?;
    step("cargo doc");
    let mut doc = workspace.cargo("doc");
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    run(doc.args(["--workspace", "--no-deps", "--document-private-items"]))?;
    dependencies::lint(workspace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_command() {
        let help = help();
        for task in &TASKS {
            assert!(help.contains(&format!("  {} ", task.name)), "{help}");
        }
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }
}
