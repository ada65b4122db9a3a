//! Colours: on a terminal, and never with `NO_COLOR`.
//!
//! Commands run on a terminal that `script` makes. Without this program, the tests say so and pass.

use std::process::Command;

use rustix::process::{Signal, kill_process};

use crate::dev::program;
use crate::projects::{has, has_c};
use crate::support::command::{code_cache, wasgi};
use crate::support::process::Process;
use crate::support::site::Site;

/// Returns whether a text has a sequence that sets colours (ECMA-48, SGR). Others are not counted:
/// the line that says what is being built, if it takes long, is cleared by one.
fn has_colours(text: &str) -> bool {
    text.split("\x1b[").skip(1).any(|rest| {
        let end = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        end.starts_with('m')
    })
}

/// Returns a command that runs the program on a terminal.
fn on_a_terminal(arguments: &[&str], no_color: &str) -> Command {
    let program = wasgi(arguments);
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let quoted: Vec<String> = words
        .map(|word| format!("'{}'", word.to_str().expect("text").replace('\'', "'\\''")))
        .collect();
    let mut command = Command::new("script");
    command
        .args([
            "--quiet",
            "--flush",
            "--command",
            // It takes the place of the shell: it is the child of `script`.
            &format!("exec {}", quoted.join(" ")),
            "/dev/null",
        ])
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("TERM", "xterm")
        .env("NO_COLOR", no_color);
    command
}

/// A server on a terminal. Dropping it ends the server: that of its terminal does so only if the
/// tests run without `nohup`, whose programs ignore SIGHUP.
struct OnTerminal(Process);

impl Drop for OnTerminal {
    fn drop(&mut self) {
        for server in self.0.children() {
            // Fails if it has ended.
            let _ = kill_process(server, Signal::KILL);
        }
    }
}

fn has_script() -> bool {
    has("script", &["--quiet", "--command", "true", "/dev/null"])
}

/// A site whose handlers work, trap, break a rule, and don't compile.
fn site() -> Site {
    let site = Site::new();
    let page = ["Content-Type: text/plain\r\n\r\n", "page"];
    site.write_handler("good.wat", program(&page, false));
    site.write_handler("traps.wat", program(&page, true));
    site.write_handler("wrong.wat", program(&["no head"], false));
    site.write_handler("broken.wat", "(nonsense");
    let tests = site.path().join("tests");
    std::fs::create_dir(&tests).expect("created");
    std::fs::write(tests.join("a.hurl"), "GET /good\nHTTP 201\n").expect("written");
    site
}

#[test]
fn each_command_has_its_colours_on_a_terminal_and_none_with_no_color() {
    if !has_script() {
        return;
    }
    let site = site();
    let folder = site.path().to_str().expect("text");
    let handler = |name: &str| {
        site.handlers()
            .join(name)
            .to_str()
            .expect("text")
            .to_owned()
    };
    let (good, traps, wrong) = (
        handler("good.wat"),
        handler("traps.wat"),
        handler("wrong.wat"),
    );
    let cache = code_cache().to_str().expect("text").to_owned();
    let common = ["--site", folder, "--code-cache", &cache];
    let of = |words: &[&'static str], more: &[&str]| -> Vec<String> {
        let words = words.iter().copied().chain(more.iter().copied());
        words.map(str::to_owned).collect()
    };
    for (arguments, text, is_coloured) in [
        // Errors in the command line, and help.
        (of(&["--nonsense"], &[]), "error", false),
        (of(&["--help"], &[]), "Usage", false),
        // What handlers log, and why they fail.
        (
            of(&["run"], &[&[&*traps][..], &common].concat()),
            "unreachable",
            true,
        ),
        (
            of(&["run", "--body-only"], &[&[&*good][..], &common].concat()),
            "page",
            false,
        ),
        (
            of(&["check"], &[&[&*wrong][..], &common].concat()),
            "error",
            true,
        ),
        (of(&["test"], &common), "fail", true),
        (of(&["doctor"], &[folder]), "ok", true),
        (
            of(&["routes"], &[folder, "--code-cache", &cache]),
            "/good",
            false,
        ),
        (of(&["config"], &[folder]), "[server]", false),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        for (no_color, expected) in [("", is_coloured), ("1", false)] {
            let ended = Process::start(&mut on_a_terminal(&arguments, no_color)).wait();
            let said = ended.stdout.join("\n");
            assert!(said.contains(text), "{arguments:?}: {said}");
            assert_eq!(has_colours(&said), expected, "{arguments:?}: {said:?}");
        }
    }
}

#[test]
fn servers_have_a_start_screen_on_a_terminal_and_no_colours_with_no_color() {
    if !has_script() {
        return;
    }
    let site = site();
    let folder = site.path().to_str().expect("text");
    let cache = code_cache().to_str().expect("text").to_owned();
    for command in ["serve", "dev"] {
        let flags = [
            command,
            "--addr",
            "127.0.0.1:0",
            "--code-cache",
            &cache,
            folder,
        ];
        for (no_color, expected) in [("", true), ("1", false)] {
            let process = OnTerminal(Process::start(&mut on_a_terminal(&flags, no_color)));
            let output = process.0.stdout.as_ref().expect("it is running");
            output.expect(&["all handlers are loaded"]);
            let said = output.lines().join("\n");
            for text in [
                &format!("wasgi {command}"),
                "pages ",
                "Ctrl-C",
                "listening on",
            ] {
                assert!(said.contains(text), "{text}: {said}");
            }
            assert_eq!(
                said.contains("dashboard  http://127.0.0.1:"),
                command == "dev"
            );
            assert_eq!(has_colours(&said), expected, "{said:?}");
        }
    }
}

#[test]
fn a_compilers_messages_have_colours_on_a_terminal_and_none_with_no_color() {
    if !has_script() || !has_c() {
        return;
    }
    let site = Site::new();
    site.write_handler("page.c", "int main(void) { retrun 0; }\n");
    let folder = site.path().to_str().expect("text");
    for (no_color, expected) in [("", true), ("1", false)] {
        let mut command = on_a_terminal(&["build", "page", "--site", folder], no_color);
        let ended = Process::start(&mut command).wait();
        let said = ended.stdout.join("\n");
        assert!(said.contains("retrun"), "{said}");
        assert_eq!(has_colours(&said), expected, "{said:?}");
    }
}
