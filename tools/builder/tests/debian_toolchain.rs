//! The script that installs Debian's guest toolchain: what it would add to apt's package sources,
//! and which packages it would install.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const BOOKWORM: &str = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";

const UPDATE: &str = "apt-get update\n";

const INSTALL: &str = "apt-get install --yes --no-install-recommends --no-remove rustc-web \
                       rust-web-src wasi-libc/bookworm-backports\n";

/// Runs the script for a system with these files, without installing anything. Returns its output,
/// or its error.
fn dry_run(language: &str, os_release: &str, sources: &[(&str, &str)]) -> Result<String, String> {
    let etc = TempDir::new().expect("a folder");
    fs::write(etc.path().join("os-release"), os_release).expect("a file");
    fs::create_dir_all(etc.path().join("apt/sources.list.d")).expect("a folder");
    for (file, text) in sources {
        fs::write(etc.path().join("apt").join(file), text).expect("a file");
    }
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    let script = Path::new(&package).join("../install-debian-guest-toolchain");
    let output = Command::new(script)
        .args(["--dry-run", "--etc"])
        .arg(etc.path())
        .arg(language)
        .output()
        .expect("the script starts");
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.replace(&format!("{}/", etc.path().display()), "")
    };
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// Returns the output for a release whose package sources these are, without the calls of apt.
fn added(sources: &[(&str, &str)]) -> String {
    let output = dry_run("rust", BOOKWORM, sources).expect("it is a release of Debian");
    let calls = format!("{UPDATE}{INSTALL}");
    let added = output.strip_suffix(&calls);
    added.unwrap_or_else(|| panic!("{output}")).to_owned()
}

#[test]
fn the_backports_are_added_as_a_stanza_like_the_releases() {
    let text = "Types: deb\nURIs: http://a.example/security\nSuites: bookworm-security\n\
                Components: main\n\n# The release.\nTypes: deb deb-src\n# A mirror.\n\
                URIs: http://a.example/debian\nSuites: bookworm\n bookworm-updates\n\
                Components: main contrib\nSigned-By:\n -----BEGIN-----\n .\n abc\n";
    assert_eq!(
        added(&[("sources.list.d/debian.sources", text)]),
        "apt/sources.list.d/bookworm-backports.sources:\nTypes: deb\n\
         URIs: http://a.example/debian\nSuites: bookworm-backports\nComponents: main\n\
         Signed-By:\n -----BEGIN-----\n .\n abc\n"
    );
}

#[test]
fn the_backports_are_added_as_a_line_like_the_releases() {
    let text = "# deb http://no.example bookworm main\n\
                deb-src http://no.example bookworm main\n\
                deb http://no.example bookworm-updates main\n\
                deb [ signed-by=/k.gpg arch=amd64 ] http://a.example/debian bookworm main contrib\n\
                deb http://second.example bookworm main\n";
    assert_eq!(
        added(&[("sources.list", text)]),
        "apt/sources.list.d/bookworm-backports.list:\n\
         deb [ signed-by=/k.gpg arch=amd64 ] http://a.example/debian bookworm-backports main\n"
    );
    let text = "deb http://a.example/debian bookworm main";
    assert_eq!(
        added(&[("sources.list", text)]),
        "apt/sources.list.d/bookworm-backports.list:\n\
         deb http://a.example/debian bookworm-backports main\n"
    );
}

#[test]
fn backports_that_apt_knows_are_not_added() {
    for (file, text) in [
        (
            "sources.list",
            "deb http://a.example bookworm-backports main\n",
        ),
        (
            "sources.list.d/x.sources",
            "Types: deb\nURIs: http://a.example\nSuites: bookworm bookworm-backports\n",
        ),
    ] {
        assert_eq!(added(&[(file, text)]), "", "{text}");
    }
    let text = "# deb http://a.example bookworm-backports main\n\
                deb http://a.example bookworm main\n";
    assert_ne!(added(&[("sources.list", text)]), "");
}

#[test]
fn a_source_that_does_not_fit_is_not_copied() {
    for (file, text) in [
        (
            "sources.list.d/off.sources",
            "Types: deb\nEnabled: no\nURIs: http://a.example\nSuites: bookworm\n",
        ),
        (
            "sources.list.d/src.sources",
            "Types: deb-src\nURIs: http://a.example\nSuites: bookworm\n",
        ),
        (
            "sources.list.d/other.sources",
            "Types: deb\nURIs: http://a.example\nSuites: trixie\n",
        ),
        (
            "sources.list.d/a.bak",
            "deb http://a.example bookworm main\n",
        ),
        ("sources.list", ""),
    ] {
        let error = dry_run("rust", BOOKWORM, &[(file, text)]).expect_err(text);
        assert_eq!(error, "error: apt has no package source for bookworm\n");
    }
}

#[test]
fn handlers_in_c_need_no_backports() {
    assert_eq!(
        dry_run("c", BOOKWORM, &[]).expect("it is Debian"),
        "apt-get update\napt-get install --yes --no-install-recommends --no-remove clang lld \
         libclang-rt-dev-wasm32 wasi-libc\n"
    );
}

#[test]
fn only_a_release_of_debian_is_accepted() {
    let other = "ID=fedora\nID_LIKE=debian\nVERSION_CODENAME=x\n";
    let error = dry_run("rust", other, &[]).expect_err("it is Fedora");
    assert_eq!(error, "error: this is not Debian\n");
    let error = dry_run("rust", "ID=debian\n", &[]).expect_err("it has no code name");
    assert_eq!(error, "error: this release of Debian has no code name\n");
    let error = dry_run("go", BOOKWORM, &[]).expect_err("no such language");
    assert_eq!(error, "error: the argument must be rust or c\n");
}
