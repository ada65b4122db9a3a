//! The project's commands, run as `cargo xtask <command>`: set up, build, serve, test, lint,
//! measure.
//!
//! Each is a short script around cargo. The server's own commands are in the package `wasgi`.

mod bench;
mod dependencies;
mod lint;
mod package;
mod python;
mod scale;
mod tool;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Result, bail};
use builder::toolchain::{CommandToolchains, GuestToolchain};
use builder::{Workspace, handlers, javascript, server, site};
use processes::{Running, run, step};

use crate::tool::{become_program, run_tool};

/// A command of this program.
struct Task {
    name: &'static str,
    /// The arguments that may follow the name.
    arguments: &'static str,
    about: &'static str,
    run: fn(&Workspace, &[OsString]) -> Result<()>,
}

const TASKS: [Task; 25] = [
    Task {
        name: "serve",
        arguments: "[ARGS…]",
        about: "Build all, then serve the demo site; ARGS are those of `wasgi serve`",
        run: serve,
    },
    Task {
        name: "build",
        arguments: "[NAME…]",
        about: "Build the server and all handlers, or only these handlers",
        run: build,
    },
    Task {
        name: "install",
        arguments: "",
        about: "Install `wasgi` on the path (cargo install)",
        run: install,
    },
    Task {
        name: "package",
        arguments: "[--debug] [--musl] [--check]",
        about: "Build a Debian package and an archive; --check installs them",
        run: |workspace, arguments| {
            runtime(workspace, &[])?;
            package::package(workspace, arguments)
        },
    },
    Task {
        name: "python",
        arguments: "",
        about: "Build the Python demos as well",
        run: |workspace, _| builder::python::build(workspace),
    },
    Task {
        name: "python-frameworks",
        arguments: "[NAME…]",
        about: "Build an application of each Python framework, and send it requests",
        run: python::frameworks,
    },
    Task {
        name: "python-figures",
        arguments: "[OPTIONS]",
        about: "Measure Python handlers as scripts and built, beside gunicorn",
        run: python::figures,
    },
    Task {
        name: "save-figures",
        arguments: "[--prepare]",
        about: "Measure the time from saving a script to its response",
        run: python::save_figures,
    },
    Task {
        name: "python-native",
        arguments: "[--check]",
        about: "Build the compiled part of the Python SDK, or check it",
        run: |workspace, arguments| run_tool(workspace, "python-native", &[], arguments),
    },
    Task {
        name: "axe",
        arguments: "",
        about: "Check all pages with axe-core in Chromium",
        run: |workspace, arguments| run_tool(workspace, "axe", &[], arguments),
    },
    Task {
        name: "browser",
        arguments: "[--measure | --others] [FILTER]",
        about: "Test or measure `wasgi dev` in Chromium",
        run: |workspace, arguments| run_tool(workspace, "axe", &["dev"], arguments),
    },
    Task {
        name: "runtime",
        arguments: "",
        about: "Build the runtimes with which the server loads scripts",
        run: runtime,
    },
    Task {
        name: "test",
        arguments: "[FILTER…]",
        about: "Build what the tests need, and run those whose names match",
        run: test,
    },
    Task {
        name: "lint",
        arguments: "[dependencies | dockerfiles]",
        about: "Check code, Dockerfiles and dependencies, or one of the two",
        run: lint::lint,
    },
    Task {
        name: "docs",
        arguments: "[PAGE…]",
        about: "Run the commands of all documents, or of these, in a new copy",
        run: |workspace, arguments| run_tool(workspace, "doc-runner", &[], arguments),
    },
    Task {
        name: "bench",
        arguments: "[OPTIONS]",
        about: "Compare the server with others; --write updates docs/benchmarks.md",
        run: bench::bench,
    },
    Task {
        name: "instructions",
        arguments: "[OPTIONS]",
        about: "Count the instructions of a request and compare with the last count",
        run: bench::instructions,
    },
    Task {
        name: "hostile",
        arguments: "[OPTIONS]",
        about: "Drop 300 hostile files into a running server",
        run: |workspace, arguments| run_tool(workspace, "stress", &["hostile"], arguments),
    },
    Task {
        name: "upgrade",
        arguments: "[OPTIONS]",
        about: "Replace a server each second under a million requests of wrk",
        run: |workspace, arguments| run_tool(workspace, "stress", &["upgrade"], arguments),
    },
    Task {
        name: "soak",
        arguments: "[OPTIONS]",
        about: "Run ten minutes of mixed load, and compare the end with the begin",
        run: |workspace, arguments| run_tool(workspace, "stress", &["soak"], arguments),
    },
    Task {
        name: "churn",
        arguments: "[OPTIONS]",
        about: "Reload a handler while 6,000 folders of pages change",
        run: |workspace, arguments| run_tool(workspace, "stress", &["churn"], arguments),
    },
    Task {
        name: "prometheus",
        arguments: "[OPTIONS]",
        about: "Let Prometheus scrape a server under load, and ask it all queries",
        run: |workspace, arguments| run_tool(workspace, "stress", &["prometheus"], arguments),
    },
    Task {
        name: "manifests",
        arguments: "[OPTIONS]",
        about: "Check the files for HAProxy, nginx and Kubernetes, and serve by them",
        run: scale::manifests,
    },
    Task {
        name: "scale",
        arguments: "[OPTIONS]",
        about: "Restart and kill two nodes behind HAProxy, and Redis, under load",
        run: scale::rolling,
    },
    Task {
        name: "setup",
        arguments: "",
        about: "Only install the tools that handlers are built with",
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
        eprint!("xtask: unknown command {}\n\n{}", name.display(), help());
        return ExitCode::from(2);
    };
    let asks_for_help = |argument: &OsString| argument == "--help" || argument == "-h";
    if task.has_own_help() {
        // They print it when they parse their arguments.
    } else if rest.first().is_some_and(asks_for_help) {
        print!("{}", task.help());
        return ExitCode::SUCCESS;
    }
    if let ("", Some(argument)) = (task.arguments, rest.first()) {
        let argument = argument.display();
        eprintln!("xtask {}: unexpected argument {argument}", task.name);
        return ExitCode::from(2);
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
        ["bench", "hostile", "soak", "churn", "prometheus", "upgrade"].contains(&self.name)
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
        help.push_str(&format!("  {usage:<25}  {}\n", task.about));
    }
    help
}

fn setup(workspace: &Workspace, _: &[OsString]) -> Result<()> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    step(format!("handlers are built with {}", toolchain.describe()));
    CommandToolchains::ensure(workspace).print_missing();
    Ok(())
}

/// Builds the server and all handlers, or some handlers. Lists failures at the end; a failure
/// doesn't prevent the rest from being built.
fn build(workspace: &Workspace, names: &[OsString]) -> Result<()> {
    let mut failures = site::build(workspace, names)?;
    if names.is_empty() {
        failures.extend(failure(
            "the runtime for JavaScript",
            javascript_runtime(workspace),
        ));
        failures.extend(failure("the server", server::build(workspace)));
    }
    print_failures(&failures);
    match failures.len() {
        0 => Ok(()),
        1 => bail!("1 build failed; the reason is above"),
        count => bail!("{count} builds failed; the reasons are above"),
    }
}

/// Returns a line about a failed build.
fn failure<T>(what: &str, result: Result<T>) -> Option<String> {
    let error = result.err()?;
    Some(format!("{what}: {error:#}"))
}

fn print_failures(failures: &[String]) {
    for failure in failures {
        step(format!("not built: {failure}"));
    }
}

/// Installs the server in cargo's folder for programs, and the runtimes of scripts that are built
/// beside that folder, where the server finds them.
fn install(workspace: &Workspace, _: &[OsString]) -> Result<()> {
    let runtime = failure("the runtime for JavaScript", javascript_runtime(workspace));
    print_failures(runtime.as_slice());
    step("cargo install --path host --locked");
    run(workspace
        .cargo("install")
        .args(["--path", "host", "--locked", "--force"])
        .arg("--target-dir")
        .arg(&workspace.target))?;
    let Some(place) = install_root().map(|root| root.join("runtime")) else {
        return Ok(());
    };
    step(format!("runtimes of scripts: {}", place.display()));
    builder::install_folder(&workspace.target.join("runtime"), &place)
}

/// Returns the folder in whose `bin` cargo installs programs. None if the user has no home folder.
fn install_root() -> Option<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from);
    set("CARGO_INSTALL_ROOT")
        .or_else(|| set("CARGO_HOME"))
        .or_else(|| set("HOME").map(|home| home.join(".cargo")))
}

fn runtime(workspace: &Workspace, _: &[OsString]) -> Result<()> {
    builder::python::build_runtime(workspace)?;
    javascript_runtime(workspace)
}

fn javascript_runtime(workspace: &Workspace) -> Result<()> {
    javascript::build_runtime(workspace, &GuestToolchain::ensure(&workspace.root)?)
}

fn serve(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let mut failures = site::build(workspace, &[])?;
    failures.extend(failure(
        "the runtime for JavaScript",
        javascript_runtime(workspace),
    ));
    let server = server::build(workspace)?;
    print_failures(&failures);
    let mut command = Command::new(server);
    command.arg("serve").arg(&workspace.root).args(arguments);
    become_program(&mut command)
}

fn test(workspace: &Workspace, filters: &[OsString]) -> Result<()> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    let commands = CommandToolchains::ensure(workspace);
    commands.print_missing();
    // Compiled beside what they need at run time, whose builds have long parts that keep only one
    // processor busy.
    step("cargo test --workspace --no-run");
    let mut cargo = workspace.cargo("test");
    let compiling = Running::start(cargo.args(["--workspace", "--no-run"]))?;
    handlers::build_tracked(workspace, &toolchain, Some(&commands))?;
    handlers::build_cases(workspace, &toolchain)?;
    javascript::build_runtime(workspace, &toolchain)?;
    builder::python::prepare_tests(workspace)?;
    builder::collector::prepare_tests(workspace);
    compiling.finish()?;
    step("cargo test --workspace");
    let mut cargo = workspace.cargo("test");
    if env::var_os(TEST_THREADS).is_none() {
        cargo.env(TEST_THREADS, test_threads().to_string());
    }
    run(cargo.args(["--workspace", "--"]).args(filters))?;
    if filters.is_empty() {
        python::test(workspace)?;
        check_separate_packages(workspace)?;
    }
    Ok(())
}

/// The variable with the number of tests that the test runner runs at a time.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// Returns how many tests run at a time: two for each processor, because many wait most of the time
/// for a limit or a connection.
fn test_threads() -> usize {
    2 * thread::available_parallelism().map_or(1, usize::from)
}

/// Checks that the packages that are separate workspaces compile.
fn check_separate_packages(workspace: &Workspace) -> Result<()> {
    for manifest in workspace.separate_packages() {
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
