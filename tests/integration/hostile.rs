//! Handler files that try to exhaust or crash the server while they are loaded.
//!
//! The server loads them in separate processes, whose limits are low in these tests so that they
//! are reached quickly.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::command::wasgi;
use crate::support::eventually;
use crate::support::hostile::{self, Hostile};
use crate::support::process::{Ended, Process};
use crate::support::server::Server;
use crate::support::site::Site;

/// Limits that suffice for these tests' small handlers in a debug build, but not for the hostile
/// files.
const LIMITS: &str = "[compile]\naddress-space = \"512MiB\"\ncpu-time = \"2s\"\n";

/// The log message for a file that exceeds a limit.
const OVER: &str = "not loaded: compiling takes ";

fn site(config: &str) -> Site {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("good", "the handler");
    fs::write(site.path().join("wasgi.toml"), config).expect("written");
    site
}

/// Serves a site with a private code cache.
fn serve(site: &Site, flags: &[&str]) -> Server {
    let cache = site.path().join("code");
    let cache = cache.to_str().expect("a name");
    let flags: Vec<&str> = ["--code-cache", cache]
        .into_iter()
        .chain(flags.iter().copied())
        .collect();
    Server::with(site, &flags)
}

/// Checks that the page is available at once, and the good handler as soon as it is compiled.
#[track_caller]
fn expect_service(server: &Server) {
    assert_eq!(server.get("/").text(), "the page");
    eventually("the handler answers", || {
        server.get("/good").text() == "the handler"
    });
}

/// Checks three cases: the file is dropped into a running server, exists when a server starts, or
/// when one with several processes starts. In each case the server continues to serve, and one log
/// line names the limit that was reached.
#[track_caller]
fn expect_refusal(hostile: &Hostile, why: &str) {
    let name = hostile.name;
    let line = [&*format!("handlers/{name}.wasm: "), why];
    let site = site(LIMITS);
    let server = serve(&site, &[]);
    expect_service(&server);
    site.replace_handler(&format!("{name}.wasm"), &hostile.bytes);
    server.error_log().expect(&line);
    expect_service(&server);
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&line), 1, "{}", ended.everything());

    for flags in [&[][..], &["--processes", "2"]] {
        let server = serve(&site, flags);
        expect_service(&server);
        // A file that is rejected before the routes are printed is reported with them.
        eventually("the refusal is told", || {
            let told = [server.access_log().lines(), server.error_log().lines()].concat();
            let has_all = |told: &String| line.iter().all(|part| told.contains(part));
            told.iter().any(has_all)
        });
        expect_service(&server);
        let ended = server.stop();
        // The supervisor's message about a worker that died.
        assert_eq!(
            ended.stderr_with(&["was killed"]),
            0,
            "{}",
            ended.everything()
        );
    }
}

#[track_caller]
fn kind(name: &str) -> Hostile {
    let kinds = hostile::all();
    let found = kinds.into_iter().find(|kind| kind.name == name);
    found.expect("there is one of this name")
}

#[test]
fn component_types_that_are_nested_deeply_cost_their_process_alone() {
    for name in ["types-1k", "types-100k"] {
        expect_refusal(
            &kind(name),
            "stack: it is nested too deeply (compile.stack)",
        );
    }
}

#[test]
fn a_module_that_describes_its_interfaces_so_is_no_better() {
    let why = "stack: it is nested too deeply (compile.stack)";
    expect_refusal(&kind("section-types-1k"), why);
}

#[test]
fn components_that_are_nested_deeply_are_refused() {
    expect_refusal(&kind("components"), "nested more than 32 deep");
}

#[test]
fn loops_that_pass_many_values_are_refused() {
    expect_refusal(&kind("parameters"), OVER);
}

#[test]
fn many_locals_in_many_blocks_are_refused() {
    expect_refusal(&kind("locals"), OVER);
}

#[test]
fn a_function_of_a_million_calls_is_refused() {
    expect_refusal(&kind("calls"), OVER);
}

#[test]
fn what_is_no_handler_is_refused_with_its_reason() {
    for (name, why) in [
        ("truncated", "check that the file is complete"),
        ("empty", "empty"),
        ("garbage", "neither WebAssembly nor its text"),
    ] {
        expect_refusal(&kind(name), why);
    }
}

/// Found by the fuzz target `load`: wit-parser considers such a section impossible and panics.
#[test]
fn a_file_that_makes_the_compiler_panic_is_refused() {
    let file = "../fuzz/corpus/load/alias-of-another-owners-type";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let panics = Hostile {
        name: "panics",
        bytes: fs::read(file).expect("the corpus is there"),
    };
    expect_refusal(&panics, "compiling it made the compiler panic: ");
}

#[test]
fn the_line_names_the_limit_that_was_reached() {
    for (name, limit, why) in [
        (
            "calls",
            "cpu-time = \"1s\"",
            "more than 1s of processor time (compile.cpu-time)",
        ),
        (
            "calls",
            "wall-time = \"300ms\"",
            "longer than 300ms (compile.wall-time)",
        ),
        (
            "parameters",
            "address-space = \"512MiB\"",
            "more than 512MiB of memory (compile.address-space)",
        ),
    ] {
        let site = site(&format!("[compile]\n{limit}\n"));
        let server = serve(&site, &[]);
        site.replace_handler("slow.wasm", kind(name).bytes);
        server.error_log().expect(&["handlers/slow.wasm", why]);
        expect_service(&server);
        server.stop();
    }
}

#[test]
fn code_that_is_larger_than_it_may_be_is_refused() {
    let site = site("[compile]\noutput = \"2MiB\"\n");
    let server = serve(&site, &[]);
    let data = "x".repeat(3 << 20);
    let text = format!(
        "(module (memory (export \"memory\") 64) (data (i32.const 0) \"{data}\")
        (func (export \"_start\")))"
    );
    site.replace_handler("large.wat", text);
    let why = "its compiled code is larger than 2MiB (compile.output)";
    server.error_log().expect(&["handlers/large.wat", why]);
    expect_service(&server);
    server.stop();
}

#[test]
fn the_version_before_a_hostile_one_serves_on() {
    let site = site(LIMITS);
    let server = serve(&site, &[]);
    expect_service(&server);
    // The text format may be hostile too.
    let text = format!("{}{}", "(component ".repeat(50_000), ")".repeat(50_000));
    site.replace_handler("good.wat", text);
    let line = server.error_log().expect(&["handlers/good.wat: "]);
    assert!(
        line.contains("the previous version still serves /good"),
        "{line}"
    );
    expect_service(&server);
    server.stop();
}

#[test]
fn commands_without_a_server_load_in_the_same_way() {
    let site = site(LIMITS);
    let hostile = kind("types-1k");
    site.replace_handler("deep.wasm", &hostile.bytes);
    let file = site.handlers().join("deep.wasm");
    let file = file.to_str().expect("a name");
    let folder = site.path().to_str().expect("a name");
    let run = |arguments: &[&str]| -> Ended {
        let mut command = wasgi(arguments.iter().copied());
        Process::start(command.current_dir(site.path())).wait()
    };
    for arguments in [
        &["check", "--code-cache=none", file][..],
        &["run", "--code-cache=none", file],
        &["routes", "--code-cache=none", folder],
    ] {
        let ended = run(arguments);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.everything());
        let everything = ended.everything();
        assert!(everything.contains("(compile.stack)"), "{everything}");
    }
}

/// Returns the compile processes of a server.
fn compiling(server: u32) -> Vec<Pid> {
    let parent = format!("--parent={server}");
    let processes = fs::read_dir("/proc").expect("it is mounted");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').any(|argument| argument == parent)
    })
    .filter_map(Pid::from_raw)
    .collect()
}

fn file_of(pid: Pid, name: &str) -> String {
    let file = format!("/proc/{}/{name}", pid.as_raw_nonzero());
    fs::read_to_string(file).expect("the process is there")
}

#[test]
fn a_process_that_compiles_has_nothing_but_its_work() {
    let site = site("");
    let server = serve(&site, &[]);
    expect_service(&server);
    let [process] = compiling(server.id())[..] else {
        panic!("one handler, one process: {:?}", compiling(server.id()));
    };
    let status = file_of(process, "status");
    let has = |line: &str| status.lines().any(|it| it == line);
    assert!(has("NoNewPrivs:\t1"), "{status}");
    // A seccomp filter is installed if the kernel supports it.
    assert!(
        has("Seccomp:\t2") || !Path::new("/proc/sys/kernel/seccomp").exists(),
        "{status}"
    );
    let environment = file_of(process, "environ");
    let names: Vec<&str> = environment
        .split('\0')
        .filter_map(|it| it.split_once('='))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["RAYON_NUM_THREADS", "RUST_MIN_STACK"]);
    let open = format!("/proc/{}/fd", process.as_raw_nonzero());
    let open = fs::read_dir(open).expect("the process is there");
    let open: Vec<String> = open
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    let sockets = open.iter().filter(|target| target.starts_with("socket:"));
    assert_eq!(sockets.count(), 1, "its channel: {open:?}");
    let of_server = |target: &&String| {
        target.starts_with("anon_inode:") || target.contains("memfd:") || target.contains("wasgi-")
    };
    assert_eq!(open.iter().filter(of_server).count(), 0, "{open:?}");
    let limits = file_of(process, "limits");
    for line in [
        "Max core file size        0                    0",
        "Max file size             536870912            536870912",
        "Max open files            16                   16",
    ] {
        assert!(limits.contains(line), "{limits}");
    }
    assert!(
        !limits.contains("Max address space         unlimited"),
        "{limits}"
    );
    server.stop();
}

#[test]
fn a_process_that_compiles_ends_when_it_has_nothing_to_do_and_with_its_server() {
    let site = site("");
    let server = serve(&site, &[]);
    eventually("it compiles", || compiling(server.id()).len() == 1);
    eventually("it has ended", || compiling(server.id()).is_empty());
    eventually("its thread has, too", || {
        !server.has_thread("wasgi-compile")
    });

    site.replace_handler("next.wat", "(component)");
    server.error_log().expect(&["handlers/next.wat"]);
    let id = server.id();
    assert_eq!(compiling(id).len(), 1);
    server.signal(Signal::KILL);
    eventually("it has ended with its server", || compiling(id).is_empty());
}

#[test]
fn a_start_from_the_cache_compiles_nothing() {
    let site = site("");
    let server = serve(&site, &[]);
    expect_service(&server);
    server.stop();
    let server = serve(&site, &[]);
    expect_service(&server);
    assert!(compiling(server.id()).is_empty());
    server.stop();
}

#[test]
fn a_version_whose_process_is_killed_is_loaded_all_the_same() {
    /// A hundred rounds can find rarer faults: `WASGI_TEST_KILLS=100`.
    const ROUNDS: usize = 10;
    let rounds = std::env::var("WASGI_TEST_KILLS");
    let rounds = rounds.map_or(ROUNDS, |count| count.parse().expect("a number"));
    let site = site("");
    let server = serve(&site, &[]);
    expect_service(&server);
    let mut kills = 0;
    for round in 0..rounds {
        let page = format!("version {round}");
        site.replace_handler("good.wat", crate::support::guests::page(&page));
        // The time of the kill varies from before the compilation starts to after it has ended.
        let until = std::time::Duration::from_millis(round as u64 % 25 * 4);
        std::thread::sleep(until);
        for process in compiling(server.id()) {
            kills += usize::from(kill_process(process, Signal::KILL).is_ok());
        }
        eventually("the new version is there", || {
            let response = server.get("/good");
            let text = response.text();
            assert!(
                text.starts_with("version ") || text == "the handler",
                "{text}"
            );
            assert_eq!(response.status(), 200);
            text == page
        });
    }
    println!("{kills} processes killed in {rounds} rounds");
    assert!(kills > 0, "no process was there to be killed");
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
    let cache = fs::read_dir(site.path().join("code")).expect("a folder");
    for entry in cache.flatten() {
        let name = entry.file_name();
        assert!(
            name.to_string_lossy().ends_with(".cwasm"),
            "{name:?} is left behind"
        );
    }
}
