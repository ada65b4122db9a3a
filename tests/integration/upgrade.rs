//! Upgrades: a new process takes the sockets, and no client notices.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::bundle::bundle;
use crate::support::client::Client;
use crate::support::command::{code_cache, run, wasgi};
use crate::support::process::{Process, has_ended};
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::{Certificate, TlsClient};
use crate::support::{SetOnDrop, eventually};

/// The number of upgrades in a row.
const UPGRADES: usize = 3;

/// A server that may have been replaced by successors, which end with the test.
pub(crate) struct Chain {
    pub(crate) first: Server,
    pid_file: PathBuf,
}

impl Chain {
    /// Serves a site. `program` is what successors run. `config` begins with keys of `[server]`.
    pub(crate) fn new(site: &Site, program: &Path, flags: &[&str], config: &str) -> Chain {
        let file = site.path().join("wasgi.toml");
        let config = format!("[server]\npid-file = \"server.pid\"\n{config}");
        fs::write(file, config).expect("written");
        let mut command = Command::new(program);
        for (name, value) in wasgi(["serve"]).get_envs() {
            command.env(name, value.expect("it is set"));
        }
        command.args([
            "serve",
            "--addr",
            "127.0.0.1:0",
            "--threads",
            "2",
            "--code-cache",
        ]);
        command.arg(code_cache()).args(flags).arg(site.path());
        let first = Server::started(Process::start(&mut command));
        let pid_file = site.path().join("server.pid");
        let chain = Chain { first, pid_file };
        eventually("the pid file is written", || chain.pid_file.exists());
        chain
    }

    pub(crate) fn pid(&self) -> Pid {
        let text = fs::read_to_string(&self.pid_file).expect("a pid file");
        Pid::from_raw(text.trim().parse().expect("a number")).expect("a process")
    }

    pub(crate) fn begin_upgrade(&self) {
        kill_process(self.pid(), Signal::USR2).expect("it is there");
    }

    /// Replaces the server, and waits until it has ended.
    pub(crate) fn upgrade(&self) {
        let old = self.pid();
        self.begin_upgrade();
        eventually("the successor serves", || self.pid() != old);
        eventually("the old server has ended", || has_ended(old));
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if self.pid_file.exists() {
            // Fails if it has ended.
            let _ = kill_process(self.pid(), Signal::KILL);
        }
    }
}

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_wasgi"))
}

fn site() -> Site {
    Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("hello", "the handler")
}

/// Sends requests until `is_over`, on connections that are used as long as the server allows.
fn keep_alive(server: &Server, is_over: &AtomicBool, count: &AtomicU64) {
    let mut client = server.connect();
    for target in ["/", "/hello"].iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let response = client.get(target);
        assert_eq!(response.status(), 200);
        count.fetch_add(1, Ordering::Relaxed);
        if response.field("Connection") == Some("close") {
            client = server.connect();
        }
    }
}

/// Sends requests until `is_over`, each on a connection of its own.
fn without_keep_alive(server: &Server, is_over: &AtomicBool, count: &AtomicU64) {
    while !is_over.load(Ordering::Relaxed) {
        assert_eq!(server.get("/hello").status(), 200);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends requests until the flag is set, and counts the responses.
pub(crate) type Requests<'c> = dyn Fn(&AtomicBool, &AtomicU64) + Sync + 'c;

/// Upgrades while `clients` send requests. Each of them must send more after the last upgrade.
pub(crate) fn upgrade_under_load(chain: &Chain, clients: &[&Requests<'_>]) {
    let is_over = AtomicBool::new(false);
    let counts: Vec<AtomicU64> = clients.iter().map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        let _stop = SetOnDrop(&is_over);
        let threads: Vec<_> = clients
            .iter()
            .zip(&counts)
            .map(|(client, count)| scope.spawn(|| client(&is_over, count)))
            .collect();
        let progress = || {
            let before: Vec<u64> = counts
                .iter()
                .map(|one| one.load(Ordering::Relaxed))
                .collect();
            eventually("each client is answered", || {
                let now = counts.iter().map(|one| one.load(Ordering::Relaxed));
                threads.iter().any(|thread| thread.is_finished())
                    || now.zip(&before).all(|(now, before)| now > *before)
            });
        };
        progress();
        for _ in 0..UPGRADES {
            chain.upgrade();
            progress();
        }
    });
}

#[test]
fn no_request_fails_while_servers_are_replaced() {
    for processes in ["1", "2"] {
        let site = site();
        let chain = Chain::new(&site, program(), &["--processes", processes], "");
        let server = &chain.first;
        upgrade_under_load(
            &chain,
            &[
                &|is_over, count| keep_alive(server, is_over, count),
                &|is_over, count| without_keep_alive(server, is_over, count),
            ],
        );
    }
}

#[test]
fn no_tls_request_fails_while_servers_are_replaced() {
    let site = site();
    let certificate = Certificate::make(site.path());
    let chain = Chain::new(&site, program(), &certificate.flags(), "");
    let get = |is_over: &AtomicBool, count: &AtomicU64| {
        while !is_over.load(Ordering::Relaxed) {
            let mut client = TlsClient::connect(chain.first.addr(), &certificate);
            let answer = client.get("/hello").expect("a whole answer");
            assert!(answer.ends_with("the handler"), "{answer}");
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    upgrade_under_load(&chain, &[&get]);
}

#[test]
fn a_request_in_flight_ends_on_the_old_server() {
    let site = site().with_demos(["echo"]);
    let chain = Chain::new(&site, program(), &[], "");
    let mut client = chain.first.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("4\r\nhalf\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk(), b"half");
    let old = chain.pid();
    chain.begin_upgrade();
    eventually("the successor serves", || chain.pid() != old);
    assert_eq!(chain.first.get("/").status(), 200);
    assert!(!has_ended(old));
    client.send("4\r\nrest\r\n0\r\n\r\n");
    assert_eq!(client.chunk(), b"rest");
    assert_eq!(client.chunk(), b"");
    drop(client);
    eventually("the old server has ended", || has_ended(old));
}

#[test]
fn a_replaced_server_takes_its_first_signal_as_the_first() {
    for processes in ["1", "2"] {
        let site = site().with_demos(["echo"]);
        let chain = Chain::new(&site, program(), &["--processes", processes], "");
        let begin = || {
            let mut client = chain.first.connect();
            client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send("4\r\nhalf\r\n");
            assert_eq!(client.head().status, 200);
            assert_eq!(client.chunk(), b"half");
            client
        };
        let (mut one, two) = (begin(), begin());
        let old = chain.pid();
        chain.begin_upgrade();
        eventually("the successor serves", || chain.pid() != old);
        let log = chain.first.error_log();
        log.expect(&["this one finishes its requests in flight"]);
        kill_process(old, Signal::TERM).expect("it is there");
        log.expect(&["stopping: already waiting for requests in flight"]);
        one.send("4\r\nrest\r\n0\r\n\r\n");
        assert_eq!(one.chunk(), b"rest");
        assert_eq!(one.chunk(), b"");
        assert!(!has_ended(old), "another request is in flight");
        kill_process(old, Signal::TERM).expect("it is there");
        log.expect(&["stopping immediately: received a second signal"]);
        eventually("the old server has ended", || has_ended(old));
        drop(two);
        assert_eq!(chain.first.get("/hello").status(), 200);
    }
}

/// Makes `link` lead to a script that is started instead of the program.
fn replace_by_script(link: &Path, script: &str) {
    let file = link.with_extension("sh");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("written");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&file, mode).expect("changed");
    fs::remove_file(link).expect("removed");
    symlink(&file, link).expect("linked");
}

#[track_caller]
fn expect_no_upgrade(chain: &Chain, told: &str) {
    let old = chain.pid();
    chain.begin_upgrade();
    let line = chain.first.error_log().expect(&["upgrade: ", told]);
    assert!(line.contains("this server continues"), "{line}");
    assert_eq!(chain.pid(), old);
    assert_eq!(chain.first.get("/hello").status(), 200);
}

#[test]
fn a_successor_that_fails_changes_nothing() {
    let site = site();
    let link = site.path().join("wasgi-program");
    for processes in ["1", "2"] {
        symlink(program(), &link).expect("linked");
        let chain = Chain::new(&site, &link, &["--processes", processes], "");
        for (script, told) in [
            ("exit 7", "ended with exit status 7 before it was ready"),
            (
                "kill -SEGV $$",
                "was killed by signal 11 (SIGSEGV) before it was ready",
            ),
            (
                "echo '{\"protocol\":2}' >&0; exec sleep 3600",
                "speaks version 2 of the hand-over",
            ),
            (
                "echo nonsense >&0; exec sleep 3600",
                "it has sent no message",
            ),
            ("exec <&-; exec sleep 3600", "has closed its channel"),
        ] {
            replace_by_script(&link, script);
            expect_no_upgrade(&chain, told);
        }
        fs::remove_file(&link).expect("removed");
        expect_no_upgrade(&chain, "could not start");
        symlink(program(), &link).expect("linked");
        chain.upgrade();
        assert_eq!(chain.first.get("/hello").status(), 200);
        fs::remove_file(&link).expect("removed");
    }
}

#[test]
fn a_successor_that_hangs_is_given_up() {
    let site = site();
    let link = site.path().join("wasgi-program");
    symlink(program(), &link).expect("linked");
    let chain = Chain::new(&site, &link, &[], "upgrade-timeout = \"100ms\"\n");
    replace_by_script(&link, "exec sleep 3600");
    expect_no_upgrade(&chain, "was not ready in time");
}

#[test]
fn the_admin_socket_outlives_the_old_server_and_not_the_last_one() {
    let site = site();
    let config = "[admin]\naddr = \"unix:admin.sock\"\n";
    let chain = Chain::new(&site, program(), &[], config);
    let path = site.path().join("admin.sock");
    UnixStream::connect(&path).expect("the first server listens");
    chain.upgrade();
    UnixStream::connect(&path).expect("its successor listens");
    let last = chain.pid();
    kill_process(last, Signal::TERM).expect("it is there");
    eventually("the last server has ended", || has_ended(last));
    assert!(!path.exists());
    assert!(!chain.pid_file.exists());
}

#[test]
fn no_operation_of_the_store_fails_while_servers_are_replaced() {
    for processes in ["1", "2"] {
        let site = Site::new().with_cases(["grants"]);
        let config = "[handlers.grants]\nkey-value = [\"default\"]\n";
        let chain = Chain::new(&site, program(), &["--processes", processes], config);
        let add = |is_over: &AtomicBool, count: &AtomicU64| {
            while !is_over.load(Ordering::Relaxed) {
                let response = chain.first.get("/grants?kv=default,add,n,1");
                let before = count.fetch_add(1, Ordering::Relaxed);
                assert_eq!(response.text(), (before + 1).to_string());
            }
        };
        upgrade_under_load(&chain, &[&add]);
    }
}

#[test]
fn a_successor_that_can_not_start_says_why_in_one_line() {
    let site = site();
    let chain = Chain::new(&site, program(), &[], "");
    let file = site.path().join("wasgi.toml");
    let good = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, format!("{good}no-such-key = 1\n")).expect("written");
    expect_no_upgrade(&chain, "can't start: ");
    let log = chain.first.error_log();
    let line = log.expect(&["upgrade: ", "no-such-key"]);
    let lines = log.lines();
    let about = |line: &&String| line.contains("can't start");
    assert_eq!(lines.iter().filter(about).count(), 1, "{lines:?}");
    assert!(line.contains("wasgi.toml:3"), "{line}");
    fs::write(&file, good).expect("written");
    chain.upgrade();
}

#[test]
fn a_certificate_that_can_not_be_used_leaves_the_old_server_serving() {
    for (processes, told) in [("1", "can't start: "), ("2", "ended with exit status 1")] {
        let site = site();
        let certificate = Certificate::make(site.path());
        let flags = [&["--processes", processes], &certificate.flags()[..]].concat();
        let chain = Chain::new(&site, program(), &flags, "");
        let old = chain.pid();
        fs::write(&certificate.key, "nonsense").expect("written");
        chain.begin_upgrade();
        chain.first.error_log().expect(&["upgrade: ", told]);
        assert_eq!(chain.pid(), old);
        let mut client = TlsClient::connect(chain.first.addr(), &certificate);
        let answer = client.get("/hello").expect("a whole answer");
        assert!(answer.ends_with("the handler"), "{answer}");
    }
}

#[test]
fn one_upgrade_runs_at_a_time_and_ends_with_a_server_that_stops() {
    for processes in ["1", "2"] {
        let site = site();
        let link = site.path().join("wasgi-program");
        symlink(program(), &link).expect("linked");
        let chain = Chain::new(&site, &link, &["--processes", processes], "");
        let note = site.path().join("new.pid");
        let note_text = note.display();
        replace_by_script(
            &link,
            &format!(
                "echo $$ > {note_text}.draft; mv {note_text}.draft {note_text}; exec sleep 3600"
            ),
        );
        chain.begin_upgrade();
        eventually("the new process runs", || note.exists());
        let new = fs::read_to_string(&note).expect("it is there");
        let new = Pid::from_raw(new.trim().parse().expect("a number")).expect("a process");
        chain.begin_upgrade();
        chain
            .first
            .error_log()
            .expect(&["upgrade: one is in progress"]);
        assert_eq!(chain.first.get("/hello").status(), 200);
        let old = chain.pid();
        kill_process(old, Signal::TERM).expect("it is there");
        eventually("the new process has ended", || has_ended(new));
        eventually("the old one has ended", || has_ended(old));
    }
}

#[test]
fn clients_that_send_nothing_do_not_keep_the_old_server() {
    let site = site();
    let chain = Chain::new(&site, program(), &[], "shutdown-grace = \"100ms\"\n");
    let mut slow = chain.first.connect();
    slow.send("GET /hello HTTP/1.1\r\nHost: te");
    let idle = chain.first.connect();
    // Both are accepted: one that comes later is answered.
    assert_eq!(chain.first.get("/hello").status(), 200);
    chain.upgrade();
    drop((slow, idle));
}

#[test]
fn a_site_is_ready_at_each_moment_of_an_upgrade() {
    for processes in ["1", "2"] {
        let site = site();
        let config = "[admin]\naddr = \"127.0.0.1:0\"\n";
        let chain = Chain::new(&site, program(), &["--processes", processes], config);
        let line = chain.first.access_log().expect(&["admin listener on "]);
        let addr = line.split_once("http://").expect("an address").1;
        let addr: SocketAddr = addr.trim_end_matches('/').parse().expect("an address");
        let ask = |is_over: &AtomicBool, count: &AtomicU64| {
            while !is_over.load(Ordering::Relaxed) {
                let mut client = Client::connect(addr);
                client.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
                let response = client.response();
                assert_eq!(response.status(), 200, "{}", response.text());
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        upgrade_under_load(&chain, &[&ask]);
    }
}

#[test]
fn the_log_of_requests_goes_on_in_one_file() {
    let site = site();
    let chain = Chain::new(&site, program(), &[], "access-log = \"access.log\"\n");
    let file = site.path().join("access.log");
    let lines = || fs::read_to_string(&file).map_or(0, |text| text.lines().count());
    chain.first.get("/hello");
    chain.upgrade();
    chain.first.get("/hello");
    eventually("both servers have logged", || lines() == 2);
    fs::rename(&file, site.path().join("old.log")).expect("renamed");
    kill_process(chain.pid(), Signal::USR1).expect("it is there");
    eventually("the file is opened again", || file.exists());
    chain.first.get("/hello");
    eventually("the successor logs there", || lines() == 1);
}

#[test]
fn the_command_waits_for_the_successor_or_says_why_there_is_none() {
    for (config, why, key) in [
        ("", "its log says why", "server.pid-file: "),
        (
            "[admin]\naddr = \"unix:admin.sock\"\n",
            "exit status 7",
            "admin.addr: ",
        ),
    ] {
        let site = site();
        let path = site.path().to_str().expect("text");
        let link = site.path().join("wasgi-program");
        symlink(program(), &link).expect("linked");
        let chain = Chain::new(&site, &link, &[], config);
        let old = chain.pid().as_raw_nonzero();
        let ended = run(["upgrade", path]);
        ended.expect_success();
        let new = chain.pid().as_raw_nonzero();
        let told = format!("process {new} serves instead of process {old}");
        assert_eq!(ended.stdout, [told]);
        replace_by_script(&link, "exit 7");
        let ended = run(["upgrade", path]);
        let told = ended.refusal();
        assert!(
            told.contains(&format!("process {new} continues: ")),
            "{told}"
        );
        assert!(told.contains(why), "{told}");
        assert_eq!(chain.first.get("/hello").status(), 200);
        let last = chain.pid();
        kill_process(last, Signal::TERM).expect("it is there");
        eventually("the server has ended", || has_ended(last));
        let ended = run(["upgrade", path]);
        assert!(ended.refusal().contains(key), "{}", ended.refusal());
    }
}

#[test]
fn a_site_that_is_one_file_is_replaced_as_well() {
    let site = site();
    let file = site.path().join("site");
    let flags = ["--self-contained", "-o", file.to_str().expect("text")];
    bundle(&site, &flags).expect_success();
    let config = site.path().join("server.toml");
    fs::write(&config, "[server]\npid-file = \"server.pid\"\n").expect("written");
    let mut command = Command::new(&file);
    command.env("XDG_CACHE_HOME", site.path().join("cache"));
    command.args(["--addr", "127.0.0.1:0", "--code-cache"]);
    command.arg(code_cache()).arg("--config").arg(config);
    let first = Server::started(Process::start(&mut command));
    let pid_file = site.path().join("server.pid");
    let chain = Chain { first, pid_file };
    eventually("the pid file is written", || chain.pid_file.exists());
    chain.upgrade();
    assert_eq!(chain.first.get("/").text(), "the page");
    assert_eq!(chain.first.get("/hello").text(), "the handler");
}
