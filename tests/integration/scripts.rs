//! Scripts: Python applications that are served from their sources, without a build.
//!
//! `cargo xtask test` builds the runtime that loads them, which needs Python and, once, a network.
//! Without a runtime, each test prints a line and does nothing.

mod grants;
mod large;

use std::fs;
use std::path::Path;

use crate::support::command::{code_cache, wasgi};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::scripts::Language::Python;
use crate::support::scripts::{expect_own_words, logs, until, until_status};
use crate::support::site::Site;

/// Returns an application that responds with some text.
fn answering(text: &str) -> String {
    format!(
        "def app(environ, start_response):\n    start_response('200 OK', [('Content-Type', \
         'text/plain')])\n    return [{text}]\n"
    )
}

#[test]
fn a_file_answers_is_reloaded_and_keeps_its_last_good_version() {
    let broken: [(&str, &[&str]); 3] = [
        (
            "import json\n1 / 0\n",
            &["ZeroDivisionError: division by zero (hello.py:2)"],
        ),
        (
            "app = (\n",
            &["SyntaxError: '(' was never closed (hello.py:1)"],
        ),
        (
            "def index(): pass\n",
            &["hello.py has no app or application (it has index)"],
        ),
    ];
    let answering = |text: &str| answering(&format!("b'{text}'"));
    Python.expect_reloads("hello.py", answering, &broken);
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
    let Some((site, server)) = Python.serve(&files, "") else {
        return;
    };
    let names = "['.packages', 'app.py', 'data', 'late.py', 'lib']";
    until(
        &server,
        "/shop",
        &format!("text packaged content late True {names}"),
    );
    site.write_handler("shop/lib/texts.py", "text = 'another'\n");
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
fn the_next_edit_begins_with_packages_that_were_imported_before() {
    let app = |text: &str| {
        format!(
            "import package\n\ndef app(environ, start_response):\n    \
             start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
             return [f'{text} {{package.first}} {{package.at}}'.encode()]\n"
        )
    };
    let package = "import time\nfirst = 'first'\nat = time.time_ns()\n";
    let files = [
        ("shop/app.py", &*app("text")),
        ("shop/.packages/package.py", package),
    ];
    let Some((site, server)) = Python.serve(&files, "") else {
        return;
    };
    until_status(&server, "/shop", 200);
    // Returns the time at which the package was imported, for an application that responds with
    // `text`.
    let imported_at = |text: &str| {
        site.write_handler("shop/app.py", app(text));
        let mut at = String::new();
        eventually(&format!("/shop answers {text}"), || {
            let answer = server.get("/shop").text().to_owned();
            at = answer.rsplit(' ').next().unwrap_or_default().to_owned();
            answer.starts_with(&format!("{text} first "))
        });
        at
    };
    // The layer is created in the background.
    let mut edits = 0;
    let mut last = String::new();
    eventually("two edits have one import", || {
        edits += 1;
        let at = imported_at(&format!("edit-{edits}"));
        std::mem::replace(&mut last, at.clone()) == at
    });
    // The installed packages have changed, so the layer is a new one.
    site.write_handler("shop/.packages/package.py", "first = 'second'\nat = 5\n");
    site.write_handler("shop/app.py", app("changed"));
    until(&server, "/shop", "changed second 5");
    server.stop();
}

#[test]
fn an_application_says_in_pyproject_what_convention_does_not() {
    let module = "from vendored import text\n\ndef make():\n    count = 0\n    \
                  def app(environ, start_response):\n        nonlocal count\n        \
                  count += 1\n        \
                  start_response('200 OK', [('Content-Type', 'text/plain')])\n        \
                  return [f'{text} {count > 1}'.encode()]\n    return app\n";
    let settings = "[tool.wasgi]\napplication = \"shop.web:make()\"\nwarm = [\"/\"]\n\
                    packages = \"vendor\"\n";
    let files = [
        ("shop/pyproject.toml", settings),
        ("shop/shop/web.py", module),
        ("shop/vendor/vendored.py", "text = 'vendored'\n"),
        ("wrong/app.py", "app = print\n"),
        ("wrong/pyproject.toml", "[tool.wasgi]\naplication = 'a:b'\n"),
    ];
    let Some((_site, server)) = Python.serve(&files, "") else {
        return;
    };
    until(&server, "/shop", "vendored True");
    logs(
        &server,
        "wrong: not loaded: pyproject.toml: tool.wasgi.'aplication': unknown key; the keys are application",
    );
    server.stop();
}

#[test]
fn sources_and_settings_are_never_served_as_text() {
    let answer = answering("environ['PATH_INFO'].encode()");
    let files = [
        ("hello.py", &*answer),
        ("shop/app.py", &*answer),
        ("shop/.env", "SECRET=1\n"),
    ];
    let Some((_site, server)) = Python.serve(&files, "") else {
        return;
    };
    until_status(&server, "/hello", 200);
    until_status(&server, "/shop", 200);
    assert_eq!(server.get("/hello.py").status(), 404);
    for path in ["/shop/.env", "/shop/app.py", "/shop/../shop/.env"] {
        let answer = server.get(path);
        assert!(!answer.text().contains("SECRET"), "{path}: {answer:?}");
        assert!(
            !answer.text().contains("start_response"),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(
        server.get("/shop/.env").text(),
        "/.env",
        "it is a path of the application's"
    );
    server.stop();
}

#[test]
fn requests_have_random_numbers_and_clocks_of_their_own() {
    let app = "import os, random, secrets, tempfile, time, uuid\nat = time.time()\n\
               early = random.Random()\nrandom.random()\nsecrets.token_hex()\nuuid.uuid1()\n\
               uuid.uuid7()\ncount = 0\n\
               def app(environ, start_response):\n    global count\n    count += 1\n    \
               start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
               own = [random.random(), random.SystemRandom().random(), secrets.token_hex(), \
               os.urandom(8).hex(), uuid.uuid1(), uuid.uuid4(), uuid.uuid6(), uuid.uuid7(), \
               time.time() - at, time.time_ns(), time.monotonic_ns(), random.Random().random(), \
               tempfile.mktemp()]\n    \
               same = [count, hash('text'), early.random()]\n    \
               return [' '.join(map(str, own + same)).encode()]\n";
    let Some((_site, server)) = Python.serve(&[("dice.py", app)], "") else {
        return;
    };
    until_status(&server, "/dice", 200);
    // Each request starts from the snapshot, so its hash seed and the state of a generator that was
    // created at import are equal.
    let words = expect_own_words(&server, "/dice", 13, 16);
    assert_eq!(words[13], "1");
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
    let settings = "[compile]\ncpu-time = \"2s\"\nimport-time = \"6s\"\n";
    let Some((site, server)) = Python.serve(&files, settings) else {
        return;
    };
    for line in [
        // Either limit may be reached first: a busy machine may have no CPU time for it.
        "forever.py: not loaded: ",
        "sleeps.py: not loaded: importing it takes longer than 6s (compile.import-time)",
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
fn what_an_application_may_not_have_in_its_folder_is_one_line() {
    use std::os::unix::fs::symlink;

    let answer = answering("b'good'");
    let files = [
        ("good.py", &*answer),
        ("fifo/app.py", &*answer),
        ("huge/app.py", &*answer),
        ("links/app.py", "print(open('/app/out').read())\n"),
    ];
    let Some((site, server)) = Python.serve(&files, "") else {
        return;
    };
    until(&server, "/fifo", "good");
    let handlers = site.path().join("handlers");
    // Not before the start, which would show it among the routes or in the log, whichever is first.
    fs::write(handlers.join("long.py"), "#".repeat(5 << 20)).expect("written");
    let pipe = handlers.join("fifo/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("it starts").success());
    let huge = fs::File::create(handlers.join("huge/data")).expect("created");
    huge.set_len(1 << 30).expect("sized");
    symlink("/etc/passwd", handlers.join("links/out")).expect("made");
    for line in [
        "fifo: pipe: neither a file nor a folder: remove it",
        "huge: has more than 256 MiB of files, the limit for an application",
        "long.py: not loaded: larger than 4 MiB, the limit for a script",
        "links: not loaded: ",
    ] {
        logs(&server, line);
    }
    let lines = server.error_log().lines();
    let leaks = lines.iter().any(|line| line.contains("root:x:"));
    assert!(!leaks, "nothing of the file is logged: {lines:?}");
    until(&server, "/good", "good");
    assert_eq!(server.get("/fifo").text(), "good", "the previous version");
    server.stop();
}

#[test]
fn a_server_without_a_runtime_says_which_file_is_missing() {
    let files = [("hello.py", "app = print\n")];
    let settings = "[site]\nruntime = \"nowhere\"\n";
    let Some((_site, server)) = Python.serve(&files, settings) else {
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

#[test]
fn without_a_runtime_a_file_and_a_folder_fail_with_the_same_line() {
    let site = Site::new();
    site.write_handler("hello.py", answering("b'hello'"));
    site.write_handler("shop/app.py", answering("b'shop'"));
    fs::write(
        site.path().join("wasgi.toml"),
        "[site]\nruntime = \"nowhere\"\n",
    )
    .expect("written");
    let mut routes = wasgi(["routes", "--code-cache", "none"]);
    let output = routes
        .arg(site.path())
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    for name in ["hello.py", "shop"] {
        let is_told = |line: &str| {
            line.contains(&format!("handlers/{name}: "))
                && line.contains("`cargo xtask runtime` makes it, and site.runtime says where")
        };
        assert!(text.lines().any(is_told), "{name}: {text}");
    }
}

#[test]
fn run_and_check_take_a_script_by_its_name_its_file_and_its_folder() {
    let answer = answering("environ['SCRIPT_NAME'].encode()");
    let files = [
        ("hello.py", &*answer),
        ("api/shop/app.py", &*answer),
        (
            "relative/app.py",
            "import sys, zoneinfo\nsys.argv[0]\nzoneinfo.ZoneInfo('Europe/Berlin')\napp = None\n",
        ),
        ("broken/app.py", "import nothing_like_it\n"),
        ("plain/readme.txt", "no application\n"),
    ];
    let Some(site) = Python.site(&files, "") else {
        return;
    };
    let handlers = site.path().join("handlers");
    let run = |folder: &Path, arguments: &[&str]| {
        let mut command = wasgi(arguments);
        command.current_dir(folder).arg("--site").arg(site.path());
        command.arg("--code-cache").arg(code_cache());
        Process::start(&mut command).wait()
    };
    for (folder, handler, route) in [
        ("", "hello", "/hello"),
        ("", "handlers/hello.py", "/hello"),
        ("", "api/shop", "/api/shop"),
        ("handlers", "api/shop", "/api/shop"),
        ("handlers/api/shop", ".", "/api/shop"),
    ] {
        let folder = site.path().join(folder);
        let ended = run(&folder, &["run", handler, "--body-only"]);
        let told = ended.everything();
        assert!(ended.status.success(), "{handler}: {told}");
        assert!(told.contains(route), "{handler}: {told}");
    }
    for handler in ["hello.py", "api/shop", "api/shop/."] {
        let ended = run(&handlers, &["check", handler]);
        let told = ended.everything();
        assert!(ended.status.success(), "{handler}: {told}");
        assert!(told.contains("no problems"), "{handler}: {told}");
    }
    for (arguments, part) in [
        // Loaded here for the first time, from a path relative to the current folder.
        (["check", "relative"], "app has no app or application"),
        (
            ["check", "broken"],
            "there is no module nothing_like_it (app.py:1)",
        ),
        (
            ["run", "broken"],
            "there is no module nothing_like_it (app.py:1)",
        ),
        (["run", "plain"], "is a folder, but not an application"),
        (["check", "plain"], "is a folder, but not an application"),
        (["run", "hello.rb"], "there is no handler hello.rb"),
        (["run", "none.py"], "there is no file none.py"),
    ] {
        let ended = run(&handlers, &arguments);
        let told = ended.everything();
        assert!(!ended.status.success(), "{arguments:?}: {told}");
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
}
