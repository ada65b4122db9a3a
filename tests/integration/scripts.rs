//! Scripts: Python applications that are served from their sources, without a build.
//!
//! `cargo xtask runtime` builds the runtime that loads them. If it has not run, each test prints a
//! line and does nothing.

use std::fs;
use std::path::Path;

use crate::support::command::{code_cache, wasgi};
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::site::Site;

/// Returns an application that responds with some text.
fn answering(text: &str) -> String {
    format!(
        "def app(environ, start_response):\n    start_response('200 OK', [('Content-Type', \
         'text/plain')])\n    return [{text}]\n"
    )
}

/// Serves a site with these files in the handlers folder and this configuration. Returns none if
/// there is no runtime.
#[track_caller]
fn served(files: &[(&str, &str)], settings: &str) -> Option<(Site, Server)> {
    let runtime = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../runtime/python/python.wasm");
    if !runtime.is_file() {
        eprintln!("SKIPPED: there is no runtime; `cargo xtask runtime` builds it");
        return None;
    }
    let site = Site::new();
    for (name, content) in files {
        write(&site, name, content);
    }
    fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    // The interpreter is large, and a server whose start is awaited has to find it compiled.
    let mut routes = wasgi(["routes", "--code-cache"]);
    routes.arg(code_cache()).arg(site.path());
    routes.output().expect("the program starts");
    let server = Server::of(&site);
    Some((site, server))
}

/// Waits for a line in the log.
#[track_caller]
fn logs(server: &Server, text: &str) {
    server.error_log().expect(&[text]);
}

/// Waits until a path is answered with this status.
#[track_caller]
fn until_status(server: &Server, path: &str, status: u16) {
    eventually(&format!("{path} answers {status}"), || {
        server.get(path).status() == status
    });
}

/// Waits until a path is answered with this text.
#[track_caller]
fn until(server: &Server, path: &str, text: &str) {
    eventually(&format!("{path} answers {text}"), || {
        server.get(path).text() == text
    });
}

fn write(site: &Site, name: &str, content: &str) {
    let path = site.path().join("handlers").join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, content).expect("written");
}

#[test]
fn a_file_answers_is_reloaded_and_keeps_its_last_good_version() {
    let Some((site, server)) = served(&[("hello.py", &answering("b'one'"))], "") else {
        return;
    };
    until(&server, "/hello", "one");
    write(&site, "hello.py", &answering("b'two'"));
    until(&server, "/hello", "two");
    write(&site, "hello.py", "import json\n1 / 0\n");
    logs(&server, "ZeroDivisionError: division by zero (hello.py:2)");
    assert_eq!(server.get("/hello").text(), "two");
    write(&site, "hello.py", "app = (\n");
    logs(&server, "SyntaxError: '(' was never closed (hello.py:1)");
    write(&site, "hello.py", "def index(): pass\n");
    logs(&server, "hello.py has no app or application (it has index)");
    write(&site, "hello.py", &answering("b'three'"));
    until(&server, "/hello", "three");
    fs::remove_file(site.path().join("handlers/hello.py")).expect("removed");
    until_status(&server, "/hello", 404);
    server.stop();
}

#[test]
fn a_folder_answers_with_its_modules_files_and_packages() {
    let app = "import os\nfrom lib.texts import text\nimport package\n\n\
               def application(environ, start_response):\n    \
               import colorsys, late\n    \
               start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
               here = os.path.dirname(__file__)\n    \
               content = open(os.path.join(here, 'data', 'file.txt')).read()\n    \
               try:\n        open(os.path.join(here, 'new'), 'w')\n        denied = False\n    \
               except OSError:\n        denied = True\n    \
               names = sorted(os.listdir(here))\n    \
               return [f'{text} {package.text} {content} {late.text} {denied} {names}'.encode()]\n";
    let files = [
        ("shop/app.py", app),
        ("shop/late.py", "text = 'late'\n"),
        ("shop/lib/texts.py", "text = 'text'\n"),
        ("shop/data/file.txt", "content"),
        ("shop/.packages/package.py", "text = 'packaged'\n"),
    ];
    let Some((site, server)) = served(&files, "") else {
        return;
    };
    let names = "['.packages', 'app.py', 'data', 'late.py', 'lib']";
    until(
        &server,
        "/shop",
        &format!("text packaged content late True {names}"),
    );
    write(&site, "shop/lib/texts.py", "text = 'another'\n");
    until(
        &server,
        "/shop/and/more",
        &format!("another packaged content late True {names}"),
    );
    assert!(!site.path().join("handlers/shop/new").exists());
    assert_eq!(server.get("/shop/app").status(), 200, "it is one handler");
    server.stop();
}

#[test]
fn requests_have_random_numbers_and_clocks_of_their_own() {
    let app = "import random, secrets, time, uuid\nat = time.time()\ncount = 0\n\
               def app(environ, start_response):\n    global count\n    count += 1\n    \
               start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
               return [f'{random.random()} {secrets.token_hex()} {uuid.uuid4()} {time.time() - at} \
               {count}'.encode()]\n";
    let Some((_site, server)) = served(&[("dice.py", app)], "") else {
        return;
    };
    until_status(&server, "/dice", 200);
    let answers = [server.get("/dice"), server.get("/dice")].map(|answer| answer.text().to_owned());
    let [one, two] = answers
        .each_ref()
        .map(|text| text.split_whitespace().collect::<Vec<_>>());
    for (one, two) in one.iter().zip(&two).take(4) {
        assert_ne!(one, two);
    }
    assert_eq!(
        one.last(),
        Some(&"1"),
        "each request is in an instance of its own"
    );
    assert_eq!(two.last(), Some(&"1"));
    server.stop();
}

#[test]
fn a_hostile_script_fails_with_one_line_and_costs_no_other() {
    let files = [
        ("good.py", answering("b'good'")),
        ("forever.py", "while True:\n    pass\n".to_owned()),
        ("sleeps.py", "import time\ntime.sleep(1e6)\n".to_owned()),
        (
            "allocates.py",
            "x = []\nwhile True:\n    x.append(bytes(1 << 20))\n".to_owned(),
        ),
        ("forks.py", "import os\nos.fork()\n".to_owned()),
        ("opens.py", "print(open('/etc/passwd').read())\n".to_owned()),
        (
            "writes/app.py",
            "open('/app/new.py', 'w').write('x')\n".to_owned(),
        ),
        (
            "climbs/app.py",
            "print(open('/app/../../../../etc/passwd').read())\n".to_owned(),
        ),
        (
            "talks.py",
            "import sys\nwhile True:\n    sys.stdout.write('x' * 65536)\n    sys.stdout.flush()\n"
                .to_owned(),
        ),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let settings = "[compile]\ncpu-time = \"2s\"\nwall-time = \"6s\"\n";
    let Some((site, server)) = served(&files, settings) else {
        return;
    };
    for line in [
        // Either limit may be reached first: a busy machine may have no CPU time for it.
        "forever.py: not loaded: compiling takes ",
        "sleeps.py: not loaded: compiling takes longer than 6s (compile.wall-time)",
        "allocates.py: not loaded: MemoryError (allocates.py:3)",
        "forks.py: not loaded: AttributeError: module 'os' has no attribute 'fork'",
        "opens.py: not loaded: FileNotFoundError",
        "writes: not loaded: ",
        "climbs: not loaded: ",
        "talks.py: not loaded: ",
    ] {
        logs(&server, line);
    }
    until(&server, "/good", "good");
    assert!(!site.path().join("handlers/writes/new.py").exists());
    server.stop();
}

#[test]
fn a_server_without_a_runtime_says_which_file_is_missing() {
    let files = [("hello.py", "app = print\n")];
    let settings = "[site]\nruntime = \"nowhere\"\n";
    let Some((_site, server)) = served(&files, settings) else {
        return;
    };
    // The failure is known before the server listens.
    let parts = [
        "hello.py: not loaded: the runtime for Python can't be read",
        "nowhere/python/python.wasm",
    ];
    server.access_log().expect(&parts);
    server.stop();
}
