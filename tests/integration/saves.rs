//! Scripts that are saved again and again while they are requested, the way editors and tools save.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::eventually;
use crate::support::scripts::Language::{self, JavaScript, Python};
use crate::support::scripts::{logs, until};
use crate::support::server::Server;
use crate::support::site::Site;

/// The number of saves; two hundred can find rarer faults: `WASGI_TEST_SAVES=200`.
const SAVES: usize = 12;

/// The maximum growth of the server's memory, in bytes, after the first third of the saves. The
/// state of one version takes 25 MB.
const MAX_GROWTH_BYTES: u64 = 64 << 20;

/// The module with the version.
const TEXTS: &str = "VERSION = 'version 0'\n";

/// An application whose response consists of many lines, all with the version.
const APP: &str = "def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    for _ in range(20):
        yield f'{VERSION}\\n'.encode() * 20
";

/// The module with the version of an application in JavaScript, and its main module.
const TEXTS_JS: &str = "const VERSION = 'version 0';\n";
const APP_JS: &str = "export default {
  fetch() {
    return new Response(`${VERSION}\n`.repeat(400));
  },
};
";

/// The ways to save a file.
const WAYS: [fn(&Path, usize); 4] = [by_vim, by_sed, in_place, by_rename];

#[test]
fn a_script_that_is_saved_while_it_is_requested_is_never_stale_mixed_or_missing() {
    let script = format!("{TEXTS}\n{APP}");
    save_while_requested(Python, &[("hello.py", &script)], "/hello", "hello.py");
}

#[test]
fn a_folder_that_is_saved_while_it_is_requested_is_never_stale_mixed_or_missing() {
    let app = format!("from texts import VERSION\n\n{APP}");
    let files = [("shop/app.py", &*app), ("shop/texts.py", TEXTS)];
    save_while_requested(Python, &files, "/shop", "shop/texts.py");
}

#[test]
fn a_module_in_javascript_that_is_saved_while_it_is_requested_is_never_stale_mixed_or_missing() {
    let script = format!("{TEXTS_JS}\n{APP_JS}");
    save_while_requested(JavaScript, &[("hello.js", &script)], "/hello", "hello.js");
}

#[test]
fn a_package_in_javascript_that_is_saved_while_it_is_requested_is_never_stale_mixed_or_missing() {
    let app = format!("import {{ VERSION }} from './texts.js';\n\n{APP_JS}");
    let texts = format!("export {TEXTS_JS}");
    let files = [
        ("shop/package.json", "{ \"main\": \"index.js\" }"),
        ("shop/index.js", &*app),
        ("shop/texts.js", &*texts),
    ];
    save_while_requested(JavaScript, &files, "/shop", "shop/texts.js");
}

#[test]
fn a_module_in_python_that_a_request_imports_is_of_the_loaded_version() {
    let app = "def app(environ, start_response):\n    from lib.late import TEXT\n    \
               start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
               return [TEXT.encode()]\n";
    let late = |text: &str| format!("TEXT = '{text}'\n");
    expect_modules_of_the_loaded_version(Python, ["app.py", app], "lib/late.py", late);
}

#[test]
fn a_module_in_javascript_that_a_request_imports_is_of_the_loaded_version() {
    let app = "export default {\n  async fetch() {\n    const { TEXT } = await \
               import('./lib/late.js');\n    return new Response(TEXT);\n  },\n};\n";
    let late = |text: &str| format!("export const TEXT = '{text}';\n");
    expect_modules_of_the_loaded_version(JavaScript, ["index.js", app], "lib/late.js", late);
}

/// Changes and removes a module that requests import while the main module can't be loaded, so that
/// the version before is served on.
fn expect_modules_of_the_loaded_version(
    language: Language,
    [main, app]: [&str; 2],
    late: &str,
    module: impl Fn(&str) -> String,
) {
    let [main, late] = [main, late].map(|name| format!("shop/{name}"));
    let files = [
        ("shop/package.json", "{ \"main\": \"index.js\" }"),
        (&*main, app),
        (&*late, &*module("first")),
    ];
    let Some((site, server)) = language.serve(&files, "") else {
        return;
    };
    until(&server, "/shop", "first");
    site.write_handler(&main, "(");
    logs(&server, "not loaded: SyntaxError");
    site.write_handler(&late, module("second"));
    assert_eq!(server.get("/shop").text(), "first");
    fs::remove_file(site.handlers().join(&late)).expect("removed");
    assert_eq!(server.get("/shop").text(), "first");
    site.write_handler(&late, module("third"));
    site.write_handler(&main, app);
    until(&server, "/shop", "third");
    server.stop();
}

fn save_while_requested(language: Language, files: &[(&str, &str)], target: &str, edited: &str) {
    let count = std::env::var("WASGI_TEST_SAVES");
    let count = count.map_or(SAVES, |count| count.parse().expect("a number"));
    let Some((site, server)) = language.serve(files, "") else {
        return;
    };
    let path = site.handlers().join(edited);
    eventually("it answers", || server.get(target).status() == 200);
    let (newest, is_done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let await_version = |version| {
        eventually(&format!("version {version} is served"), || {
            newest.load(Ordering::SeqCst) == version
        });
    };
    let mut memory = 0;
    thread::scope(|scope| {
        // Ends the clients if an assertion fails.
        let done = Done(&is_done);
        let request = || {
            while !is_done.load(Ordering::SeqCst) {
                expect_one_version(&server, target, &newest);
            }
        };
        let clients = [scope.spawn(request), scope.spawn(request)];
        for version in 1..=count {
            WAYS[version % WAYS.len()](&path, version);
            // Some versions are replaced before they are served.
            if version % 3 == 0 || version == count {
                await_version(version);
            } else {
                thread::sleep(Duration::from_millis(version as u64 * 17 % 100));
            }
            if version == count.div_ceil(3) {
                await_version(version);
                memory = server.resident_bytes();
            }
        }
        drop(done);
        for client in clients {
            client.join().expect("no failure");
        }
    });
    let growth = server.resident_bytes().saturating_sub(memory);
    assert!(growth < MAX_GROWTH_BYTES, "memory has grown by {growth}");
    server.stop();
}

/// Sets its flag when dropped.
struct Done<'f>(&'f AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Expects a complete response of one version, which is not older than any that was seen before the
/// request.
fn expect_one_version(server: &Server, target: &str, newest: &AtomicUsize) {
    let seen = newest.load(Ordering::SeqCst);
    let response = server.get(target);
    assert_eq!(response.status(), 200, "{}", response.text());
    let lines: Vec<&str> = response.text().lines().collect();
    assert_eq!(lines.len(), 400);
    let version = lines[0].strip_prefix("version ");
    let version = version.and_then(|version| version.parse().ok());
    let version: usize = version.unwrap_or_else(|| panic!("no version: {}", lines[0]));
    assert!(lines.iter().all(|line| *line == lines[0]), "a mixture");
    assert!(version >= seen, "{version} after {seen}");
    newest.fetch_max(version, Ordering::SeqCst);
}

/// Saves by vim, or by its steps: the file is moved to a backup and written under its name.
fn by_vim(path: &Path, version: usize) {
    let mut vim = Command::new("vim");
    vim.args(["-N", "-u", "NONE", "-i", "NONE", "-es"]);
    vim.args(["-c", &format!("%s/version \\d\\+/version {version}/")]);
    let status = vim.args(["-c", "wq"]).arg(path).status();
    if status.is_ok_and(|status| status.success()) {
        return;
    }
    let content = edited(path, version);
    let beside = |name: &str| path.with_file_name(name);
    fs::write(beside("4913"), "").expect("written");
    fs::remove_file(beside("4913")).expect("removed");
    let mut backup = path.as_os_str().to_owned();
    backup.push("~");
    fs::rename(path, &backup).expect("moved");
    fs::write(path, content).expect("written");
    fs::remove_file(backup).expect("removed");
}

/// Saves by `sed -i`: a file beside it is written, and renamed.
fn by_sed(path: &Path, version: usize) {
    let expression = format!("s/version [0-9]*/version {version}/");
    let mut sed = Command::new("sed");
    let status = sed.args(["-i", &expression]).arg(path).status();
    assert!(status.expect("sed starts").success());
}

/// Truncates the file and writes it in two pieces.
fn in_place(path: &Path, version: usize) {
    let content = edited(path, version);
    let (first, second) = content.split_at(content.len() / 2);
    let mut file = fs::File::create(path).expect("opened");
    file.write_all(first.as_bytes()).expect("written");
    thread::sleep(Duration::from_millis(2));
    file.write_all(second.as_bytes()).expect("written");
}

/// Writes a file elsewhere and renames it, as a deployment does.
fn by_rename(path: &Path, version: usize) {
    let content = edited(path, version);
    let aside = path.with_file_name(".aside");
    fs::write(&aside, content).expect("written");
    fs::rename(aside, path).expect("renamed");
}

/// Returns the file's content with another version.
fn edited(path: &Path, version: usize) -> String {
    let content = fs::read_to_string(path).expect("read");
    let (before, rest) = content.split_once("version ").expect("a version");
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}version {version}{rest}")
}

/// The number of handlers that differ between two branches.
const CHANGED_HANDLERS: usize = 20;

#[test]
fn a_checkout_of_another_branch_by_git_ends_in_its_versions_and_fails_no_request() {
    let has_git = Command::new("git").arg("--version").output();
    if !has_git.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: there is no git: `apt-get install git`");
        return;
    }
    let site = Site::new();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        // Nothing of the user's or the system's configuration counts.
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .args(["-C"])
            .arg(site.path())
            .args(["-c", "user.name=a", "-c", "user.email=a@example.com"])
            .args(arguments);
        let output = command.output().expect("git runs");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let write = |version: &str| {
        for number in 0..CHANGED_HANDLERS {
            let text = format!("{version} of {number}");
            let blocks = ["Content-Type: text/plain\r\n\r\n", &text];
            site.write_handler(
                &format!("h{number}.wat"),
                crate::dev::program(&blocks, false),
            );
        }
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    write("main");
    // One handler exists only on one branch each.
    site.write_handler(
        "old.wat",
        crate::dev::program(&["Content-Type: a/b\r\n\r\n"], false),
    );
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message=main"]);
    git(&["checkout", "--quiet", "-b", "next"]);
    write("next");
    git(&["mv", "handlers/old.wat", "handlers/new.wat"]);
    git(&["commit", "--quiet", "--all", "--message=next"]);
    git(&["checkout", "--quiet", "main"]);
    let server = Server::new(&site);
    let is_version = |version: &str| {
        (0..CHANGED_HANDLERS).all(|number| {
            server.get(&format!("/h{number}")).text() == format!("{version} of {number}")
        })
    };
    assert!(is_version("main"));
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _done = Done(&is_done);
        let request = || {
            while !is_done.load(Ordering::SeqCst) {
                for number in 0..CHANGED_HANDLERS {
                    // Panics if the connection fails.
                    let response = server.get(&format!("/h{number}"));
                    let (text, of) = (response.text().to_owned(), format!(" of {number}"));
                    assert!(
                        response.status() == 200 && text.ends_with(&of),
                        "{}: {text}",
                        response.status()
                    );
                }
            }
        };
        let clients = [scope.spawn(request), scope.spawn(request)];
        for (branch, here, gone) in [
            ("next", "/new", "/old"),
            ("main", "/old", "/new"),
            ("next", "/new", "/old"),
        ] {
            git(&["checkout", "--quiet", branch]);
            eventually(&format!("all are of {branch}"), || is_version(branch));
            eventually(here, || server.get(here).status() == 200);
            eventually(gone, || server.get(gone).status() == 404);
        }
        is_done.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().expect("each request is answered");
        }
    });
    server.stop();
}
