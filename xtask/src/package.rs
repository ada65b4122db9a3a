//! `cargo xtask package`: the Debian package, and an archive for other distributions, in
//! `target/package`.
//!
//! Both contain the program, the runtimes of scripts, the manual page and the completions, which
//! are first put into the folder `release/package/wasgi` of the target folder.

mod check;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use builder::Workspace;
use processes::{run, step, text_of};

use crate::dependencies::Tool;

/// The target whose programs need no library of the system.
const MUSL: &str = "x86_64-unknown-linux-musl";

const CARGO_DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    wheel: None,
};

/// The files with completions, by shell, in the folder `share` of a system.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/wasgi"),
    ("zsh", "zsh/vendor-completions/_wasgi"),
    ("fish", "fish/vendor_completions.d/wasgi.fish"),
];

/// What to build.
#[derive(Clone, Copy, Debug, Default)]
struct Arguments {
    /// A debug build, which is quicker, for tests.
    debug: bool,
    /// A static program.
    musl: bool,
    /// Install and use the results in new systems.
    check: bool,
}

/// The results.
#[derive(Debug)]
struct Packages {
    deb: Option<PathBuf>,
    archive: PathBuf,
}

/// Builds the packages, and checks them if `--check` is among the arguments.
///
/// # Errors
///
/// Fails if something can't be built, or doesn't work in a new system.
pub(crate) fn package(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let mut options = Arguments::default();
    for argument in arguments {
        match argument.to_str() {
            Some("--debug") => options.debug = true,
            Some("--musl") => options.musl = true,
            Some("--check") => options.check = true,
            _ => bail!("unknown argument {}", argument.display()),
        }
    }
    let program = build(workspace, options)?;
    let staged = stage(workspace, &program)?;
    let packages = Packages {
        // A package of Debian uses Debian's libc.
        deb: match options.musl {
            true => None,
            false => Some(deb(workspace, options, "1")?),
        },
        archive: archive(workspace, &staged, options)?,
    };
    for path in packages.deb.iter().chain([&packages.archive]) {
        step(format!("wrote {}", path.display()));
    }
    match options.check {
        true => {
            let next = match options.musl {
                true => None,
                false => Some(deb(workspace, options, "2")?),
            };
            check::check(workspace, &packages, next.as_deref())
        }
        false => Ok(()),
    }
}

fn build(workspace: &Workspace, options: Arguments) -> Result<PathBuf> {
    step("building the server");
    let mut cargo = workspace.cargo("build");
    cargo.args(["--package", "wasgi"]);
    let mut folder = workspace.target.clone();
    if options.musl {
        cargo.args(["--target", MUSL]);
        // Dependencies in C are compiled for musl as well.
        cargo.env("CC_x86_64_unknown_linux_musl", "musl-gcc");
        folder.push(MUSL);
    }
    match options.debug {
        true => folder.push("debug"),
        false => {
            cargo.arg("--release");
            folder.push("release");
        }
    }
    run(&mut cargo)?;
    Ok(folder.join("wasgi"))
}

/// Fills the folder that is packed. Returns its path.
fn stage(workspace: &Workspace, program: &Path) -> Result<PathBuf> {
    let staged = workspace.target.join("release/package/wasgi");
    match fs::remove_dir_all(&staged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let own = staged.join("bin/wasgi");
    make_parent(&own)?;
    run(Command::new("strip").arg("-o").arg(&own).arg(program))?;
    builder::install_folder(
        &workspace.target.join("runtime"),
        &staged.join("lib/wasgi/runtime"),
    )?;
    let page = staged.join("share/man/man1/wasgi.1");
    write(&page, &text_of(Command::new(&own).arg("man"))?)?;
    // Without the time, so that the same page makes the same file.
    run(Command::new("gzip").args(["-9n"]).arg(&page))?;
    for (shell, file) in COMPLETIONS {
        let script = text_of(Command::new(&own).args(["completions", shell]))?;
        write(&staged.join("share").join(file), &script)?;
    }
    Ok(staged)
}

fn write(file: &Path, text: &str) -> Result<()> {
    make_parent(file)?;
    fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
}

fn make_parent(file: &Path) -> Result<()> {
    let folder = file.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))
}

/// Makes the Debian package of this revision.
fn deb(workspace: &Workspace, options: Arguments, revision: &str) -> Result<PathBuf> {
    let tool = CARGO_DEB.ensure(workspace)?;
    let folder = workspace.target.join("package");
    let file = folder.join(format!(
        "wasgi_{}-{revision}_amd64.deb",
        version(workspace)?
    ));
    make_parent(&file)?;
    let mut command = Command::new(tool);
    command
        .args(["deb", "--no-build", "--no-strip", "--manifest-path"])
        .arg(workspace.root.join("host/Cargo.toml"))
        .args(["--deb-revision", revision, "--output"])
        .arg(&file)
        .env("CARGO_TARGET_DIR", &workspace.target);
    if options.debug {
        command.arg("--fast");
    }
    run(&mut command)?;
    Ok(file)
}

/// Makes the archive: the same files in one folder, in a fixed order and without times or owners.
fn archive(workspace: &Workspace, staged: &Path, options: Arguments) -> Result<PathBuf> {
    let target = match options.musl {
        true => MUSL,
        false => "x86_64-unknown-linux-gnu",
    };
    let name = format!("wasgi-{}-{target}", version(workspace)?);
    let file = workspace.target.join(format!("package/{name}.tar.gz"));
    make_parent(&file)?;
    fs::copy(workspace.root.join("LICENSE"), staged.join("LICENSE"))?;
    run(Command::new("tar")
        .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0"])
        .args([
            "--numeric-owner",
            "--mode=u=rwX,go=rX",
            "--use-compress-program",
        ])
        .arg("gzip -n")
        .arg(format!("--transform=s/^\\./{name}/"))
        .arg("-C")
        .arg(staged)
        .arg("-cf")
        .arg(&file)
        .arg("."))?;
    Ok(file)
}

/// Returns the version of the server.
fn version(workspace: &Workspace) -> Result<String> {
    let manifest = workspace.root.join("Cargo.toml");
    let text = fs::read_to_string(manifest).context("can't read Cargo.toml")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("version = \""));
    let version = line.and_then(|rest| rest.strip_suffix('"'));
    Ok(version.context("Cargo.toml has no version")?.to_owned())
}
