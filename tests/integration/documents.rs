//! The console blocks of the documents that need only the program: each command prints what the
//! document shows.
//!
//! `cargo xtask docs` runs all blocks, with a build and a network.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::console::{Example, examples, is_as_shown};
use crate::support::guests;
use crate::support::site::Site;

/// The documents with such blocks.
const DOCUMENTS: [&str; 3] = ["README.md", "docs/configuration.md", "docs/deploying.md"];

/// Returns the commands of a document that start with `wasgi` and end without a signal.
fn commands(text: &str) -> Vec<Example> {
    let mut all = Vec::new();
    let mut lines = text.lines();
    while lines.any(|line| line == "```console") {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        all.extend(examples(&block));
    }
    all.retain(|example| {
        let command = &example.command;
        command.starts_with("wasgi ") && !command.starts_with("wasgi serve")
    });
    all
}

/// Returns a copy of the demo site, with the handler with an error that the README checks.
fn site() -> Site {
    let site = Site::new().with_page("index.html", "A page\n");
    for route in ["echo", "environ", "hello", "sleep", "users/[id]"] {
        site.install(&format!("{route}.wasm"), &guests::demo(route));
    }
    site.install("shop.wasm", &guests::case("short-body"));
    site
}

/// Runs a command in the folder of a site. Returns what it prints.
fn output(site: &Site, command: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_wasgi"));
    let mut path = OsString::from(program.parent().expect("it is in a folder"));
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-c", &format!("{command} 2>&1")])
        .current_dir(site.path())
        .env("PATH", path)
        .env(
            "XDG_CACHE_HOME",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        )
        .stdin(Stdio::null())
        .output()
        .expect("sh starts");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_command_prints_what_the_document_shows() {
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    let root = PathBuf::from(package).join("..");
    let site = site();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).expect("a document");
        let commands = commands(&text);
        assert!(!commands.is_empty(), "{document} has no commands");
        for Example { command, expected } in commands {
            assert!(
                !expected.is_empty(),
                "{document}: {command}: no output is shown"
            );
            let said = output(&site, &command);
            assert!(
                is_as_shown(&said, &expected),
                "{document}:\n$ {command}\n{}\n\nprinted:\n{said}",
                expected.join("\n")
            );
        }
    }
}

#[test]
fn an_output_that_differs_from_the_document_is_found() {
    let [example] = &commands("```console\n$ wasgi --version\nwasgi 0.0.0\n```\n")[..] else {
        panic!("it is one command");
    };
    let said = output(&Site::new(), &example.command);
    assert!(said.starts_with("wasgi "), "{said}");
    assert!(!is_as_shown(&said, &example.expected), "{said}");
}
