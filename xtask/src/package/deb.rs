//! The Debian package: cargo-deb packs what `host/Cargo.toml` names.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use builder::Workspace;
use processes::{run, text_of};

use crate::dependencies::Tool;

const CARGO_DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    wheel: None,
    is_crate: true,
};

/// Makes the package of a revision. `flags` are those of cargo-deb for the build.
///
/// # Errors
///
/// Fails if it is not known who builds the package, or if a file can't be packed.
pub(super) fn deb(workspace: &Workspace, flags: &[&str], revision: &str) -> Result<PathBuf> {
    let tool = CARGO_DEB.ensure(workspace)?;
    let maintainer = maintainer(&workspace.root)?;
    let seconds = seconds(&workspace.root)?;
    let version = format!("{}-{revision}", super::files::version(workspace)?);
    let date = text_of(Command::new("date").args(["-u", "-R", "-d", &format!("@{seconds}")]))?;
    let changelog = super::files::staged(workspace).with_file_name("changelog.Debian");
    super::files::write(&changelog, &entry(&version, &maintainer, date.trim()))?;
    run(Command::new("gzip").args(["-9nf"]).arg(&changelog))?;
    let name = format!("wasgi_{version}_amd64.deb");
    let file = workspace.target.join("package").join(name);
    super::files::make_parent(&file)?;
    run(Command::new(tool)
        .args(["deb", "--no-build", "--no-strip", "--manifest-path"])
        .arg(workspace.root.join("host/Cargo.toml"))
        .args(["--deb-revision", revision, "--maintainer", &maintainer])
        .arg("--output")
        .arg(&file)
        .args(flags)
        .env("CARGO_TARGET_DIR", &workspace.target)
        .env(EPOCH, seconds))?;
    Ok(file)
}

/// The time of all files of a build, in seconds since 1970 (reproducible-builds.org).
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Returns the time of the last commit, or the one that the environment sets.
fn seconds(root: &Path) -> Result<String> {
    match env::var(EPOCH) {
        Ok(seconds) => Ok(seconds),
        Err(_) => git(root, &["log", "-1", "--format=%ct"]),
    }
}

/// Returns who is responsible for the package, which is whoever builds it: the name and the address
/// that Debian's tools use (debchange(1)), or else git's.
fn maintainer(root: &Path) -> Result<String> {
    let value = |variable, key| match env::var(variable) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => git(root, &["config", key]).with_context(|| {
            format!("the package needs a maintainer: set DEBFULLNAME and DEBEMAIL, or git's {key}")
        }),
    };
    let name = value("DEBFULLNAME", "user.name")?;
    let address = value("DEBEMAIL", "user.email")?;
    contact(&name, &address)
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let text = text_of(Command::new("git").current_dir(root).args(arguments))?;
    Ok(text.trim().to_owned())
}

/// Returns the value of the field Maintainer: a name, and an address of mail.
fn contact(name: &str, address: &str) -> Result<String> {
    let is_line = |text: &str| !text.is_empty() && !text.contains(['<', '>', '\n']);
    ensure!(is_line(name), "a maintainer's name can't be {name:?}");
    ensure!(
        is_line(address) && address.contains('@') && !address.contains(' '),
        "a maintainer's address can't be {address:?}"
    );
    Ok(format!("{name} <{address}>"))
}

/// Returns the entry of a version in the package's changelog (deb-changelog(5)).
fn entry(version: &str, maintainer: &str, date: &str) -> String {
    format!(
        "wasgi ({version}) unstable; urgency=medium\n\n  * Built from the project's sources, whose \
         CHANGELOG.md has the changes.\n\n -- {maintainer}  {date}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maintainer_has_a_name_and_an_address() {
        let both = contact("Ada L.", "ada@example.com").expect("they are");
        assert_eq!(both, "Ada L. <ada@example.com>");
        for (name, address) in [
            ("", "a@b"),
            ("Ada <x>", "a@b"),
            ("Ada", "ada"),
            ("Ada", "a b@c"),
        ] {
            assert!(contact(name, address).is_err(), "{name:?} {address:?}");
        }
    }
}
