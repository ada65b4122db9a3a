//! What is particular to Cargo: the package that is generated for a single file, the file that a
//! build results in, and the packages that a project depends on by path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::places::{self, Places};
use super::process;
use crate::reload::CancelToken;
use crate::sdk;

/// The time limit of `cargo metadata`: it may have to wait for a download.
const MAX_METADATA_TIME: Duration = Duration::from_secs(60);

/// The maximum size of a source file in Rust that is searched for a function `main`, in bytes.
const MAX_SEARCHED_BYTES: usize = 1 << 20;

/// Writes the package of a single file, and the SDK that it depends on. Returns its manifest.
///
/// # Errors
///
/// Fails if a file can't be read or written.
pub(super) fn generate(places: &Places, file: &str, path: &Path) -> anyhow::Result<PathBuf> {
    let sdk = places.sdk();
    sdk::write(&sdk).with_context(|| format!("{}: the SDK can't be written", sdk.display()))?;
    let folder = places.package(file);
    let manifest = folder.join("Cargo.toml");
    let source = fs::read(path).context("can't be read")?;
    let source = &source[..source.len().min(MAX_SEARCHED_BYTES)];
    let is_program = String::from_utf8_lossy(source)
        .lines()
        .any(|line| line.starts_with("fn main(") || line.starts_with("pub fn main("));
    let id = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = manifest_of(&id, path, &sdk, is_program)?;
    places::create(&folder).with_context(|| format!("{}: can't be made", folder.display()))?;
    // An unchanged file keeps its time.
    if fs::read_to_string(&manifest).ok().as_deref() != Some(&text) {
        fs::write(&manifest, text)
            .with_context(|| format!("{}: can't be written", manifest.display()))?;
    }
    Ok(manifest)
}

fn manifest_of(id: &str, source: &Path, sdk: &Path, is_program: bool) -> anyhow::Result<String> {
    let quoted = |path: &Path| {
        let text = path.to_str().context("its path is not UTF-8")?;
        anyhow::Ok(toml::Value::from(text).to_string())
    };
    let target = match is_program {
        true => format!("[[bin]]\nname = \"handler-{id}\"\n"),
        false => "[lib]\nname = \"handler\"\ncrate-type = [\"cdylib\"]\n".to_owned(),
    };
    Ok(format!(
        "[workspace]\n\n[package]\nname = \"handler-{id}\"\nversion = \"0.0.0\"\n\
         edition = \"2024\"\nautobins = false\n\n{target}path = {}\n\n\
         [dependencies]\nwasgi-sdk = {{ path = {} }}\n\n{}",
        quoted(source)?,
        quoted(&sdk.join(sdk::RUST))?,
        sdk::PROFILE,
    ))
}

/// Returns the program that Cargo's messages of a build name for the package with this manifest.
///
/// # Errors
///
/// Fails if the messages name no such file.
pub(super) fn artifact(messages: &str, manifest: &Path) -> anyhow::Result<PathBuf> {
    let canonical = manifest.canonicalize().ok();
    let same = |path: &str| {
        Path::new(path) == manifest
            || canonical.is_some() && Path::new(path).canonicalize().ok() == canonical
    };
    let mut programs = messages
        .lines()
        .filter(|line| line.contains("\"compiler-artifact\""))
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            message.get("reason").and_then(Value::as_str) == Some("compiler-artifact")
                && message
                    .get("manifest_path")
                    .and_then(Value::as_str)
                    .is_some_and(same)
        })
        .filter_map(|message| {
            let files = message.get("filenames")?.as_array()?;
            let is_program = |file: &&str| file.ends_with(".wasm");
            files
                .iter()
                .filter_map(Value::as_str)
                .find(is_program)
                .map(PathBuf::from)
        });
    let Some(program) = programs.next() else {
        bail!("the package has no program: add `crate-type = [\"cdylib\"]` to its [lib]");
    };
    if let Some(other) = programs.next() {
        let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
        bail!(
            "the package has several programs ({}, {}): a handler has one",
            name(&program),
            name(&other)
        );
    }
    Ok(program)
}

/// Returns the folders of the packages that the one with this manifest consists of: itself, and
/// those that it depends on by path; and the files of its workspace. `None` if Cargo doesn't know.
pub(super) fn roots(manifest: &Path, cancel: &CancelToken) -> Option<Vec<PathBuf>> {
    let mut command = Command::new("cargo");
    command
        .args(["metadata", "--format-version=1", "--offline"])
        .arg("--filter-platform=wasm32-wasip2")
        .arg("--manifest-path")
        .arg(manifest)
        .current_dir(manifest.parent()?);
    let finished = process::run(&mut command, cancel, MAX_METADATA_TIME, None).ok()?;
    let metadata: Value = serde_json::from_str(&finished.output).ok()?;
    local_packages(&metadata)
}

fn local_packages(metadata: &Value) -> Option<Vec<PathBuf>> {
    let packages = metadata.get("packages")?.as_array()?;
    // Of a workspace, only what the package needs.
    let used: BTreeSet<&str> = metadata
        .get("resolve")
        .and_then(|resolve| resolve.get("nodes"))
        .and_then(Value::as_array)
        .map(|nodes| {
            nodes
                .iter()
                .filter_map(|node| node.get("id")?.as_str())
                .collect()
        })?;
    let local = packages.iter().filter(|package| {
        package.get("source").is_some_and(Value::is_null)
            && package
                .get("id")
                .and_then(Value::as_str)
                .is_some_and(|id| used.contains(id))
    });
    let mut roots: Vec<PathBuf> = local
        .filter_map(|package| {
            let manifest = package.get("manifest_path")?.as_str()?;
            Path::new(manifest).parent().map(Path::to_owned)
        })
        .collect();
    let workspace = Path::new(metadata.get("workspace_root")?.as_str()?);
    roots.push(workspace.join("Cargo.toml"));
    Some(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_file_name_stays_a_string_of_the_manifest() {
        let source = Path::new("/site/handlers/-a \"b\" ]\n[x].rs");
        let text = manifest_of("0", source, Path::new("/sdk"), false).expect("a manifest");
        let parsed: toml::Table = text.parse().expect("TOML");
        let path = parsed["lib"]["path"].as_str().expect("a path");
        assert_eq!(Path::new(path), source);
    }

    #[test]
    fn the_program_is_that_of_the_package_itself() {
        let message = |manifest: &str, file: &str| {
            format!(
                "{{\"reason\":\"compiler-artifact\",\"manifest_path\":\"{manifest}\",\
                 \"filenames\":[\"{file}\"]}}\n"
            )
        };
        let manifest = Path::new("/a/Cargo.toml");
        let text = message("/b/Cargo.toml", "/t/b.wasm")
            + "not JSON \"compiler-artifact\"\n"
            + &message("/a/Cargo.toml", "/t/liba.rlib");
        let error = artifact(&text, manifest).expect_err("no program");
        assert!(error.to_string().contains("cdylib"), "{error}");
        let text = text + &message("/a/Cargo.toml", "/t/a.wasm");
        assert_eq!(
            artifact(&text, manifest).expect("a program"),
            Path::new("/t/a.wasm")
        );
        let text = text + &message("/a/Cargo.toml", "/t/a2.wasm");
        let error = artifact(&text, manifest).expect_err("two");
        assert!(error.to_string().contains("a.wasm, a2.wasm"), "{error}");
    }
}
