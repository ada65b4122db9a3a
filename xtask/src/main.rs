//! The project's own commands, run as `cargo xtask <command>`: set-up, build, serve, test, lint,
//! measure.
//!
//! Each is a short script over cargo. What the server itself can do is in the package `wasgi`.

mod bench;
mod dependencies;
mod guest_toolchain;
mod guests;
mod hostile;
mod instructions;
mod process;
mod python;
mod workspace;

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::guest_toolchain::{CToolchain, GoToolchain, GuestToolchain};
use crate::process::{run, step};
use crate::workspace::Workspace;

/// One command of this program.
struct Task {
    name: &'static str,
    /// What may stand behind the name.
    arguments: &'static str,
    about: &'static str,
    run: fn(&Workspace, &[OsString]) -> Result<()>,
}

const TASKS: [Task; 10] = [
    Task {
        name: "serve",
        arguments: "[ARGS…]",
        about: "Build all, then serve html/ and handlers/ on http://127.0.0.1:8000/",
        run: serve,
    },
    Task {
        name: "build",
        arguments: "",
        about: "Build the server (target/release/wasgi) and the demo handlers (handlers/*.wasm)",
        run: build,
    },
    Task {
        name: "python",
        arguments: "",
        about: "Build the Python demos (handlers/{clock,flask,django,bottle}.wasm) as well",
        run: python,
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
        name: "bench",
        arguments: "[OPTIONS]",
        about: "Measure the server beside others; --write: docs/benchmarks.md (see there)",
        run: bench::bench,
    },
    Task {
        name: "instructions",
        arguments: "",
        about: "Count the instructions of one request, beside the last count that was kept",
        run: instructions::instructions,
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
    match Workspace::load().and_then(|workspace| (task.run)(&workspace, rest)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
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

/// Builds the demo handlers in C and in Go where they can be built: nothing else needs their
/// toolchains.
fn build_commands(
    workspace: &Workspace,
    c: Result<CToolchain>,
    go: Result<GoToolchain>,
) -> Result<()> {
    let skip = |language: &str, error: &anyhow::Error, where_possible: &str| {
        step(format!(
            "skipping the handlers in {language}: {error:#} (`cargo xtask setup` {where_possible} \
             installs their toolchain)"
        ));
    };
    match c {
        Ok(c) => guests::build_commands(workspace, &workspace.c_demos(), |source, output| {
            c.compile(source, output)
        })?,
        Err(error) => skip("C", &error, "as root on Debian"),
    }
    match go {
        Ok(go) => guests::build_commands(workspace, &workspace.go_demos(), |source, output| {
            go.compile(source, output)
        })?,
        Err(error) => skip("Go", &error, "where pip and PyPI are at hand"),
    }
    Ok(())
}

fn build(workspace: &Workspace, _: &[OsString]) -> Result<()> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    guests::build_demos(workspace, &toolchain)?;
    build_commands(
        workspace,
        CToolchain::find(&workspace.root),
        GoToolchain::find(&workspace.target),
    )?;
    build_server(workspace)?;
    Ok(())
}

/// Builds the server and says where it is.
fn build_server(workspace: &Workspace) -> Result<PathBuf> {
    step("building the server");
    run(workspace
        .cargo("build")
        .args(["--release", "--package", "wasgi"]))?;
    Ok(workspace.target.join("release/wasgi"))
}

fn python(workspace: &Workspace, _: &[OsString]) -> Result<()> {
    python::build(workspace)
}

fn serve(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    build(workspace, &[])?;
    let server = workspace.target.join("release/wasgi");
    // In place of this process, so that signals and the exit status are the server's own.
    let error = Command::new(&server)
        .arg("serve")
        .arg(&workspace.root)
        .args(arguments)
        .exec();
    Err(error).with_context(|| format!("can't start {}", server.display()))
}

fn test(workspace: &Workspace, filters: &[OsString]) -> Result<()> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    guests::build_demos(workspace, &toolchain)?;
    build_commands(
        workspace,
        CToolchain::ensure(&workspace.root),
        GoToolchain::ensure(&workspace.target),
    )?;
    guests::build_cases(workspace, &toolchain)?;
    step("cargo test --workspace");
    run(workspace
        .cargo("test")
        .args(["--workspace", "--"])
        .args(filters))?;
    if filters.is_empty() {
        python::test(workspace)?;
    }
    check_outsiders(workspace)
}

/// Checks that what the tests don't build builds.
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
        // One folder for all of them: most of what they need is the same.
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
    // By itself: what the counter of instructions needs is switched on for no other package.
    run(workspace
        .cargo("clippy")
        .args(["--package", bench::TOOLS, "--all-targets", "--all-features"])
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
