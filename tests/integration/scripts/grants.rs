//! Scripts with granted variables and folders.

use std::fs;

use crate::support::command::code_cache;
use crate::support::eventually;
use crate::support::scripts::Language::Python;
use crate::support::scripts::{compile, logs, percent_encoded, until};
use crate::support::server::Server;

/// A script that reports a variable at its import and at the request, and what it set itself.
const VARIABLES: &str = "import os
os.environ.setdefault('SET_AT_IMPORT', 'own')
at_import = os.environ.get('NAME'), os.environ.get('KEY')
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    now = os.environ.get('NAME'), os.getenv('KEY'), os.environ['SET_AT_IMPORT']
    return [repr((at_import, now, 'HOME' in os.environ)).encode()]
";

#[test]
fn a_script_sees_granted_variables_at_its_import_and_is_imported_again_when_they_change() {
    let settings = |name: &str| {
        format!(
            "[handlers.env]\nenvironment = {{ NAME = \"{name}\" }}\n\
             secrets = {{ KEY = {{ file = \"key\" }} }}\n"
        )
    };
    let Some((site, server)) = Python.serve(&[("env.py", VARIABLES)], "") else {
        return;
    };
    let told = |name: &str, key: &str| format!("(({name}, {key}), ({name}, {key}, 'own'), False)");
    until(&server, "/env", &told("None", "None"));
    fs::write(site.path().join("key"), "k1").expect("written");
    fs::write(site.path().join("wasgi.toml"), settings("one")).expect("written");
    until(&server, "/env", &told("'one'", "'k1'"));
    fs::write(site.path().join("wasgi.toml"), settings("two")).expect("written");
    until(&server, "/env", &told("'two'", "'k1'"));
    fs::write(site.path().join("key"), "k2").expect("written");
    until(&server, "/env", &told("'two'", "'k2'"));
    let ended = server.stop();
    assert_eq!(
        ended.stderr_with(&["has none"]),
        0,
        "{}",
        ended.everything()
    );
}

#[test]
fn the_state_of_a_script_is_stored_unless_it_may_contain_a_secret() {
    // The values are unlike any other text, and differ from those of earlier runs.
    let run = std::process::id();
    let (plain, secret) = (format!("plain-value-{run}"), format!("hidden-value-{run}"));
    let begun = std::time::SystemTime::now();
    let settings = format!(
        "[handlers.stored]\nenvironment = {{ NAME = \"{plain}\" }}\n\
         [handlers.kept]\nsecrets = {{ KEY = {{ file = \"key\" }} }}\n"
    );
    let files = [
        ("stored.py", VARIABLES),
        ("kept.py", VARIABLES),
        ("../key", &secret),
    ];
    let Some((site, server)) = Python.serve(&files, &settings) else {
        return;
    };
    until(
        &server,
        "/stored",
        &format!("(('{plain}', None), ('{plain}', None, 'own'), False)"),
    );
    until(
        &server,
        "/kept",
        &format!("((None, '{secret}'), (None, '{secret}', 'own'), False)"),
    );
    // Entries are written after their programs are served; stopping waits for them.
    server.stop();
    let later = fs::read_dir(code_cache())
        .expect("the cache is there")
        .flatten();
    let later: Vec<Vec<u8>> = later
        .map(|entry| entry.path())
        .filter(|path| {
            let modified = path.metadata().and_then(|found| found.modified());
            path.is_file() && modified.is_ok_and(|modified| modified >= begun)
        })
        .map(|path| fs::read(path).unwrap_or_default())
        .collect();
    let has = |text: &str| {
        let finder = memchr::memmem::Finder::new(text);
        later.iter().any(|bytes| finder.find(bytes).is_some())
    };
    assert!(has(&plain), "an entry has the state of the other script");
    assert!(!has(&secret), "the secret is on the disk");
    drop(site);
}

#[test]
fn a_script_without_a_variable_that_it_needs_says_how_to_grant_it() {
    let script = "import os\nKEY = os.environ['SECRET_KEY']\n";
    let Some((site, server)) = Python.serve(&[("shop/app.py", script)], "") else {
        return;
    };
    let line = "shop: not loaded: KeyError: 'SECRET_KEY' (app.py:2); [handlers.shop] environment \
                = { SECRET_KEY = \"value\" } in wasgi.toml grants it";
    logs(&server, line);
    drop(site);
    server.stop();
}

#[test]
fn a_request_that_lacks_a_variable_or_a_folder_logs_the_line_that_grants_it() {
    let script = "import os, pathlib, sqlite3
from wsgiref.util import shift_path_info
def app(environ, start_response):
    what = shift_path_info(environ)
    try:
        if what == 'variable': os.environ['SECRET_KEY']
        if what == 'default': os.environ.get('SECRET_KEY')
        if what == 'read': open('/data/book.txt')
        if what == 'write': pathlib.Path('/data/new.txt').write_text('new')
        if what == 'own': open('new.txt', 'w')
        if what == 'list': os.listdir('/media')
        if what == 'database': sqlite3.connect('/data/book.db')
        if what == 'granted': open('/granted/none')
    except KeyError as error:
        raise RuntimeError('as a framework reports it') from error
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'done']
";
    let settings = "[handlers.shop]\nenvironment = { NAME = \"value\" }\n\
                    [[handlers.shop.files]]\nsource = \"data\"\ndestination = \"/granted\"\n";
    let files = [("shop/app.py", script), ("../data/keep", "")];
    let Some((_site, server)) = Python.serve(&files, settings) else {
        return;
    };
    until(&server, "/shop", "done");
    let folder = |what: &str, destination: &str, writable: &str| {
        format!(
            "{what}; to grant one, add to wasgi.toml: [handlers.shop] files = [{{ source = \
             \"data\", destination = \"{destination}\"{writable} }}]"
        )
    };
    let (no_folder, writable) = ("the handler has no folder for", ", writable = true");
    for (what, line) in [
        (
            "variable",
            "the handler has no variable SECRET_KEY; to grant it, add to wasgi.toml: \
             [handlers.shop] environment = { SECRET_KEY = \"value\" }"
                .to_owned(),
        ),
        (
            "read",
            folder(&format!("{no_folder} /data/book.txt"), "/data", ""),
        ),
        (
            "write",
            folder(&format!("{no_folder} /data/new.txt"), "/data", writable),
        ),
        (
            "own",
            folder(
                "the handler can't change the folder of /app/new.txt",
                "/data",
                writable,
            ),
        ),
        ("list", folder(&format!("{no_folder} /media"), "/media", "")),
        (
            "database",
            folder(&format!("{no_folder} /data/book.db"), "/data", writable),
        ),
    ] {
        assert_eq!(server.get(&format!("/shop/{what}")).status(), 500, "{what}");
        logs(&server, &line);
    }
    assert_eq!(server.get("/shop/default").text(), "done");
    assert_eq!(server.get("/shop/granted").status(), 500);
    let ended = server.stop();
    let grants = ended.stderr_with(&["add to wasgi.toml"]);
    assert_eq!(grants, 6, "{}", ended.everything());
}

#[test]
fn a_command_that_lists_routes_imports_a_script_with_its_variables() {
    let script = "import os\nKEY = os.environ['SECRET_KEY']\ndef app(environ, start): pass\n";
    let settings = "[handlers.shop]\nsecrets = { SECRET_KEY = { file = \"key\" } }\n";
    let Some(site) = Python.site(&[("shop/app.py", script), ("../key", "k")], settings) else {
        return;
    };
    // Fails if a handler isn't loaded.
    compile(&site);
}

#[test]
fn no_path_leads_a_script_out_of_a_granted_folder() {
    let settings = "[[handlers.granted.files]]\nsource = \"data\"\ndestination = \"/data\"\n\
                    writable = true\n";
    let files = [
        ("granted.py", include_str!("../../python/granted.py")),
        ("../data/inside", "visible"),
        ("../secret", "hidden"),
    ];
    let Some((site, server)) = Python.serve(&files, settings) else {
        return;
    };
    let ask = |expression: &str| {
        let expression = expression.replace("os.", "__import__('os').");
        let path = format!("/granted?{}", percent_encoded(&expression));
        server.get(&path).text().to_owned()
    };
    until(
        &server,
        &format!(
            "/granted?{}",
            percent_encoded("open('/data/inside').read()")
        ),
        "visible",
    );
    // The links that a script makes itself, if it can.
    for target in [
        "../secret",
        "/data/../secret",
        "/etc/passwd",
        "/proc/self/environ",
        "..",
    ] {
        if ask(&format!("os.symlink('{target}', '/data/made')")) != "None" {
            continue;
        }
        for expression in [
            "open('/data/made').read()",
            "open('/data/made', 'a').write('x')",
            "os.listdir('/data/made')",
            "open('/data/made/secret').read()",
            "os.truncate('/data/made', 0)",
            "os.link('/data/made', '/data/hard') or open('/data/hard').read()",
        ] {
            let told = ask(expression);
            assert!(told.contains("Error: "), "{target}: {expression}: {told}");
        }
        ask("os.remove('/data/hard')");
        ask("os.remove('/data/made')");
    }
    for expression in [
        "open('/data/../secret').read()",
        "open('/data/./../secret').read()",
        "open('/data/inside/../../secret').read()",
        "os.chdir('/data') or open('../secret').read()",
        "os.chdir('/data/..') or open('secret').read()",
        "os.link('/data/../secret', '/data/hard') or open('/data/hard').read()",
        "os.rename('/data/../secret', '/data/moved') or open('/data/moved').read()",
        "os.rename('/data/inside', '/data/../out')",
        "os.open('../secret', 0, dir_fd=os.open('/data', 0))",
        "open('/proc/self/environ').read()",
        "open('/etc/passwd').read()",
        "open('/data/inside/').read()",
        "open('/data/new/', 'w')",
        "os.mkdir('/data/../made')",
        "os.rmdir('/data/../html')",
    ] {
        let told = ask(expression);
        assert!(told.contains("Error: "), "{expression}: {told}");
    }
    let secret = fs::read_to_string(site.path().join("secret"));
    assert_eq!(secret.expect("read"), "hidden");
    let names = fs::read_dir(site.path().join("data")).expect("it is there");
    assert_eq!(names.count(), 1, "only the file inside");
    assert!(!site.path().join("out").exists() && !site.path().join("made").exists());
    assert!(site.html().exists());
}

#[test]
fn a_guest_book_in_sqlite_keeps_every_entry_in_a_granted_folder() {
    let script = "import sqlite3
def app(environ, start_response):
    book = sqlite3.connect('/data/book.db')
    book.execute('create table if not exists entry (text)')
    if environ['REQUEST_METHOD'] == 'POST':
        text = environ['wsgi.input'].read().decode()
        book.execute('insert into entry values (?)', (text,))
        book.commit()
    count, = book.execute('select count(*) from entry').fetchone()
    check, = book.execute('pragma integrity_check').fetchone()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f'{count} {check}'.encode()]
";
    let settings = "[[handlers.book.files]]\nsource = \"data\"\ndestination = \"/data\"\n\
                    writable = true\n[server]\nprocesses = 2\n";
    let Some((site, server)) = Python.serve(&[("book.py", script), ("../data/keep", "")], settings)
    else {
        return;
    };
    until(&server, "/book", "0 ok");
    const CLIENTS: usize = 5;
    const ENTRIES: usize = 10;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for entry in 0..ENTRIES {
                    let mut client = server.connect();
                    let response = client.post("/book", format!("entry {entry}").as_bytes());
                    assert_eq!(response.status(), 200, "{}", response.text());
                    assert!(response.text().ends_with(" ok"), "{}", response.text());
                }
            });
        }
    });
    let all = format!("{} ok", CLIENTS * ENTRIES);
    assert_eq!(server.get("/book").text(), all);
    drop(server);
    assert!(site.path().join("data/book.db").is_file());
    let server = Server::new(&site);
    until(&server, "/book", &all);

    // A database in an application's own folder can be read, and changed until the request ends.
    let copy = script.replace("/data/book.db", "/app/book.db");
    let folder = site.handlers().join("copy");
    fs::create_dir(&folder).expect("a folder");
    fs::copy(site.path().join("data/book.db"), folder.join("book.db")).expect("copied");
    fs::write(folder.join("app.py"), copy).expect("written");
    let more = format!("{} ok", CLIENTS * ENTRIES + 1);
    // Both workers load it.
    eventually("it counts one more", || {
        server.connect().post("/copy", b"one more").text() == more
    });
    until(&server, "/copy", &all);
}
