//! `cargo xtask package`: the Debian package, and an archive for other distributions, in
//! `target/package`.
//!
//! Both contain the program, the runtimes of scripts, the manual page and the completions, which
//! are first put into the folder `release/package/wasgi` of the target folder.

mod check;
mod deb;
mod files;
mod image;
mod system;
mod unit;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use builder::Workspace;
use processes::{run, step, text_of};

use self::files::{Packages, make_parent, staged, version, write};

/// The target whose programs need no library of the system.
const MUSL: &str = "x86_64-unknown-linux-musl";

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

impl Arguments {
    /// Returns the flags of cargo-deb.
    fn flags(self) -> &'static [&'static str] {
        match self.debug {
            // Compresses less.
            true => &["--fast"],
            false => &[],
        }
    }
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
            false => Some(deb::deb(workspace, options.flags(), "1")?),
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
                false => Some(deb::deb(workspace, options.flags(), "2")?),
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
    let staged = staged(workspace);
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
