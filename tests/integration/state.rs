//! State: the key-value buckets that `wasgi.toml` grants to a handler, for each kind of handler and
//! of store.

mod copy;
mod scripts;
mod secrecy;
mod sqlite;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::attempts::{ask, configure, try_ask};
use crate::support::command::run;
use crate::support::eventually;
use crate::support::redis::Redis;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::writers::Writers;

/// The handlers that attempt what their query asks for, one of each kind.
const KINDS: [&str; 3] = ["grants", "grants-cgi", "wasi-http-grants"];

/// Creates a site with these handlers.
fn site() -> Site {
    Site::new().with_cases(KINDS)
}

/// Calls `test` with a site of each kind of store, and the lines of its configuration that choose
/// it.
fn with_each_store(test: impl Fn(Site, &str, Option<Redis>)) {
    test(site(), "", None);
    let site = site();
    let folder = site.path().join("redis");
    fs::create_dir(&folder).expect("a folder");
    if let Some(redis) = Redis::start(&folder) {
        let text = format!("[state]\nurl = \"{}\"\n", redis.url());
        test(site, &text, Some(redis));
    }
}

#[test]
fn buckets_are_available_only_by_grant() {
    let site = site().with_cases(["grants-sdk"]);
    configure(&site, "[handlers.grants]\nkey-value = [\"other\"]\n");
    let server = Server::new(&site);
    for kind in KINDS {
        for version in ["kv", "kv1"] {
            for bucket in ["default", "", "none", "a/b", &"long".repeat(50)] {
                let told = ask(&server, kind, &format!("{version}={bucket},get,key"));
                assert_eq!(told, "error: access denied", "{kind}: {version}={bucket}");
            }
        }
        let log = server.error_log();
        log.expect(&[
            &format!("WARN {kind}: asked for the key-value bucket \"default\""),
            &format!("add to wasgi.toml: [handlers.{kind}] key-value = [\"default\"]"),
        ]);
    }
    let told = ask(&server, "grants-sdk", "kv=default");
    assert_eq!(told, "error: the bucket is not granted to this handler");
    assert!(!site.path().join("state").exists(), "nothing is stored");
    let ended = server.stop();
    for kind in KINDS {
        let lines = ended.stderr_with(&[&format!("WARN {kind}: asked for the key-value")]);
        assert_eq!(lines, 1, "once per handler: {}", ended.everything());
    }
}

#[test]
fn each_kind_of_handler_uses_its_buckets_in_each_store() {
    with_each_store(|site, store, _redis| {
        let site = site.with_cases(["grants-sdk"]);
        let text = "[handlers.\"*\"]\nkey-value = [\"default\", \"drafts\"]\n";
        configure(&site, &format!("{store}{text}"));
        let server = Server::new(&site);
        for kind in KINDS {
            let expect = |query: &str, result: &str| {
                let told = ask(&server, kind, query);
                assert_eq!(told, result, "{kind}: {query}");
            };
            for version in ["kv", "kv1"] {
                let expect = |query: &str, result: &str| {
                    expect(&format!("{version}={query}"), result);
                };
                expect("default,get,a", "none");
                expect("default,exists,a", "false");
                expect("default,set,a,one", "set");
                expect(",get,a", "one");
                expect("drafts,get,a", "none");
                expect("default,exists,a", "true");
                expect("default,add,n,5", "5");
                expect("default,add,n,1", "6");
                expect("default,keys", "a n");
                expect("default,delete,a", "deleted");
                expect("default,delete,n", "deleted");
                expect("default,keys", "");
                expect(
                    "default,set,big,*1048577",
                    "error: the value has 1048577 bytes; the limit is 1048576 (state.value-size)",
                );
                expect(
                    "default,set,*1025,x",
                    "error: the key has 1025 bytes; the limit is 1024 (state.key-size)",
                );
            }
            expect("kv=default,add,n,-5", "-5");
            expect(
                "kv1=default,add,n,1",
                "error: the sum is negative, which this version can't express",
            );
            expect("kv=default,delete,n", "deleted");
            expect("kv=default,swap,n", "1");
            expect("kv=default,swap,n", "2");
            expect("kv=default,stale,n", "refused: changed");
            expect("kv=default,get,n", "again");
            expect("kv=default,batch", "b2=two none b1=one");
            expect("kv1=drafts,fill", "filled");
            // The responses of this one are short.
            if kind != "wasi-http-grants" {
                let keys = ask(&server, kind, "kv1=drafts,keys");
                assert_eq!(keys.split(' ').count(), 2700, "{kind}");
                assert_eq!(keys, ask(&server, kind, "kv=drafts,keys"), "{kind}");
            }
            expect("kv1=drafts,cursor", "error: there is no such cursor");
            let response = server.get(&format!("/{kind}?kv=default,handles"));
            assert!(response.status() >= 500 || response.text().starts_with("error"));
        }
        assert_eq!(
            ask(&server, "grants-sdk", "kv=default"),
            "2 (true, false) 2 two! (false, true) [\"a\", \"b\", \"n\"] Some(\"y\")"
        );
        // What is stored survives a restart.
        ask(&server, "grants", "kv=default,set,kept,yes");
        let ended = server.stop();
        assert!(
            !ended.everything().contains("panic"),
            "{}",
            ended.everything()
        );
        let server = Server::new(&site);
        assert_eq!(ask(&server, "grants", "kv=default,get,kept"), "yes");
    });
}

#[test]
fn a_handler_reaches_its_own_buckets_and_shared_ones_only() {
    with_each_store(|site, store, _redis| {
        configure(
            &site,
            &format!(
                "{store}[handlers.\"*\"]\nkey-value = [\"default\", \
                 {{ name = \"all\", shared = \"visits\" }}]\n\
                 [handlers.grants-cgi]\nkey-value = [\"default\", \"all\", \"visits\"]\n"
            ),
        );
        let server = Server::new(&site);
        for kind in KINDS {
            assert_eq!(
                ask(&server, kind, "kv=default,get,secret"),
                "none",
                "{kind}"
            );
            ask(&server, kind, &format!("kv=default,set,secret,{kind}"));
        }
        for kind in KINDS {
            assert_eq!(ask(&server, kind, "kv=default,get,secret"), kind);
            for name in [
                "handler:grants/default",
                "grants/default",
                "../grants/default",
                "shared:visits",
                "default:keys",
                "buckets",
            ] {
                let told = ask(&server, kind, &format!("kv={name},get,secret"));
                assert_eq!(told, "error: access denied", "{kind}: {name}");
            }
        }
        ask(&server, "grants", "kv=all,set,shared,yes");
        assert_eq!(ask(&server, "wasi-http-grants", "kv=all,get,shared"), "yes");
        // Buckets of its own under the same names.
        assert_eq!(ask(&server, "grants-cgi", "kv=all,get,shared"), "none");
        assert_eq!(ask(&server, "grants-cgi", "kv=visits,get,shared"), "none");
    });
}

#[test]
fn the_limits_apply_and_change_while_the_server_runs() {
    let site = site();
    let text = |keys| {
        format!(
            "[state]\nkeys = {keys}\nvalue-size = \"2KiB\"\n[handlers.\"*\"]\nkey-value = [\"default\"]\n"
        )
    };
    configure(&site, &text(1));
    let server = Server::with(&site, &["--processes", "2"]);
    assert_eq!(ask(&server, "grants", "kv=default,set,a,x"), "set");
    let told = ask(&server, "grants", "kv=default,set,b,x");
    assert_eq!(
        told,
        "error: the bucket is full: it may have 1 keys (state.keys)"
    );
    let told = ask(&server, "grants", "kv=default,set,a,*2049");
    assert!(told.contains("(state.value-size)"), "{told}");
    configure(&site, &text(2));
    eventually("the new limit applies", || {
        ask(&server, "grants", "kv=default,set,b,x") == "set"
    });
    server.error_log().expect(&["applied: state.keys"]);
}

#[test]
fn a_changed_grant_applies_to_the_next_request_and_fails_none() {
    for flags in [&[][..], &["--processes", "2"]] {
        let site = site();
        let text = |names: &str| format!("[handlers.\"*\"]\nreuse = 100\nkey-value = [{names}]\n");
        configure(&site, &text("\"default\""));
        let server = Server::with(&site, flags);
        let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for kind in KINDS {
                let (server, done, asked) = (&server, &done, &asked);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let told = ask(server, kind, "kv=default,add,n,1");
                        assert!(told.parse::<u64>().is_ok(), "{told}");
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let until = |told: &str| {
                eventually(told, || {
                    (0..8).all(|_| ask(&server, "grants", "kv=second,exists,x") == told)
                });
            };
            until("error: access denied");
            configure(&site, &text("\"default\", \"second\""));
            until("false");
            configure(&site, &text("\"default\""));
            until("error: access denied");
            done.store(true, Ordering::Relaxed);
        });
        assert!(asked.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn no_increment_of_50_clients_over_two_processes_is_lost() {
    const CLIENTS: u64 = 50;
    const REQUESTS: u64 = 10;
    with_each_store(|site, store, _redis| {
        let shared = "[handlers.\"*\"]\nkey-value = [{ name = \"all\", shared = \"counts\" }]\n";
        configure(&site, &format!("{store}{shared}"));
        let server = Server::with(&site, &["--processes", "2", "--threads", "2"]);
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let server = &server;
                scope.spawn(move || {
                    for request in 0..REQUESTS {
                        let kind = KINDS[((client + request) % 3) as usize];
                        for action in ["add", "swap"] {
                            if action == "swap" && client % 5 != 0 {
                                continue;
                            }
                            let told = ask(server, kind, &format!("kv=all,{action},{action},1"));
                            assert!(told.parse::<u64>().is_ok(), "{told}");
                        }
                    }
                });
            }
        });
        let count = |key: &str| ask(&server, "grants", &format!("kv=all,get,{key}"));
        assert_eq!(count("add"), (CLIENTS * REQUESTS).to_string());
        assert_eq!(count("swap"), (CLIENTS / 5 * REQUESTS).to_string());
    });
}

/// Reports whether a process has the database open.
fn has_database(pid: Pid) -> bool {
    let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let Ok(descriptors) = fs::read_dir(folder) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|path| path.ends_with("state/state.redb"))
}

#[test]
fn no_acknowledged_write_is_lost_when_a_worker_or_the_owner_of_the_store_is_killed() {
    const CLIENTS: usize = 8;
    with_each_store(|site, store, mut redis| {
        let text = "[handlers.\"*\"]\nkey-value = [{ name = \"all\", shared = \"counts\" }]\n";
        configure(&site, &format!("{store}{text}"));
        let server = Server::with(&site, &["--processes", "2"]);
        let addr = server.addr();
        let increment = |client: usize| {
            let kind = KINDS[client % 3];
            let told = try_ask(addr, &format!("/{kind}?kv=all,add,c{client},1"))?;
            told.parse().ok()
        };
        let kill = |round: usize| {
            let is_owners_turn = round.is_multiple_of(2);
            let workers = server.children();
            let victim = workers
                .iter()
                .find(|pid| has_database(**pid) == is_owners_turn)
                .or(workers.first());
            match (&mut redis, victim) {
                (Some(redis), _) if is_owners_turn => redis.restart(),
                (_, Some(pid)) => {
                    let _ = kill_process(*pid, Signal::KILL);
                }
                (_, None) => {}
            }
        };
        let writers = Writers::run(CLIENTS, increment, |writers| writers.kill_in_rounds(kill));
        writers.expect_stored(|client| {
            let stored = ask(&server, "grants", &format!("kv=all,get,c{client}"));
            stored.parse().expect("a number")
        });
    });
}

#[test]
fn a_store_that_is_not_available_fails_only_those_who_ask_it_and_is_used_when_it_is_back() {
    let site = site().with_page("index.html", "the page");
    let folder = site.path().join("redis");
    fs::create_dir(&folder).expect("a folder");
    let url = format!("unix://{}", folder.join("redis.sock").display());
    let text = "[handlers.\"*\"]\nkey-value = [\"default\"]\n";
    configure(&site, &format!("[state]\nurl = \"{url}\"\n{text}"));
    let server = Server::new(&site);
    for kind in KINDS {
        let told = ask(&server, kind, "kv=default,set,a,b");
        let error = "error: the store is not available; the server's log says why";
        assert!(told.starts_with(error), "{told}");
        assert!(!told.contains("redis.sock"), "{told}");
        assert_eq!(server.get("/").text(), "the page");
    }
    server
        .error_log()
        .expect(&["ERROR state: Redis at ", "is not available"]);
    if let Some(_redis) = Redis::start(&folder) {
        eventually("it connects", || {
            ask(&server, "grants", "kv=default,set,a,b") == "set"
        });
        server.error_log().expect(&["is available again"]);
    }
}

#[test]
fn mistakes_in_the_settings_of_state_prevent_the_start_in_one_line() {
    let site = site();
    let path = site.path().to_str().expect("text");
    fs::create_dir_all(site.path().join("html/state")).expect("a folder");
    fs::create_dir_all(site.path().join("data/state")).expect("a folder");
    let grant = "[handlers.grants]\nkey-value = [\"default\"]\n";
    for (text, line) in [
        (
            "[handlers.grants]\nkey-value = [\"a/b\"]\n".to_owned(),
            "handlers.grants: key-value: \"a/b\": a bucket's name consists of letters",
        ),
        (
            "[handlers.grants]\nkey-value = [\"a\", \"a\"]\n".to_owned(),
            "key-value: \"a\" is granted twice",
        ),
        (
            "[state]\nurl = \"http://:secret@localhost\"\n".to_owned(),
            "state.url: ",
        ),
        (
            "[state]\nurl = \"rediss://:secret@localhost\"\n".to_owned(),
            "state.url: TLS is not supported",
        ),
        (
            "[state]\nvalue-size = \"5MiB\"\n".to_owned(),
            "state.value-size: expected 1B to 4MiB, found 5MiB",
        ),
        (
            format!("[state]\nfolder = \"html/state\"\n{grant}"),
            "site.root: ",
        ),
        (
            format!("[state]\nfolder = \"handlers/state\"\n{grant}"),
            "site.handlers: ",
        ),
        (
            format!(
                "[state]\nfolder = \"data/state\"\n{grant}\
                 [[handlers.grants.files]]\nsource = \"data\"\ndestination = \"/data\"\n"
            ),
            "the handler could read the state of others",
        ),
    ] {
        configure(&site, &text);
        let ended = run(["serve", "--addr", "127.0.0.1:0", path]);
        ended.expect_stderr(&[line]);
        assert_eq!(ended.stderr_with(&["wasgi: "]), 1, "{}", ended.everything());
        assert!(
            !ended.everything().contains("secret"),
            "{}",
            ended.everything()
        );
    }
}

/// Runs `wasgi state` on a site and returns the lines of its standard output.
#[track_caller]
fn state(site: &Site, arguments: &[&str]) -> String {
    let path = site.path().to_str().expect("text");
    let ended = run(["state", "--site", path].iter().chain(arguments));
    assert!(ended.status.success(), "{}", ended.everything());
    ended.stdout.join("\n")
}

#[test]
fn the_command_reads_and_changes_buckets_while_the_server_runs_and_when_it_does_not() {
    with_each_store(|site, store, redis| {
        let text = "[handlers.\"*\"]\nkey-value = [\"default\", \
                    { name = \"all\", shared = \"counts\" }]\n";
        configure(&site, &format!("{store}{text}"));
        assert_eq!(state(&site, &["list"]), "", "nothing is stored yet");
        let server = Server::with(&site, &["--processes", "2"]);
        ask(&server, "grants", "kv=default,set,a,one");
        ask(&server, "grants", "kv=all,add,n,5");
        let check = || {
            let all = "handler:grants/default\t1 key\t4 bytes\nshared:counts\t1 key\t2 bytes";
            assert_eq!(state(&site, &["list"]), all);
            assert_eq!(state(&site, &["list", "grants/default"]), "a");
            assert_eq!(state(&site, &["get", "handler:grants/default", "a"]), "one");
            let lines = state(&site, &["export"]);
            assert_eq!(
                lines,
                "{\"bucket\":\"handler:grants/default\",\"key\":\"a\",\"value\":\"one\"}\n\
                 {\"bucket\":\"shared:counts\",\"key\":\"n\",\"value\":\"5\"}"
            );
            state(&site, &["set", "shared:counts", "n", "-7"]);
            assert_eq!(state(&site, &["get", "shared:counts", "n"]), "-7");
            state(&site, &["delete", "grants/default", "a", "none"]);
            state(&site, &["delete", "shared:counts", "--all"]);
            assert_eq!(state(&site, &["list"]), "");
            let file = site.path().join("lines");
            fs::write(&file, lines).expect("written");
            state(&site, &["import", file.to_str().expect("text")]);
            let path = site.path().to_str().expect("text");
            let missing = run(["state", "--site", path, "get", "grants/default", "none"]);
            assert_eq!(missing.status.code(), Some(1), "{}", missing.everything());
            assert!(missing.stdout.is_empty() && missing.stderr.is_empty());
        };
        check();
        assert_eq!(ask(&server, "grants", "kv=all,add,n,1"), "6");
        ask(&server, "grants", "kv=all,add,n,-1");

        // A copy is another site's database.
        let copy = crate::state::site();
        fs::create_dir(copy.path().join("state")).expect("a folder");
        let file = copy.path().join("state/state.redb");
        state(&site, &["copy", file.to_str().expect("text")]);
        assert_eq!(state(&copy, &["get", "shared:counts", "n"]), "5");
        server.stop();
        check();
        drop(redis);
    });
}

#[test]
fn a_mistake_in_an_import_is_told_with_its_line() {
    let site = site();
    let path = site.path().to_str().expect("text").to_owned();
    let file = site.path().join("lines");
    let good = "{\"bucket\":\"shared:a\",\"key\":\"k\",\"base64\":\"/w==\"}\n";
    for (bad, why) in [
        (
            "{\"bucket\":\"a\",\"key\":\"k\",\"value\":\"\"}",
            "is no bucket",
        ),
        ("not JSON", "expected"),
        ("{\"bucket\":\"shared:a\",\"key\":\"k\"}", "neither"),
    ] {
        fs::write(&file, format!("{good}\n{bad}\n")).expect("written");
        let name = file.to_str().expect("text");
        let ended = run(["state", "--site", &path, "import", name]);
        assert!(!ended.status.success());
        ended.expect_stderr(&[&format!("{name}:3"), why]);
    }
    for bucket in ["a", "shared:a/b", "a/b/", ""] {
        let ended = run(["state", "--site", &path, "get", bucket, "k"]);
        assert!(!ended.status.success(), "{bucket}");
    }
    state(&site, &["set", "shared:a", "k", "x"]);
    let ended = run(["state", "--site", &path, "get", "nothing", "k"]);
    ended.expect_stderr(&["not a bucket: expected HANDLER/NAME or shared:NAME"]);
}
