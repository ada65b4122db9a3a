//! `cargo xtask build` in a small workspace: what it builds, names and leaves alone.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The program, as cargo starts it.
const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// The manifest of a package that builds a component.
const COMPONENT: &str = "[package]\nname = \"NAME\"\nedition = \"2024\"\n\n[lib]\n\
                         crate-type = [\"cdylib\"]\n";

/// A workspace with handlers that depend on nothing.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let guest = "inherits = \"release\"\npanic = \"abort\"\n";
        site.write(
            "Cargo.toml",
            &format!(
                "[workspace]\nresolver = \"3\"\nmembers = [\"xtask\", \"handlers/first\", \
                 \"handlers/second\"]\nexclude = [\"handlers\"]\n\n[profile.guest]\n{guest}"
            ),
        );
        site.write(
            "xtask/Cargo.toml",
            "[package]\nname = \"xtask\"\nedition = \"2024\"\n",
        );
        site.write("xtask/src/lib.rs", "");
        site.write(
            "handlers/Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\nexclude = [\".\"]\n",
        );
        site.package("first", COMPONENT, "");
        site.package("second", COMPONENT, "");
        site
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.path().join(file);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, text).expect("written");
    }

    fn package(&self, name: &str, manifest: &str, source: &str) {
        let folder = format!("handlers/{name}");
        self.write(
            &format!("{folder}/Cargo.toml"),
            &manifest.replace("NAME", name),
        );
        self.write(&format!("{folder}/src/lib.rs"), source);
    }

    /// Runs `cargo xtask` with these arguments, and returns whether it succeeded and its output.
    fn xtask(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(XTASK);
        command
            .args(arguments)
            .current_dir(self.path())
            .env("CARGO_MANIFEST_DIR", self.path().join("xtask"))
            .env("CARGO_TARGET_DIR", self.path().join("target"))
            .env("CARGO_NET_OFFLINE", "true");
        let output = command.output().expect("started");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// Returns the names of the built handlers, sorted.
    fn built(&self) -> Vec<String> {
        let entries = self.path().join("handlers").read_dir().expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.into_string().expect("text"));
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".wasm")).collect();
        names.sort();
        names
    }
}

#[test]
fn the_help_of_a_command_builds_nothing() {
    let site = Site::new();
    for command in [
        "serve", "build", "install", "python", "runtime", "test", "lint", "docs", "setup",
    ] {
        let (is_ok, output) = site.xtask(&[command, "--help"]);
        assert!(is_ok, "{command}: {output}");
        let usage = format!("Usage: cargo xtask {command}");
        assert!(output.contains(&usage), "{command}: {output}");
    }
    assert!(!site.path().join("target").exists(), "nothing is built");
    assert_eq!(site.built(), [""; 0]);
}

#[test]
fn the_handlers_that_are_named_are_built_and_no_others() {
    let site = Site::new();
    let (is_ok, output) = site.xtask(&["build", "second"]);
    assert!(is_ok, "{output}");
    assert!(output.contains("wrote handlers/second.wasm"), "{output}");
    assert_eq!(site.built(), ["second.wasm"]);

    let (is_ok, output) = site.xtask(&["build", "third"]);
    assert!(!is_ok, "{output}");
    let known = "handlers/: there is no handler third; the handlers are first, second";
    assert!(output.contains(known), "{output}");
}

#[test]
fn handlers_that_do_not_build_are_named_at_the_end_and_the_others_are_built() {
    let site = Site::new();
    site.package("second", COMPONENT, "fn broken(");
    // As `cargo new --lib` leaves it.
    site.package(
        "no-component",
        "[package]\nname = \"NAME\"\nedition = \"2024\"\n",
        "",
    );
    site.package("own", COMPONENT, "");
    site.package("own-broken", COMPONENT, "fn broken(");
    site.package("no-manifest", "[package\n", "");
    let names = [
        "first",
        "second",
        "no-component",
        "own",
        "own-broken",
        "no-manifest",
    ];
    let (is_ok, output) = site.xtask(&[&["build"], &names[..]].concat());
    assert!(!is_ok, "{output}");
    assert_eq!(site.built(), ["first.wasm", "own.wasm"], "{output}");
    let at = |text: &str| {
        output
            .find(text)
            .unwrap_or_else(|| panic!("no {text:?}: {output}"))
    };
    for failed in [
        "not built: handlers/second: package second does not build",
        "not built: handlers/no-component/Cargo.toml: package no-component builds no component: add",
        "not built: handlers/own-broken: package own-broken does not build",
        "not built: handlers/no-manifest/Cargo.toml: ",
    ] {
        assert!(at(failed) > at("wrote handlers/own.wasm"), "{output}");
    }
    let last = output.trim_end().lines().next_back();
    assert_eq!(last, Some("xtask: 4 builds failed; the reasons are above"));
}

#[test]
fn a_built_file_whose_sources_are_gone_is_named() {
    let site = Site::new();
    site.package("own", COMPONENT, "");
    let (is_ok, output) = site.xtask(&["build", "first", "own"]);
    assert!(is_ok && !output.contains("still served"), "{output}");
    fs::remove_dir_all(site.path().join("handlers/own")).expect("removed");

    let (is_ok, output) = site.xtask(&["build", "first"]);
    assert!(is_ok, "{output}");
    let line = "handlers/own.wasm: still served, but handlers/own no longer builds it";
    assert!(output.contains(line), "{output}");
    assert_eq!(
        site.built(),
        ["first.wasm", "own.wasm"],
        "it is left to its owner"
    );
}

#[test]
fn a_lock_that_another_cargo_holds_is_told() {
    let site = Site::new();
    let (is_ok, output) = site.xtask(&["build", "first"]);
    assert!(is_ok, "{output}");
    let lock = site
        .path()
        .join("target/guests/wasm32-wasip2/guest/.cargo-lock");
    let lock = fs::File::open(lock).expect("it is there");
    lock.lock().expect("locked");
    let mut command = Command::new(XTASK);
    let mut child = command
        .args(["build", "second"])
        .current_dir(site.path())
        .env("CARGO_MANIFEST_DIR", site.path().join("xtask"))
        .env("CARGO_TARGET_DIR", site.path().join("target"))
        .env("CARGO_NET_OFFLINE", "true")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().expect("it")));
    let mut waits = false;
    for line in lines {
        let line = line.expect("text");
        if line.contains("Blocking waiting for file lock") {
            waits = true;
            lock.unlock().expect("unlocked");
        }
    }
    assert!(child.wait().expect("ended").success());
    assert!(waits, "the line that says so");
}
