//! One file that is the server and the site.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use crate::support::bundle::{Bundle, bundle};
use crate::support::command::code_cache;
use crate::support::process::{Ended, Process};
use crate::support::server::Server;
use crate::support::site::Site;

/// A folder with a program that contains a site.
struct Program {
    folder: TempDir,
}

impl Program {
    fn from_site(site: &Site) -> Program {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("site");
        let flags = ["--self-contained", "-o", file.to_str().expect("text")];
        bundle(site, &flags).expect_success();
        Program { folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("site"));
        command
            .args(arguments)
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Process::start(&mut self.command(arguments)).wait()
    }
}

fn site() -> Site {
    Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("hello", "the handler")
}

#[test]
fn a_program_serves_the_site_at_its_end() {
    let program = Program::from_site(&site());
    for flags in [&[][..], &["--processes", "2"]] {
        let mut command = program.command(&["--addr", "127.0.0.1:0"]);
        command.arg("--code-cache").arg(code_cache()).args(flags);
        let server = Server::started(Process::start(&mut command));
        assert_eq!(server.get("/").body, b"the page");
        assert_eq!(server.get("/hello").body, b"the handler");
        assert!(server.stop().status.success());
    }
    let mode = fs::metadata(program.folder.path().join("site")).expect("there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o755);
}

#[test]
fn the_other_commands_of_a_program_with_a_site_use_that_site() {
    let program = Program::from_site(&site());
    let routes = program.run(&["routes"]);
    assert!(
        routes.stdout.join("\n").contains("/hello"),
        "{}",
        routes.everything()
    );
    let response = program.run(&["run", "hello", "GET", "/hello", "--body-only"]);
    assert_eq!(
        response.stdout,
        ["the handler"],
        "{}",
        response.everything()
    );
    assert!(program.run(&["--version"]).stdout[0].starts_with("wasgi "));
    let own = program.folder.path().join("site");
    let checked = program.run(&["bundle", "--check", own.to_str().expect("text")]);
    assert!(
        checked.stdout[0].contains("no damage"),
        "{}",
        checked.everything()
    );
    // It makes bundles of other sites, without its own.
    let other = Site::new().with_page("index.html", "another");
    let file = program.folder.path().join("other");
    let arguments = [
        "bundle",
        other.path().to_str().expect("text"),
        "--self-contained",
        "-o",
        file.to_str().expect("text"),
    ];
    program.run(&arguments).expect_success();
    let listed = Process::start(Command::new(&file).args(["bundle", "--list"]).arg(&file)).wait();
    assert_eq!(listed.stdout.len(), 1, "{}", listed.everything());
}

#[test]
fn damage_to_the_program_before_a_site_is_found() {
    let program = Program::from_site(&site());
    let file = program.folder.path().join("site");
    let mut bytes = fs::read(&file).expect("it can be read");
    // In the padding of the ELF header, which nothing reads.
    bytes[15] ^= 1;
    let damaged = program.folder.path().join("damaged");
    fs::write(&damaged, bytes).expect("written");
    let damaged = damaged.to_str().expect("text");
    let checked = program.run(&["bundle", "--check", damaged]);
    let line = checked.refusal();
    assert!(
        line.contains("the program before the bundle has another hash"),
        "{line}"
    );
}

#[test]
fn a_bundle_and_the_bundle_in_a_program_are_the_same() {
    let site = site();
    let (program, bundle) = (Program::from_site(&site), Bundle::from_site(&site));
    let own = fs::read(program.folder.path().join("site")).expect("it can be read");
    let bytes = bundle.bytes();
    assert!(own.windows(bytes.len()).any(|part| part == bytes));
}
