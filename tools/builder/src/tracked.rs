//! The demo site as the repository tracks it: a copy of its pages and of its handlers' sources in
//! the target folder. Tests use this copy, so that a user's files in `handlers/` and `html/`
//! neither break them nor slow them down.
//!
//! The copy contains what is staged in git's index: a new demo is tested after `git add`. The SDKs
//! that the handlers are built with are those of the working tree.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use processes::step;

use crate::workspace::{HANDLERS, Workspace};

/// The folders that are copied.
const FOLDERS: [&str; 2] = [HANDLERS, "html"];

/// The file of the repository's root with the versions of the handlers' dependencies.
const LOCK_FILE: &str = "Cargo.lock";

/// The folders of the handlers' path dependencies: the SDKs, and the SDKs' own dependencies.
const LINKED: [&str; 2] = ["guest-sdk", "host/crates"];

/// Returns the folder of the copy.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("guests/site")
}

/// Updates the copy, and returns its folder, which is a separate workspace.
///
/// # Errors
///
/// Fails if git fails, or the copy can't be written.
pub fn copy(workspace: &Workspace) -> Result<PathBuf> {
    let site = folder(workspace);
    fs::create_dir_all(&site).with_context(|| format!("can't make {}", site.display()))?;
    let fresh = tempfile::tempdir_in(workspace.target.join("guests"))?;
    if is_repository(&workspace.root) {
        export(&workspace.root, fresh.path())?;
    } else {
        step("not a git repository: the tests use html/ and handlers/ as they are");
        for folder in FOLDERS {
            copy_folder(&workspace.root.join(folder), &fresh.path().join(folder))?;
        }
    }
    for folder in FOLDERS {
        update(&fresh.path().join(folder), &site.join(folder))?;
    }
    let lock_file = workspace.root.join(LOCK_FILE);
    if lock_file.is_file() {
        write_if_other(&site.join(LOCK_FILE), &fs::read(&lock_file)?)?;
    }
    let manifest = fs::read_to_string(workspace.root.join("Cargo.toml"))?;
    let members = members(&site.join(HANDLERS))?;
    write_if_other(
        &site.join("Cargo.toml"),
        manifest_of(&manifest, &members).as_bytes(),
    )?;
    for folder in LINKED {
        link(&workspace.root.join(folder), &site.join(folder))?;
    }
    Ok(site)
}

/// Makes `link` a symbolic link to `target`.
fn link(target: &Path, link: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|present| present == target) {
        return Ok(());
    }
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder)?;
    }
    let _ = fs::remove_file(link);
    symlink(target, link).with_context(|| format!("can't link {}", link.display()))
}

/// Returns whether a folder is the root of a git repository, and git is installed.
pub fn is_repository(root: &Path) -> bool {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--show-prefix"]).current_dir(root);
    let output = git.stderr(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success() && output.stdout.trim_ascii().is_empty())
}

/// Writes the folders' files from git's index.
fn export(root: &Path, to: &Path) -> Result<()> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--"]).args(FOLDERS);
    let listed = list.current_dir(root).output().context("can't start git")?;
    ensure!(listed.status.success(), "git ls-files failed");
    let mut prefix = to.as_os_str().to_owned();
    prefix.push("/");
    let mut option = std::ffi::OsString::from("--prefix=");
    option.push(prefix);
    let mut checkout = Command::new("git")
        .args(["checkout-index", "--force", "-z", "--stdin"])
        .arg(option)
        .current_dir(root)
        .stdin(Stdio::piped())
        .spawn()
        .context("can't start git")?;
    if let Some(mut stdin) = checkout.stdin.take() {
        stdin.write_all(&listed.stdout)?;
    }
    ensure!(checkout.wait()?.success(), "git checkout-index failed");
    Ok(())
}

/// Returns the manifest of the copy's workspace: the repository's, with the copy's handlers as
/// members.
fn manifest_of(manifest: &str, members: &[String]) -> String {
    // The sections that the handlers inherit and that determine how they are built. Other profiles
    // name packages that the copy doesn't have.
    let is_kept =
        |section: &&str| section.starts_with("workspace.") || section.starts_with("profile.guest]");
    let sections = manifest.split("\n[").skip(1).filter(is_kept);
    let rest: String = sections.map(|section| format!("\n[{section}\n")).collect();
    let members: Vec<String> = members
        .iter()
        .map(|name| format!("  {name:?},\n"))
        .collect();
    format!(
        "# Written by `cargo xtask test`.\n[workspace]\nresolver = \"3\"\nmembers = [\n{}]\n{rest}",
        members.concat()
    )
}

/// Returns the handlers that are cargo packages.
fn members(handlers: &Path) -> Result<Vec<String>> {
    let mut members = Vec::new();
    for entry in fs::read_dir(handlers)? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            members.push(format!(
                "{HANDLERS}/{}",
                entry.file_name().to_string_lossy()
            ));
        }
    }
    members.sort();
    Ok(members)
}

/// Updates `to` to have the contents of `from`. Leaves identical files untouched, so that cargo
/// doesn't rebuild them.
fn update(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let names = |folder: &Path| -> Result<BTreeSet<_>> {
        let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries.into_iter().map(|entry| entry.file_name()).collect())
    };
    let wanted = names(from)?;
    for name in names(to)?.difference(&wanted) {
        let old = to.join(name);
        if old.is_dir() {
            fs::remove_dir_all(&old)?;
        } else {
            fs::remove_file(&old)?;
        }
    }
    for name in &wanted {
        let (from, to) = (from.join(name), to.join(name));
        if from.is_dir() {
            update(&from, &to)?;
        } else {
            write_if_other(&to, &fs::read(&from)?)?;
        }
    }
    Ok(())
}

/// Returns whether two folders have the same files, except for Python's caches.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let names = |folder: &Path| -> Option<BTreeSet<_>> {
        let entries = fs::read_dir(folder).ok()?.flatten();
        let names = entries.map(|entry| entry.file_name());
        Some(
            names
                .filter(|name| name != "__pycache__" && name != ".wasgi")
                .collect(),
        )
    };
    let Some(wanted) = names(one) else {
        return match (fs::read(one), fs::read(other)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        };
    };
    let mut pairs = wanted.iter().map(|name| (one.join(name), other.join(name)));
    names(other).as_ref() == Some(&wanted) && pairs.all(|(one, other)| is_same(&one, &other))
}

fn write_if_other(file: &Path, content: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|present| present == content) {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, content).with_context(|| format!("can't write {}", file.display()))
}

/// Copies a folder without its build outputs.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("can't read {}", from.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name() else {
            bail!("{} has no name", path.display());
        };
        let is_built = path.extension() == Some("wasm".as_ref())
            || [".wasgi", "__pycache__", "target"]
                .iter()
                .any(|other| name == *other);
        if is_built {
            continue;
        }
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.current_dir(folder)
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"]);
        assert!(git.args(arguments).status().expect("git runs").success());
    }

    #[test]
    fn what_a_user_has_changed_or_added_is_not_in_the_copy() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, text).expect("written");
        };
        write("html/index.html", "tracked");
        write("handlers/hello/Cargo.toml", "tracked");
        write(
            "Cargo.toml",
            "[workspace]\nmembers = [\"host\"]\n\n[profile.release]\n\n[workspace.package]\nv = 1\n",
        );
        write("Cargo.lock", "lock");
        git(root.path(), &["init", "--quiet"]);
        git(root.path(), &["add", "."]);
        write("html/index.html", "edited");
        write("handlers/greet/Cargo.toml", "added");
        write("handlers/app.wasm", "built");
        let workspace = Workspace::at(root.path(), &root.path().join("target"));
        for _ in 0..2 {
            let site = copy(&workspace).expect("copied");
            let read = |name: &str| fs::read_to_string(site.join(name)).expect(name);
            assert_eq!(read("html/index.html"), "tracked");
            assert_eq!(read("Cargo.lock"), "lock");
            let manifest = read("Cargo.toml");
            assert!(
                manifest.contains("members = [\n  \"handlers/hello\",\n]"),
                "{manifest}"
            );
            assert!(
                manifest.ends_with("[workspace.package]\nv = 1\n\n"),
                "{manifest}"
            );
            assert!(!manifest.contains("release"), "{manifest}");
            let handlers = fs::read_dir(site.join(HANDLERS)).expect("it is there");
            assert_eq!(handlers.count(), 1, "only what is tracked");
        }
        git(
            root.path(),
            &["rm", "--quiet", "--cached", "-r", "handlers/hello"],
        );
        git(root.path(), &["add", "handlers/greet"]);
        let site = copy(&workspace).expect("copied");
        assert!(!site.join("handlers/hello").exists());
        assert!(site.join("handlers/greet").is_dir());
    }

    #[test]
    fn a_folder_without_git_is_copied_without_what_is_built() {
        let root = tempfile::tempdir().expect("a folder");
        for file in [
            "html/a.html",
            "handlers/x/Cargo.toml",
            "handlers/x/target/y",
            "handlers/x.wasm",
        ] {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, "").expect("written");
        }
        let to = root.path().join("copy");
        copy_folder(&root.path().join(HANDLERS), &to).expect("copied");
        assert!(to.join("x/Cargo.toml").is_file());
        assert!(!to.join("x/target").exists() && !to.join("x.wasm").exists());
    }
}
