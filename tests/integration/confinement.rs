//! Users and confinement: a server that gives up rights serves as it did with them.

mod kernel;
mod sites;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::process::{Signal, geteuid};

use crate::support::attempts::{ask, configure};
use crate::support::command::{code_cache, run, wasgi};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::scripts::Language::{JavaScript, Python};
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::Certificate;
use crate::support::upstream::Upstream;

/// The handlers that attempt what their query asks for, one of each kind.
const KINDS: [&str; 3] = ["grants", "grants-cgi", "wasi-http-grants"];

const CONFINED: &str = "[server]\nconfine = \"required\"\n";

/// A user without rights, which each system has.
pub(crate) const NOBODY: &str = "nobody";

/// Returns whether this system can confine a server. Prints a line if not.
fn can_confine() -> bool {
    let site = Site::new();
    let doctor = run([Path::new("doctor"), site.path()]);
    let is_there = |line: &String| line.contains("ok") && line.contains("Landlock  ");
    let has_landlock = doctor.stdout.iter().any(is_there);
    if !has_landlock {
        eprintln!("SKIPPED: this kernel has no Landlock that restricts ports");
    }
    has_landlock
}

/// Returns the values of a field of `/proc/PID/status` (proc_pid_status(5)) in all threads of a
/// process.
fn of_threads(pid: u32, field: &str) -> BTreeSet<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    let statuses = tasks.filter_map(|task| {
        // A thread may end meanwhile.
        fs::read_to_string(task.ok()?.path().join("status")).ok()
    });
    let value = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.expect("each thread has it").trim().to_owned()
    };
    statuses.map(value).collect()
}

fn only(value: &str) -> BTreeSet<String> {
    [value.to_owned()].into()
}

/// Returns the processes that this one has started.
fn children(pid: u32) -> Vec<u32> {
    let file = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(file).expect("the process is there");
    let numbers = text.split_whitespace();
    numbers.map(|it| it.parse().expect("a number")).collect()
}

#[track_caller]
fn expect_confined(pid: u32) {
    assert_eq!(of_threads(pid, "NoNewPrivs:"), only("1"));
    assert_eq!(of_threads(pid, "Seccomp:"), only("2"));
}

/// Asks each kind of handler for what it is granted.
#[track_caller]
fn expect_grants(server: &Server) {
    for kind in KINDS {
        let attempts = [
            ("variable=GREETING", "good day"),
            ("write=/rw/a,one", "written"),
            ("append=/rw/a,two", "appended"),
            ("read=/rw/a", "onetwo"),
            ("rename=/rw/a,/rw/b", "renamed"),
            ("remove=/rw/b", "removed"),
            ("kv=default,set,a,one", "set"),
            ("kv=default,get,a", "one"),
        ];
        for (query, result) in attempts {
            assert_eq!(ask(server, kind, query), result, "{kind}: {query}");
        }
    }
}

/// Returns the tables that grant a variable, a folder and a bucket to each kind.
fn grants(site: &Site) -> String {
    let tables = KINDS.map(|kind| {
        fs::create_dir(site.path().join(kind)).expect("a folder");
        format!(
            "[handlers.{kind}]\nenvironment = {{ GREETING = \"good day\" }}\n\
             key-value = [\"default\"]\n\
             files = [{{ source = \"{kind}\", destination = \"/rw\", writable = true }}]\n"
        )
    });
    tables.concat()
}

#[test]
fn a_confined_server_serves_pages_and_each_kind_of_handler_and_follows_changes() {
    if !can_confine() {
        return;
    }
    let site = Site::new()
        .with_page("index.html", "a page")
        .with_cases(KINDS);
    let logs = tempfile::tempdir().expect("a folder");
    let log = logs.path().join("access.log");
    let text = format!(
        "{CONFINED}access-log = \"{}\"\n{}",
        log.display(),
        grants(&site)
    );
    configure(&site, &text);
    let server = Server::new(&site);
    server
        .error_log()
        .expect(&["confined by Landlock and seccomp"]);
    expect_confined(server.id());
    assert_eq!(server.get("/").text(), "a page");
    expect_grants(&server);
    // A program that needs a compiling process, which is this program.
    site.write_handler("late.wat", crate::support::guests::page("one"));
    eventually("it is loaded", || server.get("/late").text() == "one");
    site.write_page("new.html", "a new page");
    eventually("it is served", || {
        server.get("/new.html").text() == "a new page"
    });
    let before = logs.path().join("before.log");
    fs::rename(&log, &before).expect("renamed");
    server.signal(Signal::USR1);
    eventually("it is open again", || log.exists());
    assert_eq!(server.get("/?after").status(), 200);
    eventually("the new file has a line", || {
        fs::read_to_string(&log)
            .expect("it is there")
            .contains("/?after")
    });
    // Settings that need no rights change as usual.
    configure(&site, &text.replace("good day", "hello"));
    eventually("it is in force", || {
        ask(&server, "grants", "variable=GREETING") == "hello"
    });
    expect_confined(server.id());
    server.stop();
}

#[test]
fn a_confined_server_loads_scripts_and_their_changes() {
    if !can_confine() {
        return;
    }
    for (language, name, script) in [
        (
            JavaScript,
            "hello.js",
            "export default { fetch() { return new Response(\"one\"); } };\n",
        ),
        (
            Python,
            "hello.py",
            "def app(environ, start_response):\n    start_response('200 OK', [])\n    \
             return [b'one']\n",
        ),
    ] {
        let Some((site, server)) = language.serve(&[(name, script)], CONFINED) else {
            continue;
        };
        expect_confined(server.id());
        assert_eq!(server.get("/hello").text(), "one", "{name}");
        site.write_handler(name, script.replace("one", "two"));
        eventually("it is reloaded", || server.get("/hello").text() == "two");
        server.stop();
    }
}

#[test]
fn a_grant_that_a_confined_server_has_no_rights_for_is_one_line_until_a_restart() {
    if !can_confine() {
        return;
    }
    let upstream = Upstream::start();
    let (addr, port) = (upstream.addr(), upstream.port());
    let outside = tempfile::tempdir().expect("a folder");
    let shown = outside.path().display();
    fs::write(outside.path().join("note"), "a note").expect("written");
    let site = Site::new().with_cases(["grants", "outbound"]);
    configure(&site, CONFINED);
    let server = Server::new(&site);
    let text = format!(
        "{CONFINED}[handlers.grants]\nfiles = [{{ source = \"{shown}\", destination = \"/new\" }}]\n\
         [handlers.outbound]\nallowed-outbound-hosts = [\"tcp://{addr}\"]\n"
    );
    configure(&site, &text);
    server.error_log().expect(&[&format!(
        "server.confine: handlers.grants: {shown} can't be used until a restart"
    )]);
    server.error_log().expect(&[&format!(
        "server.confine: handlers.outbound: port {port} can't be used until a restart"
    )]);
    server.error_log().expect(&["applied: "]);
    let told = server.get(&format!("/outbound?connect={addr},hi"));
    assert!(told.text().starts_with("error: "), "{}", told.text());
    assert_eq!(upstream.connections(), 0);
    assert_ne!(server.get("/grants?read=/new/note").text(), "a note");
    server.stop();

    let server = Server::new(&site);
    assert_eq!(ask(&server, "grants", "read=/new/note"), "a note");
    let told = ask(&server, "outbound", &format!("connect={addr},hi"));
    assert!(!told.starts_with("error: "), "{told}");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn each_worker_confines_itself_and_a_new_one_does() {
    if !can_confine() {
        return;
    }
    let site = Site::new()
        .with_page("index.html", "a page")
        .with_cases(KINDS);
    configure(&site, &format!("{CONFINED}{}", grants(&site)));
    let server = Server::with(&site, &["--processes", "2"]);
    let workers = children(server.id());
    assert_eq!(workers.len(), 2);
    workers.iter().for_each(|pid| expect_confined(*pid));
    expect_grants(&server);
    let pid = rustix::process::Pid::from_raw(workers[0].cast_signed()).expect("an ID");
    rustix::process::kill_process(pid, Signal::KILL).expect("it is there");
    eventually("it is replaced", || {
        let now = children(server.id());
        now.len() == 2 && !now.contains(&workers[0])
    });
    eventually("it is confined", || {
        let all = children(server.id());
        all.iter()
            .all(|pid| of_threads(*pid, "Seccomp:") == only("2"))
    });
    expect_grants(&server);
    server.stop();
}

/// Creates a site that another user can read, and a folder of its own for that user.
pub(crate) fn site_for_nobody() -> Option<(Site, PathBuf)> {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user");
        return None;
    }
    let site = Site::new()
        .with_page("index.html", "a page")
        .with_page_handler("hello", "the handler");
    fs::set_permissions(site.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let own = site.path().join("own");
    fs::create_dir(&own).expect("a folder");
    let (uid, gid) = nobody();
    chown(&own, Some(uid), Some(gid)).expect("root can do that");
    Some((site, own))
}

fn nobody() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("it is there");
    let line = users.lines().find(|line| line.starts_with("nobody:"));
    let mut parts = line.expect("each system has it").split(':').skip(2);
    let mut number = || {
        parts
            .next()
            .and_then(|it| it.parse().ok())
            .expect("a number")
    };
    (number(), number())
}

/// Serves a site with its own cache.
pub(crate) fn serve(site: &Site, own: &Path, flags: &[&str]) -> Server {
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--threads", "2"]);
    command.arg("--code-cache").arg(own.join("code"));
    Server::started(Process::start(command.args(flags).arg(site.path())))
}

#[track_caller]
pub(crate) fn expect_nobody(pid: u32) {
    let (uid, gid) = nobody();
    for (field, id) in [("Uid:", uid), ("Gid:", gid)] {
        let expected = [id; 4].map(|id| id.to_string()).join("\t");
        assert_eq!(of_threads(pid, field), only(&expected));
    }
    assert_eq!(of_threads(pid, "CapEff:"), only("0000000000000000"));
    assert_eq!(of_threads(pid, "NoNewPrivs:"), only("1"));
}

#[test]
fn root_becomes_another_user_after_it_has_bound_and_read_the_key() {
    let Some((site, own)) = site_for_nobody() else {
        return;
    };
    let certificate = Certificate::make(site.path());
    fs::set_permissions(&certificate.key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let log = site.path().join("access.log");
    let log_line = format!("access-log = \"{}\"\n", log.display());
    configure(&site, &format!("[server]\nuser = \"{NOBODY}\"\n{log_line}"));
    let server = serve(&site, &own, &certificate.flags());
    expect_nobody(server.id());
    server.error_log().expect(&["running as user nobody"]);
    server.error_log().expect(&[
        "tls.key: user nobody can't read ",
        "a changed certificate is used after a restart",
    ]);
    server
        .error_log()
        .expect(&["server.access-log: user nobody can't create files in "]);
    eventually("the cache has an entry", || {
        fs::read_dir(own.join("code")).is_ok_and(|entries| entries.count() > 0)
    });
    server.stop();

    // Without TLS, with confinement, and with workers.
    for processes in ["1", "2"] {
        let text = format!("[server]\nuser = \"{NOBODY}\"\nconfine = \"best-effort\"\n");
        configure(&site, &text);
        let server = serve(&site, &own, &["--processes", processes]);
        let serving = match processes {
            "1" => vec![server.id()],
            _ => children(server.id()),
        };
        serving.iter().for_each(|pid| expect_nobody(*pid));
        assert_eq!(server.get("/").text(), "a page");
        assert_eq!(server.get("/hello").text(), "the handler");
        let ended = server.stop();
        assert_eq!(
            ended.stderr_with(&["running as root"]),
            0,
            "{}",
            ended.everything()
        );
    }
}

#[test]
fn a_user_or_a_confinement_that_cannot_be_is_one_line() {
    let site = Site::new();
    let build = "[site]\nbuild = true\n";
    for (text, parts) in [
        (
            "user = \"nobody-here\"\n".to_owned(),
            "server.user: there is no user \"nobody-here\"",
        ),
        (
            "group = \"nogroup\"\n".to_owned(),
            "server.group: has no effect without server.user",
        ),
        (
            format!("confine = \"required\"\n{build}"),
            "server.confine: a confined server can't run compilers (site.build)",
        ),
        ("confine = \"yes\"\n".to_owned(), "server.confine"),
    ] {
        configure(&site, &format!("[server]\n{text}"));
        let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
        let ended = Process::start(command.arg(code_cache()).arg(site.path())).wait();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.everything());
        assert_eq!(ended.stderr.len(), 1, "{}", ended.everything());
        assert!(ended.stderr[0].contains(parts), "{}", ended.everything());
    }
}
