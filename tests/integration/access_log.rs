//! The access log: its formats, its file, and outputs that accept nothing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::command::{run, wasgi};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::site::Site;

/// Creates a site with a page, whose access log is this file.
fn site_with_log(file: &Path) -> Site {
    let site = Site::new().with_page("index.html", "a page");
    let settings = format!("[server]\naccess-log = \"{}\"\n", file.display());
    fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    site
}

/// Returns a path in a new folder, which exists as long as the first value.
fn new_path() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    (folder, path)
}

/// Returns the number of requests from `first` on that have a line each, in order.
fn requests_in(files: &[&Path]) -> Vec<u32> {
    let read = |path: &&Path| fs::read_to_string(path).expect("read");
    let text: String = files.iter().map(read).collect();
    let number = |line: &str| {
        let (_, rest) = line.split_once("\"GET /?n=").expect("a request");
        let (number, rest) = rest.split_once(' ').expect("a version");
        assert!(rest.starts_with("HTTP/1.1\" 200 "), "{line}");
        number.parse().expect("a number")
    };
    text.lines().map(number).collect()
}

#[test]
fn a_client_cant_forge_a_line_in_any_format() {
    let site = Site::new().with_page("index.html", "a page");
    let long = format!("/{}", "a".repeat(7000));
    for format in ["text", "json", "common", "combined"] {
        let server = Server::with(&site, &["--log-format", format]);
        let forged = "x\" 200 1 \"-\" \"-\"\\n\u{202e}";
        let mut requests: Vec<Vec<u8>> = vec![
            format!("GET /a\"b\\c HTTP/1.1\r\nHost: a\r\nUser-Agent: {forged}\r\n\r\n").into(),
            b"GET /\x1b[2J\n127.0.0.1 - - HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\nHost: a\r\nReferer: \xff\xfe\"\\\r\n\r\n".to_vec(),
            b"{\"status\":200}\r\n\r\n".to_vec(),
        ];
        requests.push(format!("GET {long} HTTP/1.1\r\nHost: a\r\n\r\n").into());
        for request in &requests {
            let mut client = server.connect();
            client.send(request);
            let _ = client.response();
        }
        let mut client = server.connect();
        assert_eq!(client.get("/?last").status(), 200);
        server.access_log().expect(&["/?last"]);
        let ended = server.stop();
        let is_access = |line: &&String| match format {
            "json" => line.contains("\"status\":"),
            "text" => line.contains("ms "),
            _ => true,
        };
        let lines: Vec<&String> = ended.stdout.iter().filter(is_access).collect();
        assert_eq!(lines.len(), requests.len() + 1, "{format}: {lines:#?}");
        for line in lines {
            let is_plain = |c: char| !c.is_control() && c != '\u{202e}';
            assert!(line.chars().all(is_plain), "{format}: {line:?}");
            if format == "json" {
                let entry: serde_json::Value = serde_json::from_str(line).expect(line);
                assert!(
                    entry["status"].is_u64() && entry["client"] == "127.0.0.1",
                    "{line}"
                );
            }
        }
        let is_whole = |line: &String| line.contains(&long);
        assert!(ended.stdout.iter().any(is_whole), "{format}");
    }
}

#[test]
fn json_is_the_format_of_all_lines() {
    let site = Site::new().with_cases(["exception", "errors"]);
    let server = Server::with(&site, &["--log-format", "json"]);
    assert_eq!(server.get("/exception").status(), 500);
    server.get("/errors?n=2");
    let ended = server.stop();
    let lines: Vec<serde_json::Value> = ended
        .stdout
        .iter()
        .chain(&ended.stderr)
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let find = |key: &str, value: &str| {
        let mut found = lines.iter().filter(|line| line[key] == value);
        found
            .next()
            .unwrap_or_else(|| panic!("no {key} {value} in {lines:#?}"))
    };
    assert!(find("message", "all handlers are loaded")["time"].is_string());
    let access = find("target", "/exception");
    assert_eq!(
        (&access["status"], &access["handler"]),
        (&500.into(), &"exception".into())
    );
    // The failure and the line of the access log have the same identifier.
    let id = access["request-id"].as_str().expect("an identifier");
    let failure = lines
        .iter()
        .find(|line| line["level"] == "ERROR")
        .expect("a failure");
    assert_eq!(
        (&failure["request-id"], &failure["handler"]),
        (&id.into(), &"exception".into())
    );
    assert_eq!(find("message", "line 1")["handler"], "errors");
}

#[test]
fn apaches_formats_leave_standard_output_to_the_access_log() {
    let site = Site::new().with_page("index.html", "a page");
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--log-format", "combined"]);
    let process = Process::start(command.arg("--code-cache").arg("none").arg(site.path()));
    let stderr = process.stderr.as_ref().expect("it is running");
    let line = stderr.expect(&["listening on http://"]);
    let addr: SocketAddr = line[line.find("http://").expect("a URL") + 7..]
        .trim_end_matches('/')
        .parse()
        .expect("an address");
    let mut client = Client::connect(addr);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nReferer: b\r\nUser-Agent: c \"d\"\r\n\r\n");
    assert_eq!(client.response().text(), "a page");
    process.signal(Signal::TERM);
    let ended = process.wait();
    let [line] = &ended.stdout[..] else {
        panic!("{}", ended.everything());
    };
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    let rest = " +0000] \"GET / HTTP/1.1\" 200 6 \"b\" \"c \\\"d\\\"\"";
    assert!(line.ends_with(rest), "{line}");
}

#[test]
fn the_format_changes_while_the_server_runs() {
    let site = Site::new().with_page("index.html", "a page");
    let file = site.path().join("wasgi.toml");
    fs::write(&file, "").expect("written");
    let server = Server::new(&site);
    server.get("/?1");
    server
        .access_log()
        .expect(&["Z 127.0.0.1 \"GET /?1 HTTP/1.1\" 200 "]);
    fs::write(&file, "[server]\nlog-format = \"json\"\n").expect("written");
    server.error_log().expect(&["applied: server.log-format"]);
    server.get("/?2");
    server
        .access_log()
        .expect(&["{\"time\":", "\"target\":\"/?2\""]);
    server.stop();
}

#[test]
fn a_renamed_file_gets_no_line_after_sigusr1_and_none_is_lost() {
    for processes in ["1", "2"] {
        let (folder, path) = new_path();
        let site = site_with_log(&path);
        let server = Server::with(&site, &["--processes", processes, "--threads", "1"]);
        let (addr, is_over) = (server.addr(), AtomicBool::new(false));
        let old = folder.path().join("access.log.1");
        let send = |from: u32| {
            let mut client = Client::connect(addr);
            let mut number = from;
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(client.get(&format!("/?n={number}")).status(), 200);
                number += 1;
            }
            number
        };
        let (first, second) = std::thread::scope(|scope| {
            let clients = [scope.spawn(|| send(0)), scope.spawn(|| send(1_000_000))];
            eventually("some lines are written", || {
                fs::metadata(&path).is_ok_and(|file| file.len() > 10_000)
            });
            fs::rename(&path, &old).expect("renamed");
            server.signal(Signal::USR1);
            server
                .error_log()
                .expect(&["the access log was reopened: "]);
            let length = fs::metadata(&old).expect("it is there").len();
            eventually("some lines are in the new file", || {
                fs::metadata(&path).is_ok_and(|file| file.len() > 10_000)
            });
            assert_eq!(fs::metadata(&old).expect("it is there").len(), length);
            is_over.store(true, Ordering::Relaxed);
            clients
                .map(|client| client.join().expect("no panic"))
                .into()
        });
        let ended = server.stop();
        assert!(!ended.has_complaints(), "{}", ended.everything());
        assert!(!ended.stdout.iter().any(|line| line.contains("GET ")));
        let mut numbers = requests_in(&[&old, &path]);
        numbers.sort_unstable();
        let expected: Vec<u32> = (0..first).chain(1_000_000..second).collect();
        assert_eq!(numbers, expected, "{processes} processes");
    }
}

#[test]
fn sigusr1_ends_no_process() {
    let site = Site::new().with_page("index.html", "a page");
    let server = Server::with(&site, &["--processes", "2"]);
    let line = server.access_log().expect(&["served by 2 processes: "]);
    let (_, pids) = line.split_once(": ").expect("a list");
    for pid in pids.split(", ") {
        let pid = rustix::process::Pid::from_raw(pid.parse().expect("a number"));
        rustix::process::kill_process(pid.expect("a process"), Signal::USR1).expect("sent");
    }
    server.signal(Signal::USR1);
    server
        .error_log()
        .expect(&["the access log is not a file: "]);
    assert_eq!(server.get("/").text(), "a page");
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn logrotate_moves_the_file_as_the_documentation_says() {
    let has_logrotate = std::process::Command::new("/usr/sbin/logrotate")
        .arg("--version")
        .output()
        .is_ok();
    if !has_logrotate {
        eprintln!("logrotate is not installed: not tested");
        return;
    }
    let (folder, path) = new_path();
    let site = site_with_log(&path);
    let server = Server::new(&site);
    assert_eq!(server.get("/?n=0").status(), 200);
    eventually("the line is written", || {
        fs::metadata(&path).is_ok_and(|file| file.len() > 0)
    });
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let docs = fs::read_to_string(docs).expect("read");
    let (_, recipe) = docs
        .split_once("/var/log/wasgi/access.log {")
        .expect("a recipe");
    let (recipe, _) = recipe.split_once("\n}\n").expect("its end");
    let command = "systemctl kill --kill-whom=main --signal=USR1 wasgi.service";
    assert!(recipe.contains(command), "{recipe}");
    let recipe = recipe
        .replace(command, &format!("kill -USR1 {}", server.id()))
        .replace("su wasgi wasgi", "");
    let (config, state) = (folder.path().join("conf"), folder.path().join("state"));
    fs::write(&config, format!("{} {{{recipe}\n}}\n", path.display())).expect("written");
    let output = std::process::Command::new("/usr/sbin/logrotate")
        .args(["--force", "--state"])
        .args([&state, &config])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    server
        .error_log()
        .expect(&["the access log was reopened: "]);
    assert_eq!(server.get("/?n=1").status(), 200);
    server.stop();
    let old = folder.path().join("access.log.1");
    assert_eq!(requests_in(&[&old]), [0]);
    assert_eq!(requests_in(&[&path]), [1]);
}

#[test]
fn what_is_not_a_file_is_refused_with_one_line() {
    let (folder, _) = new_path();
    let fifo = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).expect("made");
    let missing = folder.path().join("none/access.log");
    for path in [&*fifo, Path::new("/dev/null"), folder.path(), &missing] {
        let site = site_with_log(path);
        let ended = run([
            "serve",
            "--addr",
            "127.0.0.1:0",
            site.path().to_str().expect("text"),
        ]);
        let line = ended.refusal();
        assert!(
            line.contains("server.access-log: could not write to /"),
            "{line}"
        );
    }
    // Among the pages, everyone could read it.
    let site = Site::new().with_page("index.html", "a page");
    let settings = "[server]\naccess-log = \"html/access.log\"\n";
    fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let ended = run(["serve", site.path().to_str().expect("text")]);
    assert!(
        ended.refusal().contains("contains the access log"),
        "{}",
        ended.refusal()
    );
}

#[test]
fn the_file_can_be_changed_while_the_server_runs() {
    let (folder, path) = new_path();
    let site = site_with_log(&path);
    let server = Server::new(&site);
    assert_eq!(server.get("/?n=0").status(), 200);
    let other = folder.path().join("other.log");
    let file = site.path().join("wasgi.toml");
    let settings = format!("[server]\naccess-log = \"{}\"\n", other.display());
    fs::write(&file, settings).expect("written");
    server.error_log().expect(&["applied: server.access-log"]);
    assert_eq!(server.get("/?n=1").status(), 200);
    eventually("it is in the other file", || {
        fs::read_to_string(&other).is_ok_and(|text| text.contains("/?n=1"))
    });
    // A file that can't be written changes nothing.
    fs::write(&file, "[server]\naccess-log = \"/dev/full\"\n").expect("written");
    server
        .error_log()
        .expect(&["server.access-log: could not write to /dev/full"]);
    assert_eq!(server.get("/?n=2").status(), 200);
    server.stop();
    assert_eq!(requests_in(&[&path]), [0]);
    assert_eq!(requests_in(&[&other]), [1, 2]);
}

/// Starts a server with this standard output, on a free port, which it can't tell.
fn serve_to(site: &Site, stdout: Stdio) -> (Process, SocketAddr) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = socket.local_addr().expect("an address");
    drop(socket);
    let addr_text = addr.to_string();
    let mut command = wasgi(["serve", "--code-cache", "none", "--addr", &addr_text]);
    let process = Process::start_writing_to(command.arg(site.path()), stdout);
    eventually("it listens", || std::net::TcpStream::connect(addr).is_ok());
    (process, addr)
}

/// Sends requests whose lines are longer than `limits.log-queue`.
fn fill(addr: SocketAddr) {
    let mut client = Client::connect(addr);
    let target = format!("/?{}", "a".repeat(6000));
    for _ in 0..400 {
        assert_eq!(client.get(&target).status(), 200);
    }
}

#[test]
fn a_full_disk_stops_no_request() {
    let site = Site::new().with_page("index.html", "a page");
    fs::write(
        site.path().join("wasgi.toml"),
        "[limits]\nlog-queue = \"1MiB\"\n",
    )
    .expect("written");
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("it is there");
    let (process, addr) = serve_to(&site, full.into());
    fill(addr);
    let stderr = process.stderr.as_ref().expect("it is running");
    stderr.expect(&["ERROR the access log can't be written: No space left on device"]);
    process.signal(Signal::TERM);
    let ended = process.wait();
    assert!(ended.status.success(), "{}", ended.everything());
    ended.expect_stderr(&["WARN the access log: ", " lines are lost: "]);
}

#[test]
fn a_full_file_is_reported_when_it_has_space_again_with_the_number_of_lines() {
    let (_folder, path) = new_path();
    let site = site_with_log(&path);
    let settings = fs::read_to_string(site.path().join("wasgi.toml")).expect("read");
    let settings = format!("{settings}[limits]\nlog-queue = \"1MiB\"\n");
    fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let server = Server::with(&site, &["--threads", "1"]);
    // The kernel refuses to let a file of this process grow beyond 100 KiB.
    let pid = server.id();
    let limit = |limit: &str| {
        let done = std::process::Command::new("prlimit")
            .args(["--pid", &pid.to_string(), &format!("--fsize={limit}")])
            .status();
        assert!(done.expect("util-linux is installed").success());
    };
    limit("102400:unlimited");
    fill(server.addr());
    server
        .error_log()
        .expect(&["ERROR the access log can't be written: File too large"]);
    limit("unlimited:unlimited");
    server
        .error_log()
        .expect(&["INFO the access log can be written again"]);
    let report = server
        .error_log()
        .expect(&["WARN the access log: ", " lines (", ") dropped: "]);
    let (_, count) = report.split_once("the access log: ").expect("a count");
    let (count, _) = count.split_once(' ').expect("a count");
    let dropped: usize = count.parse().expect("a number");
    server.stop();
    let text = fs::read_to_string(&path).expect("read");
    assert_eq!(text.lines().count() + dropped, 400, "{report}");
    let is_whole = |line: &str| line.contains("Z 127.0.0.1 \"GET /?aaa") && line.ends_with("ms -");
    assert!(text.lines().all(is_whole), "each line is whole");
}

#[test]
fn a_closed_standard_output_is_reported_with_the_number_of_lines() {
    let site = Site::new().with_page("index.html", "a page");
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let (process, addr) = serve_to(&site, writer.into());
    // Its first message; the rest is not read.
    reader.read_exact(&mut [0]).expect("a byte");
    drop(reader);
    let mut client = Client::connect(addr);
    for _ in 0..100 {
        assert_eq!(client.get("/").status(), 200);
    }
    let stderr = process.stderr.as_ref().expect("it is running");
    stderr.expect(&["ERROR the access log can't be written: Broken pipe"]);
    process.signal(Signal::TERM);
    let ended = process.wait();
    assert!(ended.status.success(), "{}", ended.everything());
    ended.expect_stderr(&[
        "WARN the access log: ",
        ") dropped: the log's output was closed",
    ]);
}
