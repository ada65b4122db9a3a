//! Builds handlers and puts them in their places.
//!
//! They are built for their own target with their own profile, in a target folder of their own:
//! the toolchain may be another one than the host's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::guest_toolchain::{GuestToolchain, TARGET};
use crate::process::{self, step};
use crate::workspace::{HANDLERS, Workspace};

/// The profile in the workspace's manifest that handlers are built with.
const PROFILE: &str = "guest";

/// The package that Rust handlers are written with.
const SDK: &str = "wasgi-sdk";

/// Builds the demo site's handlers to `handlers/<route>.wasm`.
///
/// # Errors
///
/// When one does not build, or its file can't be written.
pub(crate) fn build_demos(workspace: &Workspace, toolchain: &GuestToolchain) -> Result<()> {
    for folder in workspace.strangers() {
        step(format!(
            "not built, because it is no member in Cargo.toml: {}",
            folder.display()
        ));
    }
    let demos = workspace.demos()?;
    if demos.is_empty() {
        step("no demo handlers to build");
        return Ok(());
    }
    step(format!("building {} demo handlers", demos.len()));
    let mut selection = vec!["--lib"];
    selection.extend(demos.iter().flat_map(|demo| ["--package", &demo.package]));
    let built = build(workspace, toolchain, &selection)?;
    for demo in &demos {
        let artifact = built
            .iter()
            .find(|artifact| artifact.manifest == demo.manifest)
            .with_context(|| format!("cargo built no component of package {}", demo.package))?;
        let place = Path::new(HANDLERS).join(format!("{}.wasm", demo.route));
        if install(&artifact.file, &workspace.root.join(&place))? {
            step(format!("wrote {}", place.display()));
        }
    }
    Ok(())
}

/// Builds those of the demo site's handlers that are commands, each from a source with a name, to
/// `handlers/<name>.wasm`.
///
/// # Errors
///
/// When one does not compile, or its file can't be written.
pub(crate) fn build_commands(
    workspace: &Workspace,
    sources: &[(String, PathBuf)],
    compile: impl Fn(&Path, &Path) -> Result<()>,
) -> Result<()> {
    for (name, source) in sources {
        let folder = folder(workspace).join("commands");
        fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        let built = folder.join(format!("{name}.wasm"));
        compile(source, &built)?;
        let place = Path::new(HANDLERS).join(format!("{name}.wasm"));
        if install(&built, &workspace.root.join(&place))? {
            step(format!("wrote {}", place.display()));
        }
    }
    Ok(())
}

/// Builds the tests' handlers to `guests/cases/<case>.wasm` in the target folder.
///
/// # Errors
///
/// When one does not build, or its file can't be written.
pub(crate) fn build_cases(workspace: &Workspace, toolchain: &GuestToolchain) -> Result<()> {
    let Some(guests) = workspace.test_guests() else {
        step("no test handlers to build");
        return Ok(());
    };
    step("building the test handlers");
    let mut built = build(
        workspace,
        toolchain,
        &["--examples", "--package", &guests.package],
    )?;
    if let Some(manifest) = workspace.other_guests() {
        let manifest = manifest.to_string_lossy();
        let selection = ["--bins", "--lib", "--manifest-path", &*manifest];
        let others = build(workspace, toolchain, &selection)?;
        // What they are built on belongs to the workspace, and is no handler.
        built.extend(others.into_iter().filter(|one| one.manifest == *manifest));
    }
    for artifact in &built {
        let place = folder(workspace)
            .join("cases")
            .join(format!("{}.wasm", artifact.name));
        install(&artifact.file, &place)?;
    }
    Ok(())
}

/// Builds one package that is no handler of the demo site, and says where its component is.
///
/// # Errors
///
/// When it does not build.
pub(crate) fn build_package(
    workspace: &Workspace,
    toolchain: &GuestToolchain,
    package: &str,
) -> Result<PathBuf> {
    step(format!("building {package}"));
    let built = build(workspace, toolchain, &["--lib", "--package", package])?;
    let artifact = built.into_iter().next_back();
    Ok(artifact
        .with_context(|| format!("cargo built no component of package {package}"))?
        .file)
}

/// Runs clippy over the handlers for their own target: the host's clippy does not see what only
/// they compile. Does nothing where their toolchain has no clippy.
///
/// # Errors
///
/// When there is a warning.
pub(crate) fn lint(
    workspace: &Workspace,
    toolchain: &GuestToolchain,
    arguments: &[&str],
) -> Result<()> {
    if !toolchain.has_clippy() {
        step("no clippy for handlers in this toolchain");
        return Ok(());
    }
    let mut packages: Vec<String> = workspace.demos()?.into_iter().map(|d| d.package).collect();
    packages.extend(workspace.test_guests().map(|guests| guests.package));
    packages.extend(
        [SDK.to_owned()]
            .into_iter()
            .filter(|sdk| workspace.has_package(sdk)),
    );
    if packages.is_empty() {
        return Ok(());
    }
    step(format!("cargo clippy --target {TARGET}"));
    let mut cargo = workspace.cargo("clippy");
    cargo
        .args(["--target", TARGET, "--lib", "--examples", "--target-dir"])
        .arg(folder(workspace));
    cargo
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .args(arguments);
    toolchain.apply_to(&mut cargo);
    process::run(&mut cargo)
}

/// The target folder of guest builds.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("guests")
}

/// A component that cargo built.
#[derive(Debug, PartialEq)]
struct Artifact {
    /// The manifest of its package.
    manifest: PathBuf,
    /// Its crate's name.
    name: String,
    file: PathBuf,
}

impl Artifact {
    /// Reads one line of cargo's messages. None where it tells of something else.
    fn parse(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" {
            return None;
        }
        let files = message["filenames"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str);
        Some(Self {
            manifest: message["manifest_path"].as_str()?.into(),
            name: message["target"]["name"].as_str()?.to_owned(),
            file: files
                .map(PathBuf::from)
                .find(|file| file.extension() == Some("wasm".as_ref()))?,
        })
    }
}

fn build(
    workspace: &Workspace,
    toolchain: &GuestToolchain,
    selection: &[&str],
) -> Result<Vec<Artifact>> {
    let mut cargo = workspace.cargo("build");
    cargo
        .args(["--target", TARGET, "--profile", PROFILE])
        .args([
            "--message-format",
            "json-render-diagnostics",
            "--target-dir",
        ])
        .arg(folder(workspace))
        .args(selection);
    toolchain.apply_to(&mut cargo);
    Ok(process::text_of(&mut cargo)?
        .lines()
        .filter_map(Artifact::parse)
        .collect())
}

/// Copies a file by rename, so that nobody who watches the place sees half of it. Leaves the place
/// alone where it has the same content already, and says whether it wrote.
fn install(file: &Path, place: &Path) -> Result<bool> {
    let content = fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
    match fs::read(place) {
        Ok(present) if present == content => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("can't read {}", place.display())),
    }
    write_by_rename(&content, place).with_context(|| format!("can't write {}", place.display()))?;
    Ok(true)
}

fn write_by_rename(content: &[u8], place: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(folder)?;
    // In the same folder, because a rename can't leave the file system; with a dot in front,
    // because the server takes no such file for a handler.
    let draft = folder.join(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let written = fs::write(&draft, content).and_then(|()| fs::rename(&draft, place));
    if written.is_err() {
        // The failure that counts is the first one.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_components_are_artifacts() {
        let line = |reason: &str, file: &str| {
            format!(
                r#"{{"reason":"{reason}","manifest_path":"/w/handlers/hello/Cargo.toml",
                    "target":{{"name":"hello"}},"filenames":["/t/hello.rlib","/t/{file}"]}}"#
            )
        };
        let expected = Artifact {
            manifest: "/w/handlers/hello/Cargo.toml".into(),
            name: "hello".into(),
            file: "/t/hello.wasm".into(),
        };
        assert_eq!(
            Artifact::parse(&line("compiler-artifact", "hello.wasm")),
            Some(expected)
        );
        assert_eq!(
            Artifact::parse(&line("compiler-artifact", "hello.so")),
            None
        );
        assert_eq!(
            Artifact::parse(&line("build-script-executed", "hello.wasm")),
            None
        );
        assert_eq!(Artifact::parse("no json"), None);
    }

    #[test]
    fn a_file_is_written_once_and_leaves_no_draft() {
        let folder = tempfile::tempdir().expect("a folder");
        let built = folder.path().join("built");
        let place = folder.path().join("handlers/users/[id].wasm");
        fs::write(&built, "one").expect("written");

        assert!(install(&built, &place).expect("installed"), "it is new");
        let first = fs::metadata(&place)
            .expect("it is there")
            .modified()
            .expect("a time");
        assert!(
            !install(&built, &place).expect("installed"),
            "it is the same"
        );
        let second = fs::metadata(&place)
            .expect("it is there")
            .modified()
            .expect("a time");
        assert_eq!(first, second, "the same content is not written again");

        fs::write(&built, "two").expect("written");
        assert!(
            install(&built, &place).expect("installed"),
            "it has changed"
        );
        assert_eq!(fs::read(&place).expect("readable"), b"two");
        let files = place
            .parent()
            .expect("a folder")
            .read_dir()
            .expect("readable")
            .count();
        assert_eq!(files, 1, "the draft is gone");
    }

    #[test]
    fn a_reader_that_has_the_old_file_open_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("a.wasm");
        write_by_rename(b"old", &place).expect("written");
        let open = fs::File::open(&place).expect("open");
        write_by_rename(b"new and longer", &place).expect("written");
        assert_eq!(io::read_to_string(open).expect("readable"), "old");
    }

    #[test]
    fn a_place_that_is_a_folder_is_an_error_without_a_draft() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("a.wasm");
        fs::create_dir(&place).expect("made");
        assert!(write_by_rename(b"x", &place).is_err());
        assert_eq!(folder.path().read_dir().expect("readable").count(), 1);
    }
}
