//! The logs: limited in size, shared fairly among handlers, and without characters that could
//! disturb a terminal.

use std::io::Read;
use std::net::SocketAddr;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::command::{code_cache, run, wasgi};
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::site::Site;

/// Characters that reverse a line, end it, or are invisible.
const HIDDEN: [char; 7] = [
    '\u{85}', '\u{9b}', '\u{200b}', '\u{2028}', '\u{202e}', '\u{2066}', '\u{feff}',
];

/// Creates a site with the case `errors` under these names.
fn site_of(names: [&str; 2], settings: &str) -> Site {
    let errors = crate::support::guests::case("errors");
    let site = Site::new();
    for name in names {
        site.install(&format!("{name}.wasm"), &errors);
    }
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    site
}

#[test]
fn a_handler_that_logs_without_end_loses_no_line_but_its_own() {
    let settings = "[limits]\nlog-rate = \"100KiB/s\"\nlog-burst = \"100KiB\"\n\
                    [budget]\nlog = \"1GiB\"\n";
    let site = site_of(["greedy", "modest"], settings);
    let server = Server::new(&site);
    let mut greedy = server.connect();
    let mut modest = server.connect();
    for round in 0..20 {
        let response = greedy.get("/greedy?newlines=20000");
        assert_eq!(response.text(), "20000 newlines");
        let said = format!("/modest?n=10&say=%20of%20round%20{round}.");
        assert_eq!(modest.get(&said).status(), 200);
    }
    let report = server
        .error_log()
        .expect(&["greedy: ", " lines (", ") dropped: "]);
    assert!(report.contains("it logs more than 100KiB/s"), "{report}");
    assert!(report.contains("limits.log-rate"), "{report}");
    let ended = server.stop();
    for round in 0..20 {
        let of_round = format!(" of round {round}.");
        let lines = ended.stderr_with(&["modest: ", &of_round]);
        assert_eq!(lines, 12, "round {round}");
    }
    assert_eq!(ended.stderr_with(&["modest: ", "dropped"]), 0);
    // Beyond its burst, the handler may log at its rate for as long as the test runs, and each
    // entry is a line.
    let kept = ended.stderr_with(&["WARN greedy: "]);
    assert!((1000..200_000).contains(&kept), "{kept}");
}

#[test]
fn an_error_log_that_nobody_reads_stalls_no_request() {
    let site = site_of(["greedy", "modest"], "[budget]\nlog = \"1GiB\"\n");
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
    command.arg(code_cache()).arg(site.path());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(writer);
    let mut process = command.spawn().expect("it starts");
    drop(command);
    let addr = listening(process.stdout.take().expect("a pipe"));
    let mut client = Client::connect(addr);
    // Far more than a pipe and the queue hold.
    for _ in 0..200 {
        let response = client.get("/greedy?n=1000&say=123456789012345678901234567890");
        assert_eq!(response.text(), "1000 lines");
        assert_eq!(client.get("/modest?n=1").status(), 200);
    }
    drop(client);
    let text = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        text
    });
    let pid = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(pid, Signal::TERM).expect("sent");
    assert!(process.wait().expect("it ends").success());
    let text = text.join().expect("no panic");
    let of_modest = text.lines().filter(|line| line.contains("modest: line 1"));
    assert_eq!(of_modest.count(), 200, "each found room");
    assert!(
        text.lines()
            .any(|line| line.contains("greedy: ") && line.contains(" dropped: "))
    );
}

/// Returns the address on which a server listens, from its first line. The rest of the output is
/// read and discarded.
fn listening(mut out: impl Read + Send + 'static) -> SocketAddr {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("/\n") {
        out.read_exact(&mut byte).expect("a byte");
        text.push(char::from(byte[0]));
    }
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let (_, addr) = text.rsplit_once("http://").expect("an address");
    addr.trim_end_matches("/\n").parse().expect("an address")
}

#[test]
fn a_worker_that_logs_without_end_is_heard_by_its_own_rules() {
    let settings = "[limits]\nlog-rate = \"100KiB/s\"\nlog-burst = \"100KiB\"\n\
                    [budget]\nlog = \"1GiB\"\n";
    let site = site_of(["greedy", "modest"], settings);
    let server = Server::with(&site, &["--processes", "2", "--threads", "1"]);
    for round in 0..10 {
        server.get("/greedy?newlines=20000");
        server.get(&format!("/modest?n=10&say=%20of%20round%20{round}."));
    }
    server.error_log().expect(&["greedy: ", ") dropped: "]);
    let ended = server.stop();
    for round in 0..10 {
        let of_round = format!(" of round {round}.");
        assert_eq!(
            ended.stderr_with(&["modest: ", &of_round]),
            12,
            "round {round}"
        );
    }
}

#[test]
fn the_access_log_escapes_what_would_end_its_fields() {
    let site = Site::new().with_page("index.html", "a page");
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send("GET /a\"b\\c HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().status(), 404);
    let mut client = server.connect();
    client.send(b"GET /\xe2\x80\xae\xff\" HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    let log = server.access_log();
    let line = log.expect(&["\"GET /a\\\"b\\\\c HTTP/1.1\" 404 "]);
    let (time, _) = line.split_once(' ').expect("a time");
    assert!(time.len() == 20 && time.ends_with('Z'), "{line}");
    log.expect(&["\"GET /\\xe2\\x80\\xae\\xff\\\" HTTP/1.1\" 400 "]);
    server.stop();
}

#[test]
fn names_of_files_cant_disturb_a_terminal() {
    let site = Site::new();
    let name: String = format!("a{}b", HIDDEN[2..].iter().collect::<String>());
    site.write_handler(
        &format!("{name}.wat"),
        crate::support::guests::page("a page"),
    );
    site.write_handler(&format!("{name}.txt"), "not a handler");
    site.write_handler(&format!("broken{name}.wat"), "(component");
    let path = site.path().to_str().expect("text");
    for arguments in [&["routes", path][..], &["routes", "--json", path]] {
        let ended = run(arguments);
        let everything = ended.everything();
        assert!(!everything.contains(HIDDEN), "{everything:?}");
        assert!(everything.contains("202e"), "{everything:?}");
    }
    let handler = site.handlers().join(format!("broken{name}.wat"));
    let handler = handler.to_str().expect("text");
    for command in ["check", "run"] {
        let everything = run([command, "--site", path, handler]).everything();
        assert!(!everything.contains(HIDDEN), "{command}: {everything:?}");
        assert!(everything.contains("202e"), "{command}: {everything:?}");
    }
    let server = Server::new(&site);
    server.get("/nothing");
    let ended = server.stop();
    assert!(
        !ended.everything().contains(HIDDEN),
        "{:?}",
        ended.everything()
    );
    assert!(
        ended.everything().contains("202e"),
        "{}",
        ended.everything()
    );
}

#[test]
fn an_error_of_the_configuration_cant_disturb_a_terminal() {
    let site = Site::new();
    let said: String = HIDDEN.iter().collect();
    let settings = format!("[limits]\nbody = \"{said}\"\n");
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let ended = run(["serve", site.path().to_str().expect("text")]);
    let line = ended.refusal();
    assert!(!line.contains(HIDDEN), "{line:?}");
    assert!(line.contains("limits.body"), "{line:?}");
}

#[test]
fn colours_are_for_those_who_want_them() {
    // Standard error isn't a terminal here, so there are no colours in either case.
    let site = Site::new();
    std::fs::remove_dir(site.html()).expect("removed");
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0"]);
    command.arg(site.path()).env("NO_COLOR", "1");
    let server = Server::started(Process::start(&mut command));
    let line = server.error_log().expect(&["no such folder"]);
    assert!(!line.contains('\x1b'), "{line:?}");
    server.stop();
}

#[test]
fn an_error_names_its_request_and_so_does_the_access_log() {
    let site = Site::new().with_cases(["exception", "short-body"]);
    let server = Server::new(&site);
    assert_eq!(server.get("/exception/deep?a=b").status(), 500);
    let line = server
        .error_log()
        .expect(&["ERROR", "exception: raised ValueError"]);
    assert!(line.contains("(GET /exception/deep?a=b #"), "{line}");
    let (_, id) = line.split_once(" #").expect("a number");
    let id = id.trim_end_matches(')');
    let access = server
        .access_log()
        .expect(&["GET /exception/deep?a=b HTTP/1.1"]);
    assert!(access.ends_with(&format!(" exception #{id}")), "{access}");
    let mut client = server.connect();
    client.request("GET", "/short-body");
    let _ = client.rest();
    server
        .error_log()
        .expect(&["ERROR", "shorter than", "(GET /short-body"]);
    server.stop();
}

#[test]
fn what_a_handler_writes_in_one_turn_stands_together() {
    const REQUESTS: usize = 20;
    let site = Site::new().with_cases(["errors"]);
    let server = Server::new(&site);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut connection = server.connect();
                for request in 0..REQUESTS {
                    let path = format!("/errors?n=20&say=%20of%20{client}-{request}.");
                    assert_eq!(connection.get(&path).status(), 200);
                }
            });
        }
    });
    let ended = server.stop();
    let lines: Vec<&String> = ended
        .stderr
        .iter()
        .filter(|line| line.contains("errors: "))
        .collect();
    assert_eq!(lines.len(), 4 * REQUESTS * 22, "{}", ended.everything());
    let name = |line: &&String| line.rsplit_once(" of ").expect("a name").1.to_owned();
    let names: Vec<String> = lines.iter().map(name).collect();
    let blocks = names.chunk_by(|one, next| one == next);
    let whole = blocks.filter(|block| block.len() == 22).count();
    // On a busy machine, some are interrupted by a tick, and write in two turns.
    assert!(whole >= 2 * REQUESTS, "{whole} blocks: {names:#?}");
}

#[test]
fn what_a_handler_is_refused_is_told_once_for_each_thing() {
    let site = Site::new().with_cases(["wasi-files"]);
    let server = Server::new(&site);
    for _ in 0..3 {
        assert_eq!(server.get("/wasi-files").status(), 200);
    }
    let ended = server.stop();
    for thing in [
        "asked for tcp://HOST:PORT, which is not granted",
        "asked for tcp://localhost:PORT, which is not granted",
        "access to a UDP socket was denied",
        "asked for files",
        "asked for environment variables",
    ] {
        let lines = ended.stderr_with(&["WARN wasi-files: ", thing]);
        assert_eq!(lines, 1, "{thing}: {}", ended.everything());
    }
}

#[test]
fn a_command_that_asks_for_files_is_told_the_first_one_and_one_without_files_nothing() {
    let site = Site::new().with_cases(["cgi-environ", "cgi-echo"]);
    let server = Server::new(&site);
    for _ in 0..3 {
        let answer = server.get("/cgi-environ");
        assert!(answer.text().contains("\nfile: false\n"), "{answer:?}");
        assert!(answer.text().contains("\nfolder: false\n"), "{answer:?}");
        assert_eq!(server.get("/cgi-echo").status(), 200);
    }
    let ended = server.stop();
    let line = "WARN cgi-environ: asked for the file \"/etc/passwd\" and has no files";
    for parts in [&[line][..], &["WARN cgi-environ: asked for", "file"]] {
        assert_eq!(ended.stderr_with(parts), 1, "{}", ended.everything());
    }
    assert_eq!(
        ended.stderr_with(&["WARN cgi-echo"]),
        0,
        "{}",
        ended.everything()
    );
}

#[test]
fn a_quiet_server_says_only_what_goes_wrong() {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_cases(["exception"]);
    for flags in [
        &["--quiet"][..],
        &["-q"],
        &["--log-level=warn", "--no-access-log"],
    ] {
        let server = Server::with(&site, flags);
        assert_eq!(server.get("/").status(), 200);
        assert_eq!(server.get("/exception").status(), 500);
        let ended = server.stop();
        assert_eq!(
            ended.stderr_with(&["raised ValueError"]),
            1,
            "{}",
            ended.everything()
        );
        assert_eq!(ended.stderr_with(&[" INFO "]), 0, "{}", ended.everything());
        let said = ended.stdout.join("\n");
        assert!(
            said.contains("listening on ") && !said.contains("GET /"),
            "{said}"
        );
        assert!(!said.contains("exception.wasm"), "{said}");
    }
    let server = Server::with(&site, &["--log-level", "error"]);
    assert_eq!(server.get("/exception").status(), 500);
    assert!(
        server
            .stop()
            .stderr
            .iter()
            .all(|line| !line.contains(" WARN "))
    );
}
