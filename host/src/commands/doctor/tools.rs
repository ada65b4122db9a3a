//! Compilers for projects, and runtimes for scripts: those that the site's handlers need, and those
//! that they could use.

use std::collections::BTreeSet;
use std::process::Command;

use super::finding::Finding;
use crate::config::Config;
use crate::reload::projects::{self, ADD_RUST_TARGET, ProjectKind, RUST_TARGET};
use crate::reload::{self, Language};

const GROUP: &str = "toolchains";

/// The kinds of projects, by the language that they are for.
const TOOLS: [(&str, &[ProjectKind]); 5] = [
    ("Rust", &[ProjectKind::Cargo, ProjectKind::RustFile]),
    ("Go", &[ProjectKind::Go, ProjectKind::GoFile]),
    ("C", &[ProjectKind::CFile]),
    ("make", &[ProjectKind::Make]),
    ("npm", &[ProjectKind::Npm]),
];

/// The first minor version of Go 1 that builds for `wasip1`.
const MIN_GO_MINOR: u32 = 21;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let builds = config.site.builds();
    let projects = builds.map(|builds| reload::find_projects(config.site.handlers(), &builds));
    let projects = projects.unwrap_or_default();
    let mut findings: Vec<Finding> = TOOLS
        .iter()
        .map(|(language, kinds)| {
            let is_of = |kind: ProjectKind| kinds.contains(&kind);
            let count = projects.iter().filter(|one| is_of(one.kind)).count();
            tool(language, kinds[0], count)
        })
        .collect();
    findings.extend(runtimes(config));
    findings
}

/// Checks the compiler of a language that `count` projects are written in.
fn tool(language: &str, kind: ProjectKind, count: usize) -> Finding {
    let (what, advice) = match state(kind) {
        Ok(version) => {
            let what = format!("{version}{}", needed_by(count));
            return Finding::ok(GROUP, language, &what);
        }
        Err(missing) => missing,
    };
    match count {
        0 => Finding::ok(GROUP, language, &format!("{what}; no handler needs it")),
        count => {
            let what = format!("{what}{}", needed_by(count));
            Finding::problem(GROUP, language, &what, &advice)
        }
    }
}

fn needed_by(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "; 1 handler needs it".to_owned(),
        count => format!("; {count} handlers need it"),
    }
}

/// Returns the version of a compiler, or what is missing and what to do.
fn state(kind: ProjectKind) -> Result<String, (String, String)> {
    let program = kind.program();
    let argument = match kind {
        ProjectKind::Go | ProjectKind::GoFile => "version",
        _ => "--version",
    };
    let missing = || {
        let advice = projects::install(kind).to_owned();
        (format!("{program} is not installed"), advice)
    };
    let version = first_line(program, &[argument]).ok_or_else(missing)?;
    match kind {
        ProjectKind::Cargo | ProjectKind::RustFile => {
            let sysroot = first_line("rustc", &["--print", "sysroot"]).ok_or_else(missing)?;
            let target = format!("{sysroot}/lib/rustlib/{RUST_TARGET}");
            if !std::path::Path::new(&target).is_dir() {
                let what = format!("{version}, without the target {RUST_TARGET}");
                return Err((what, format!("`{ADD_RUST_TARGET}`")));
            }
        }
        ProjectKind::Go | ProjectKind::GoFile if go_minor(&version) < Some(MIN_GO_MINOR) => {
            let what = format!("{version}, which can't build for wasip1");
            return Err((what, projects::install(kind).to_owned()));
        }
        ProjectKind::CFile => {
            let folder = first_line(
                "clang",
                &["--target=wasm32-wasi", "-print-file-name=crt1.o"],
            );
            // clang prints the name alone if there is no such file.
            if folder.is_none_or(|file| !file.contains('/')) {
                let what = format!("{version}, without a C library for WASI");
                return Err((what, projects::install(kind).to_owned()));
            }
        }
        _ => {}
    }
    Ok(version)
}

/// Returns the minor version of `go version go1.22.1 linux/amd64`.
fn go_minor(version: &str) -> Option<u32> {
    let (_, rest) = version.split_once("go1.")?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    minor.parse().ok()
}

/// Returns the first line that a command prints.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().next()?.trim().to_owned();
    output.status.success().then_some(line)
}

/// Checks the runtimes of scripts.
fn runtimes(config: &Config) -> Vec<Finding> {
    let scripts = reload::scripts(config.site.handlers());
    let used: BTreeSet<&str> = scripts.iter().map(|language| language.name()).collect();
    let folder = config.site.runtime();
    [
        (Language::Python, "python"),
        (Language::JavaScript, "javascript"),
    ]
    .into_iter()
    .map(|(language, name)| {
        let title = format!("{} scripts", language.name());
        let is_used = used.contains(language.name());
        let found = folder.as_ref().map(|folder| folder.join(name));
        match found.filter(|folder| folder.is_dir()) {
            Some(folder) => Finding::ok(GROUP, &title, &format!("{}", folder.display())),
            None if is_used => Finding::problem(
                GROUP,
                &title,
                "there is no runtime for them, and handlers are written in it",
                "`cargo xtask runtime` in the server's repository; site.runtime names its folder",
            ),
            None => Finding::ok(GROUP, &title, "there is no runtime; no handler needs it"),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_go_is_compared() {
        assert_eq!(go_minor("go version go1.19.8 linux/amd64"), Some(19));
        assert!(go_minor("go version go1.27 linux/amd64") >= Some(MIN_GO_MINOR));
        assert_eq!(go_minor("gofmt"), None);
    }
}
