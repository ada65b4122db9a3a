//! Runs the commands of a documentation page from top to bottom in a new copy of the repository, to
//! check that the page works as written. `cargo xtask docs [PAGE…]` runs this program.
//!
//! Of a page's fenced blocks, `sh` is run; `console` is run where a line begins with `$ `, and the
//! output is compared with the lines below it, in which `…` matches anything. Other blocks are
//! ignored. The tests (`tests/integration/documents.rs`) run the blocks that need only the server's
//! program. A comment above a block changes its treatment:
//!
//! - `<!-- run: background until "TEXT" -->`: starts it, and waits until its output contains the
//!   text.
//! - `<!-- run: write FILE -->`: writes the block to a file.
//! - `<!-- run: in place of "TEXT" in FILE -->`: replaces the text with the block.
//! - `<!-- run: where PROGRAM -->`: runs it if this program is installed.
//! - `<!-- run: no, WHY -->`: skips it.
//!
//! Two comments don't apply to a block. They set up what a page assumes:
//!
//! - `<!-- run: first COMMAND -->`: runs a command.
//! - `<!-- run: serve FOLDER -->`: builds the server, adds `wasgi` to the path, and serves a
//!   folder.
//!
//! The addresses 127.0.0.1:8000 and 127.0.0.1:8001 are replaced with unused ones, in commands and
//! in files.

#![forbid(unsafe_code)]

#[path = "../../../tests/support/console.rs"]
mod console;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use builder::{Workspace, tracked};
use processes::step;

use self::console::{Example, is_as_shown};

/// The folders of the pages that are run by default: all in them that have commands.
const FOLDERS: [&str; 4] = ["", "docs", "guest-sdk/python", "guest-sdk/rust"];

/// The folders in which a page creates no files.
const SOURCES: [&str; 7] = [
    "benches",
    "docs",
    "guest-sdk",
    "host",
    "tests",
    "tools",
    "xtask",
];

/// The addresses in the documentation: the server's default, and that of a second server.
const ADDRESSES: [&str; 2] = ["127.0.0.1:8000", "127.0.0.1:8001"];

/// The pause before a command is retried.
const PAUSE: Duration = Duration::from_millis(500);

/// The number of attempts for a command whose output doesn't match yet: a server loads a changed
/// handler with a delay, and builds the first one in Rust with the SDK, which takes some minutes on
/// a busy machine.
const TRIES: u32 = 1_200;

/// The number of times that a background command's output is checked: half an hour, which includes
/// the first build of the server.
const BACKGROUND_TRIES: u32 = 3600;

/// A step of a page.
#[derive(Debug, PartialEq)]
enum Action {
    /// Runs a command, and compares its output with these lines, if any.
    Run {
        command: String,
        expected: Vec<String>,
    },
    /// Starts a command, and waits for a text.
    Start { command: String, until: String },
    /// Writes a file.
    Write { file: String, text: String },
    /// Replaces a text in a file.
    Replace {
        file: String,
        old: String,
        new: String,
    },
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match Workspace::load().and_then(|workspace| run(&workspace, &arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("doc-runner: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs each page in a new copy.
fn run(workspace: &Workspace, pages: &[OsString]) -> Result<()> {
    let pages = match pages {
        [] => pages_with_commands(&workspace.root)?,
        named => named.to_vec(),
    };
    for page in &pages {
        let text = fs::read_to_string(workspace.root.join(page))
            .with_context(|| format!("can't read {}", page.display()))?;
        let actions = parse(&text).with_context(|| page.display().to_string())?;
        step(format!("{}: {} steps", page.display(), actions.len()));
        let copy = Copy::make(workspace)?;
        let begun = Instant::now();
        copy.run(&actions)
            .and_then(|()| copy.expect_unchanged())
            .with_context(|| format!("{} does not work as written", page.display()))?;
        step(format!(
            "{}: done in {} s",
            page.display(),
            begun.elapsed().as_secs()
        ));
    }
    Ok(())
}

/// Returns the pages that have commands, or set something up.
fn pages_with_commands(root: &Path) -> Result<Vec<OsString>> {
    let mut pages = Vec::new();
    for folder in FOLDERS {
        for entry in root.join(folder).read_dir()? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let actions = parse(&text).with_context(|| path.display().to_string())?;
            let has_commands = text.contains("\n```sh\n") || text.contains("\n```console\n");
            if has_commands || !actions.is_empty() {
                pages.push(path.strip_prefix(root)?.as_os_str().to_owned());
            }
        }
    }
    pages.sort();
    Ok(pages)
}

/// Parses a page into steps.
fn parse(text: &str) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    let mut directive: Option<&str> = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("<!-- run: ") {
            let rest = rest.trim_end_matches("-->").trim();
            if let Some(command) = rest.strip_prefix("first ") {
                actions.push(Action::Run {
                    command: format!("{command}\n"),
                    expected: Vec::new(),
                });
            } else if let Some(folder) = rest.strip_prefix("serve ") {
                actions.extend(serve(folder));
            } else {
                directive = Some(rest);
            }
            continue;
        }
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        add(directive.take(), language, &block, &mut actions)?;
    }
    ensure!(directive.is_none(), "a directive has no block");
    Ok(actions)
}

/// Returns the steps that build the server and serve a folder.
fn serve(folder: &str) -> [Action; 2] {
    let build = "cargo build --release --package wasgi\n\
                 export PATH=\"$CARGO_TARGET_DIR/release:$PATH\"\n";
    [
        Action::Run {
            command: build.to_owned(),
            expected: Vec::new(),
        },
        Action::Start {
            command: format!("wasgi serve {folder}\n"),
            until: "all handlers are loaded".to_owned(),
        },
    ]
}

fn add(
    directive: Option<&str>,
    language: &str,
    block: &[&str],
    actions: &mut Vec<Action>,
) -> Result<()> {
    let text = format!("{}\n", block.join("\n"));
    let Some(directive) = directive else {
        match language {
            "sh" => actions.push(Action::Run {
                command: text,
                expected: Vec::new(),
            }),
            "console" => add_console(block, actions),
            _ => {}
        }
        return Ok(());
    };
    if let Some(until) = directive.strip_prefix("background until ") {
        let until = until.trim_matches('"').to_owned();
        actions.push(Action::Start {
            command: text,
            until,
        });
    } else if let Some(program) = directive.strip_prefix("where ") {
        let command = format!("if command -v {program} >/dev/null; then\n{text}fi\n");
        let expected = Vec::new();
        actions.push(Action::Run { command, expected });
    } else if let Some(file) = directive.strip_prefix("write ") {
        let file = file.to_owned();
        actions.push(Action::Write { file, text });
    } else if let Some(rest) = directive.strip_prefix("in place of \"") {
        let (old, file) = rest
            .split_once("\" in ")
            .context("expected \"TEXT\" in FILE")?;
        actions.push(Action::Replace {
            file: file.to_owned(),
            old: old.to_owned(),
            new: text,
        });
    } else if !directive.starts_with("no,") {
        bail!("unknown directive {directive:?}");
    }
    Ok(())
}

/// Adds each command of a console block, with its expected output.
fn add_console(block: &[&str], actions: &mut Vec<Action>) {
    let examples = console::examples(block).into_iter();
    actions.extend(examples.map(|Example { command, expected }| Action::Run {
        command: format!("{command}\n"),
        expected,
    }));
}

/// A new copy of the repository, and the processes that are started in it.
struct Copy {
    /// Contains the copy, and the files that pages create beside it.
    folder: tempfile::TempDir,
    root: PathBuf,
    target: PathBuf,
    /// The addresses that replace those of the documentation.
    addresses: [String; ADDRESSES.len()],
}

impl Copy {
    /// Copies the tracked files from the working tree; all files of a source archive. The target
    /// folder is the caller's, so that the dependencies are compiled once.
    fn make(workspace: &Workspace) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("wasgi-docs-").tempdir()?;
        let root = folder.path().join("wasgi");
        match tracked::is_repository(&workspace.root) {
            true => copy_tracked(&workspace.root, &root)?,
            false => tracked::copy_folder(&workspace.root, &root)?,
        }
        // A repository, because `cargo new` creates another one elsewhere.
        processes::text_of(git(&root).args(["init", "--quiet"]))?;
        processes::text_of(git(&root).args(["add", "--all", "--force"]))?;
        let addresses = unused_addresses().context("can't find unused addresses")?;
        Ok(Self {
            folder,
            root,
            target: workspace.target.clone(),
            addresses,
        })
    }

    /// Runs a page's steps in one shell, and ends the processes that they started.
    fn run(&self, actions: &[Action]) -> Result<()> {
        let mut shell = Shell::start(self)?;
        for action in actions {
            match action {
                Action::Write { file, text } => {
                    let file = self.root.join(file);
                    fs::create_dir_all(file.parent().unwrap_or(&file))?;
                    fs::write(&file, self.with_addresses(text))
                        .with_context(|| format!("can't write {}", file.display()))?;
                }
                Action::Replace { file, old, new } => {
                    let file = self.root.join(file);
                    let text = fs::read_to_string(&file)
                        .with_context(|| format!("can't read {}", file.display()))?;
                    ensure!(
                        text.contains(old),
                        "{} does not contain {old:?}",
                        file.display()
                    );
                    fs::write(&file, text.replacen(old, new, 1))?;
                }
                Action::Start { command, until } => shell.start_job(&self.adapt(command), until)?,
                Action::Run { command, expected } => shell.run(&self.adapt(command), expected)?,
            }
        }
        Ok(())
    }

    /// Checks that a page changes no tracked file, and leaves no file in the folders of sources but
    /// the interpreter's and cargo's caches.
    fn expect_unchanged(&self) -> Result<()> {
        let changed = processes::text_of(git(&self.root).args(["diff", "--name-only"]))?;
        ensure!(changed.is_empty(), "it changes tracked files:\n{changed}");
        let mut others = git(&self.root);
        others.args([
            "ls-files",
            "--others",
            "--exclude=__pycache__",
            "--exclude=target",
        ]);
        others.arg("--");
        let new = processes::text_of(others.args(SOURCES))?;
        ensure!(new.is_empty(), "it leaves files among the sources:\n{new}");
        Ok(())
    }

    /// Replaces the addresses of the documentation with the copy's.
    fn with_addresses(&self, text: &str) -> String {
        let pairs = ADDRESSES.iter().zip(&self.addresses);
        pairs.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// Replaces the addresses in a command of the page with the copy's.
    fn adapt(&self, command: &str) -> String {
        let serves = |line: &&str| {
            let starts = ["cargo xtask serve", "wasgi dev", "wasgi serve"];
            starts.iter().any(|start| line.starts_with(start)) && !line.contains("--addr")
        };
        let lines = command.lines().map(|line| {
            let line = self.with_addresses(line);
            match serves(&&*line) {
                true => format!("{line} --addr {}\n", self.addresses[0]),
                false => format!("{line}\n"),
            }
        });
        lines.collect()
    }
}

/// Returns unused addresses, all different.
fn unused_addresses() -> std::io::Result<[String; ADDRESSES.len()]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // Both are bound at the same time, so that they differ.
    let (first, second) = (bind()?, bind()?);
    let address = |listener: &TcpListener| std::io::Result::Ok(listener.local_addr()?.to_string());
    Ok([address(&first)?, address(&second)?])
}

/// Returns a git command in a folder.
fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(folder);
    git
}

/// Copies the files that git tracks.
fn copy_tracked(from: &Path, to: &Path) -> Result<()> {
    let listed = git(from).args(["ls-files", "-z"]).output();
    let listed = listed.context("can't start git")?;
    ensure!(listed.status.success(), "git ls-files failed");
    for name in listed.stdout.split(|byte| *byte == 0) {
        let name = std::str::from_utf8(name)?;
        let from = from.join(name);
        if name.is_empty() || !from.is_file() {
            continue;
        }
        let to = to.join(name);
        fs::create_dir_all(to.parent().unwrap_or(&to))?;
        fs::copy(&from, &to).with_context(|| format!("can't copy {name}"))?;
    }
    Ok(())
}

/// One shell for a whole page: the effects of a command persist for the next one.
struct Shell {
    child: Child,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// The folder of the commands' outputs.
    said: PathBuf,
    commands_count: usize,
}

impl Shell {
    fn start(copy: &Copy) -> Result<Self> {
        // Programs that the page installs go to a folder of the copy.
        let installed = copy.folder.path().join(".installed");
        let mut path = OsString::from(installed.join("bin"));
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(&copy.root)
            .env("PATH", path)
            .env("CARGO_INSTALL_ROOT", &installed)
            .env("CARGO_TARGET_DIR", &copy.target)
            .env("XDG_CACHE_HOME", copy.folder.path().join(".cache"))
            .env_remove("CARGO_MANIFEST_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start bash")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (mut input, output) = (input.context("no input")?, output.context("no output")?);
        // Runs each job in its own process group, so that the whole group can be ended.
        writeln!(input, "set -m")?;
        Ok(Self {
            child,
            input,
            answers: BufReader::new(output).lines(),
            said: copy.folder.path().join(".said"),
            commands_count: 0,
        })
    }

    /// Runs a command until its output matches the page.
    fn run(&mut self, command: &str, expected: &[String]) -> Result<()> {
        let shown = command.trim_end();
        step(format!("$ {shown}"));
        let tries = if expected.is_empty() { 1 } else { TRIES };
        for left in (0..tries).rev() {
            let said = self.next_file();
            let file = said.display();
            writeln!(
                self.input,
                "{{\n{command}}} >'{file}' 2>&1 </dev/null; echo $?"
            )?;
            let code = self.answers.next().context("the shell exited")??;
            let output = fs::read_to_string(&said).unwrap_or_default();
            if code == "0" && is_as_shown(&output, expected) {
                return Ok(());
            }
            if left == 0 {
                bail!("{shown}\nexited with {code} and printed:\n{output}");
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Starts a command in the background, and waits until its output contains a text.
    fn start_job(&mut self, command: &str, until: &str) -> Result<()> {
        let shown = command.trim_end();
        step(format!("$ {shown} &"));
        let said = self.next_file();
        writeln!(
            self.input,
            "{{\n{command}}} >'{}' 2>&1 </dev/null &",
            said.display()
        )?;
        let job = self.ask("echo $!")?;
        for _ in 0..BACKGROUND_TRIES {
            if fs::read_to_string(&said).is_ok_and(|text| text.contains(until)) {
                return Ok(());
            }
            if self.ask(&format!("kill -0 {job} 2>/dev/null; echo $?"))? != "0" {
                break;
            }
            thread::sleep(PAUSE);
        }
        let output = fs::read_to_string(&said).unwrap_or_default();
        bail!("{shown}\ndid not print {until:?}, but:\n{output}")
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        writeln!(self.input, "{command}")?;
        Ok(self.answers.next().context("the shell exited")??)
    }

    fn next_file(&mut self) -> PathBuf {
        self.commands_count += 1;
        self.said.with_extension(self.commands_count.to_string())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Fails if the shell has exited, and then there are no jobs to end.
        let _ = writeln!(
            self.input,
            "for job in $(jobs -p); do kill -TERM -- -$job; done; wait; exit"
        );
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_it_has_its_reader_do() {
        let page = "<!-- run: background until \"ready\" -->\n```sh\nserve\n```\ntext\n\
                    <!-- run: write a/b.rs -->\n```rust\nfn b() {}\n```\n\
                    <!-- run: in place of \"[x]\" in c.toml -->\n```toml\n[y]\n```\n\
                    <!-- run: no, it takes an hour -->\n```sh\nlong\n```\n\
                    ```console\n$ one\nsays …\n$ two\n```\n```rust\nread\n```\n";
        let actions = parse(page).expect("it is a page");
        let run = |command: &str, expected: &[&str]| Action::Run {
            command: command.into(),
            expected: expected.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(
            actions,
            [
                Action::Start {
                    command: "serve\n".into(),
                    until: "ready".into()
                },
                Action::Write {
                    file: "a/b.rs".into(),
                    text: "fn b() {}\n".into()
                },
                Action::Replace {
                    file: "c.toml".into(),
                    old: "[x]".into(),
                    new: "[y]\n".into()
                },
                run("one\n", &["says …"]),
                run("two\n", &[]),
            ]
        );
        let only = parse("<!-- run: where go -->\n```sh\ngo\n```\n").expect("it is a page");
        let command = "if command -v go >/dev/null; then\ngo\nfi\n";
        assert_eq!(only, [run(command, &[])]);
        assert!(parse("<!-- run: fly -->\n```sh\nx\n```\n").is_err());
        assert!(parse("<!-- run: no, why -->\n").is_err());
    }

    #[test]
    fn what_a_page_shows_is_compared_line_by_line() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert!(is_as_shown("a\nHello, Ada!\nb\n", &lines("Hello, Ada!")));
        assert!(is_as_shown(
            "took 17 ms, 3 of 4\n",
            &lines("took … ms, … of 4")
        ));
        assert!(is_as_shown("a\nb\nc\n", &lines("a\n…\nc")));
        assert!(!is_as_shown("b\na\n", &lines("a\nb")));
        assert!(!is_as_shown("Hello, Eve!\n", &lines("Hello, Ada!")));
    }

    #[test]
    fn every_page_with_commands_can_be_run() {
        let root = Workspace::load().expect("cargo describes it").root;
        let pages = pages_with_commands(&root).expect("all can be parsed");
        for page in ["README.md", "docs/hosts.md", "guest-sdk/python/README.md"] {
            assert!(pages.contains(&page.into()), "{page}: {pages:?}");
        }
    }

    #[test]
    fn what_a_page_takes_for_granted_is_done_where_it_stands() {
        let page = "<!-- run: first mkdir a -->\n\n<!-- run: serve a -->\n```sh\nb\n```\n";
        let actions = parse(page).expect("it is a page");
        let commands = actions.iter().map(|action| match action {
            Action::Run { command, .. } | Action::Start { command, .. } => command.as_str(),
            _ => "",
        });
        let commands: Vec<&str> = commands.collect();
        assert_eq!(commands[0], "mkdir a\n");
        assert!(commands[1].starts_with("cargo build "), "{commands:?}");
        assert_eq!(commands[2..], ["wasgi serve a\n", "b\n"]);
    }
}
