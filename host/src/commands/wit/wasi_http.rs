//! Writes the WIT of `wasi:http` from the crate with the bindings that the server is built on. The
//! text is read from cargo's copy of the crate's sources, so that this program contains none of it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The crate and its major version.
const CRATE: &str = "wasmtime-wasi-http-48.";

/// The patch version of WASI 0.2 in that crate.
const NEWEST: u32 = 12;

/// The first patch version that can be derived from the text of the newest, by removing later
/// additions.
const OLDEST: u32 = 2;

/// The accepted names for `--world`.
const NAMES: [&str; 3] = ["wasi:http/proxy", "wasi:http/incoming-handler", "wasi:http"];

/// A file to write: its path in the folder, and its text.
pub(super) type File = (PathBuf, String);

/// Returns the files of a folder for `wasi:http`, in the version at the end of the name, or the
/// newest.
///
/// # Errors
///
/// Fails if the version or package does not exist, or if the crate's sources are not on this
/// machine.
pub(super) fn files(world: &str) -> anyhow::Result<Vec<File>> {
    let (name, version) = world.split_once('@').unwrap_or((world, ""));
    if !NAMES.contains(&name) {
        bail!("--world {world}: of WASI, there is {}", NAMES[0]);
    }
    let patch = patch(version).with_context(|| {
        format!(
            "--world {world}: there are versions 0.2.{OLDEST} to 0.2.{NEWEST}, as {}@0.2.{NEWEST}",
            NAMES[0]
        )
    })?;
    let sources = sources()?;
    let mut files = Vec::new();
    let entries = sources
        .read_dir()
        .with_context(|| format!("{}: can't be read", sources.display()))?;
    for entry in entries {
        let path = entry?.path();
        let shown = path.display();
        let text = fs::read_to_string(&path).with_context(|| format!("{shown}: can't be read"))?;
        let text = as_of(&text, patch).with_context(|| shown.to_string())?;
        files.push((
            Path::new("deps").join(path.file_name().unwrap_or_default()),
            text,
        ));
    }
    files.sort();
    files.push((PathBuf::from("world.wit"), own_world(patch)));
    Ok(files)
}

/// Returns a package with its own world, since some toolchains accept no world of a dependency.
fn own_world(patch: u32) -> String {
    format!(
        "package wasgi:site;\n\n\
         /// A handler for `wasi:http`.\n\
         world proxy {{\n  include wasi:http/proxy@0.2.{patch};\n}}\n"
    )
}

/// Returns the patch number of a supported version.
fn patch(version: &str) -> Option<u32> {
    if version.is_empty() {
        return Some(NEWEST);
    }
    let patch = version.strip_prefix("0.2.")?.parse().ok()?;
    (OLDEST..=NEWEST).contains(&patch).then_some(patch)
}

/// Converts the text to an earlier version: changes the version number and removes later additions.
fn as_of(text: &str, patch: u32) -> anyhow::Result<String> {
    let mut kept: Vec<&str> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let since = line.trim().strip_prefix("@since(version = 0.2.");
        let since = since.and_then(|rest| rest.strip_suffix(')')?.parse::<u32>().ok());
        if since.is_none_or(|since| since <= patch) {
            kept.push(line);
            continue;
        }
        // Remove the comment above the item as well.
        while kept
            .last()
            .is_some_and(|line| line.trim_start().starts_with("///"))
        {
            kept.pop();
        }
        if !lines.next().is_some_and(|item| item.ends_with(';')) {
            bail!("{}: what is of this version has several lines", line.trim());
        }
    }
    let newest = format!("@0.2.{NEWEST}");
    let text = format!("{}\n", kept.join("\n"));
    Ok(text.replace(&newest, &format!("@0.2.{patch}")))
}

/// Returns the folder of the WIT in the crate's sources.
fn sources() -> anyhow::Result<PathBuf> {
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let registries = cargo.or_else(home).unwrap_or_default().join("registry/src");
    let mut found = Vec::new();
    for registry in entries(&registries) {
        for package in entries(&registry) {
            let name = package.file_name().unwrap_or_default().to_string_lossy();
            let folder = package.join("wit/deps");
            if name.starts_with(CRATE) && folder.is_dir() {
                found.push(folder);
            }
        }
    }
    found.sort();
    found.pop().with_context(|| {
        format!(
            "{}: there are no sources of {CRATE}*, which has the WIT of wasi:http: `cargo fetch` in a \
             clone of this server's repository gets them",
            registries.display()
        )
    })
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        "package wasi:cli@0.2.12;\n\n@since(version = 0.2.0)\ninterface exit {\n",
        "  /// Ends.\n  @since(version = 0.2.0)\n  exit: func();\n  /// With a code.\n",
        "  ///\n  @since(version = 0.2.12)\n  exit-with-code: func(code: u8);\n}\n",
    );

    #[test]
    fn an_earlier_version_is_the_text_without_what_is_newer() {
        assert_eq!(as_of(TEXT, 12).expect("it is of this version"), TEXT);
        let earlier = as_of(TEXT, 10).expect("the newer item has one line");
        assert!(
            earlier.starts_with("package wasi:cli@0.2.10;\n"),
            "{earlier}"
        );
        assert!(earlier.ends_with("  exit: func();\n}\n"), "{earlier}");
        assert!(as_of("@since(version = 0.2.12)\ninterface new {\n}\n", 10).is_err());
    }

    #[test]
    fn versions_are_those_that_have_a_text() {
        assert_eq!(patch(""), Some(12));
        assert_eq!(patch("0.2.10"), Some(10));
        for version in ["0.2.1", "0.2.13", "0.3.0", "0.2", "0.2.x", "0.2.-3"] {
            assert_eq!(patch(version), None, "{version}");
        }
    }

    #[test]
    fn the_crate_is_the_one_that_the_server_is_built_on() {
        let lock = include_str!("../../../../Cargo.lock");
        let (_, behind) = lock
            .split_once("name = \"wasmtime-wasi-http\"\nversion = \"")
            .expect("it is locked");
        let version = behind.split('"').next().unwrap_or_default();
        assert!(
            format!("wasmtime-wasi-http-{version}").starts_with(CRATE),
            "{version}"
        );
    }
}
