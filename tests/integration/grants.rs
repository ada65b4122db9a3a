//! Grants: the variables and folders that `wasgi.toml` gives to a handler, for each kind of
//! handler.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::dev::{dev, document};
use crate::support::attempts::{PATIENT_BUDGET, ask, configure, serve_with_descriptors};
use crate::support::command::{code_cache, run, wasgi};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::secret::Secret;
use crate::support::server::Server;
use crate::support::site::Site;

/// The handlers that attempt what their query asks for, one of each kind.
const KINDS: [&str; 3] = ["grants", "grants-cgi", "wasi-http-grants"];

/// Creates a site with these handlers and a folder `data`.
fn site() -> Site {
    let site = Site::new().with_cases(KINDS);
    fs::create_dir(site.path().join("data")).expect("a folder");
    site
}

/// Returns the settings that grant the folder `data` to each handler, `writable` or not.
fn data_grants(writable: bool) -> String {
    let grants = KINDS.map(|kind| {
        format!(
            "[[handlers.{kind}.files]]\nsource = \"data\"\ndestination = \"/data\"\n\
             writable = {writable}\n"
        )
    });
    grants.concat()
}

/// Grants the folder `data` to each handler, writable.
fn grant_data(site: &Site) {
    configure(site, &format!("{PATIENT_BUDGET}{}", data_grants(true)));
}

/// Waits for the warnings about a grant that the handlers lack, each with the key that grants it.
#[track_caller]
fn expect_warnings(server: &Server, what: &str, key: &str) {
    for kind in ["grants", "wasi-http-grants"] {
        server.error_log().expect(&[
            &format!("WARN {kind}: asked for {what} and has none"),
            &format!("add to wasgi.toml: [handlers.{kind}] {key} = "),
        ]);
    }
}

#[test]
fn variables_are_visible_only_by_grant() {
    let site = site().with_cases(["grants-sdk"]);
    fs::write(site.path().join("key"), "from a file\n").expect("written");
    let server = Server::new(&site);
    for kind in KINDS {
        assert_eq!(ask(&server, kind, "variable=GREETING"), "not set", "{kind}");
    }
    // A command always has variables, those of its request.
    expect_warnings(&server, "environment variables", "environment");
    drop(server);

    let mut text = String::new();
    for kind in KINDS.into_iter().chain(["grants-sdk"]) {
        text += &format!(
            "[handlers.{kind}]\nenvironment = {{ GREETING = \"good day\", EMPTY = \"\" }}\n\
             secrets = {{ KEY = {{ file = \"key\" }}, TOKEN = {{ variable = \"WASGI_TEST\" }} }}\n"
        );
    }
    configure(&site, &text);
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
    command.arg(code_cache()).arg(site.path());
    command.env("WASGI_TEST", "from the environment");
    let server = Server::started(Process::start(&mut command));
    for kind in KINDS {
        for (name, value) in [
            ("GREETING", "good day"),
            ("EMPTY", ""),
            ("KEY", "from a file"),
            ("TOKEN", "from the environment"),
            // The server's other variables stay its own.
            ("PATH", "not set"),
            ("WASGI_TEST", "not set"),
        ] {
            let told = ask(&server, kind, &format!("variable={name}"));
            assert_eq!(told, value, "{kind}: {name}");
        }
    }
    let told = ask(&server, "grants", "variables");
    assert_eq!(told.lines().count(), 4, "{told}");
    assert_eq!(ask(&server, "grants-sdk", "GREETING"), "good day");
    assert_eq!(ask(&server, "grants-sdk", "PATH"), "not set");
}

#[test]
fn a_client_does_not_replace_a_granted_variable_of_a_command() {
    let site = site();
    configure(
        &site,
        "[handlers.grants-cgi]\nenvironment = { HTTP_X_ROLE = \"guest\" }\n",
    );
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send(
        "GET /grants-cgi?variable=HTTP_X_ROLE HTTP/1.1\r\nHost: test\r\nX-Role: admin\r\n\r\n",
    );
    assert_eq!(client.response().text(), "guest");
    let all = ask(&server, "grants-cgi", "variables");
    assert_eq!(all.matches("HTTP_X_ROLE=").count(), 1, "{all}");
}

#[test]
fn folders_are_visible_only_by_grant() {
    let site = site();
    fs::write(site.path().join("data/note"), "a note").expect("written");
    let server = Server::new(&site);
    for kind in KINDS {
        let told = ask(&server, kind, "read=/data/note");
        assert!(told.starts_with("error: "), "{kind}: {told}");
    }
    expect_warnings(&server, "files", "files");
    drop(server);

    let mut text = String::new();
    for kind in KINDS {
        text += &format!(
            "[[handlers.{kind}.files]]\nsource = \"data\"\ndestination = \"/data\"\n\
             [[handlers.{kind}.files]]\nsource = \"rw-{kind}\"\ndestination = \"/rw\"\n\
             writable = true\n"
        );
        fs::create_dir(site.path().join(format!("rw-{kind}"))).expect("a folder");
    }
    configure(&site, &text);
    let server = Server::new(&site);
    for kind in KINDS {
        assert_eq!(ask(&server, kind, "read=/data/note"), "a note", "{kind}");
        assert_eq!(ask(&server, kind, "list=/data"), "note", "{kind}");
        for query in [
            "write=/data/new,x",
            "append=/data/note,x",
            "remove=/data/note",
            "rename=/data/note,/data/other",
            "link=/data/note,/data/other",
            "link=/data/note,/rw/other",
            "rename=/data/note,/rw/other",
            "write=/elsewhere,x",
        ] {
            let told = ask(&server, kind, query);
            assert!(told.starts_with("error: "), "{kind}: {query}: {told}");
        }
        for (query, result) in [
            ("write=/rw/a,one", "written"),
            ("append=/rw/a,two", "appended"),
            ("read=/rw/a", "onetwo"),
            ("rename=/rw/a,/rw/b", "renamed"),
            ("list=/rw", "b"),
            ("remove=/rw/b", "removed"),
            ("list=/rw", ""),
        ] {
            assert_eq!(ask(&server, kind, query), result, "{kind}: {query}");
        }
    }
    let left = fs::read_dir(site.path().join("data")).expect("it is there");
    assert_eq!(left.count(), 1, "only the note");
}

#[test]
fn no_path_leads_out_of_a_granted_folder() {
    let site = site();
    let data = site.path().join("data");
    fs::write(site.path().join("secret"), "hidden").expect("written");
    fs::create_dir(data.join("inner")).expect("a folder");
    fs::write(data.join("inner/inside"), "visible").expect("written");
    symlink("../secret", data.join("relative")).expect("a link");
    symlink(site.path().join("secret"), data.join("absolute")).expect("a link");
    symlink(site.path(), data.join("folder")).expect("a link");
    symlink("/proc", data.join("proc")).expect("a link");
    symlink("inner/../../secret", data.join("winding")).expect("a link");
    symlink("inner/inside", data.join("within")).expect("a link");
    let secret = site.path().join("secret").display().to_string();
    grant_data(&site);
    let server = Server::new(&site);
    for kind in KINDS {
        assert_eq!(ask(&server, kind, "read=/data/within"), "visible", "{kind}");
        for path in [
            "/data/relative",
            "/data/absolute",
            "/data/winding",
            "/data/folder/secret",
            "/data/folder/data/../secret",
            "/data/../secret",
            "/data/inner/../../secret",
            "/data/inner/../../../../../../../etc/passwd",
            "/data//../secret",
            "/data/./../secret",
            "/data/proc/self/environ",
            "/data/proc/self/root/etc/passwd",
            "/data/inner/inside/../../../secret",
            "/proc/self/environ",
            "/etc/passwd",
            "/dev/null",
            &secret,
        ] {
            for action in ["read", "append", "list", "remove"] {
                let told = match action {
                    // The links themselves are in the folder.
                    "remove" if path.matches('/').count() == 2 && !path.contains("..") => continue,
                    "append" => ask(&server, kind, &format!("append={path},x")),
                    _ => ask(&server, kind, &format!("{action}={path}")),
                };
                assert!(
                    told.starts_with("error: "),
                    "{kind}: {action} {path}: {told}"
                );
            }
        }
        for query in [
            "link=/data/../secret,/data/hard",
            "link=/data/relative/../../secret,/data/hard",
            "link=/etc/passwd,/data/hard",
            "rename=/data/inner/inside,/data/../out",
            "rename=/data/inner/inside,/data/folder/out",
            "link=/data/inner/inside,/data/folder/out",
            "write=/data/folder/out,x",
            "write=/data/inner/inside/,x",
            "read=/data/inner/inside/",
            "write=/data/new/,x",
        ] {
            let told = ask(&server, kind, query);
            assert!(told.starts_with("error: "), "{kind}: {query}: {told}");
        }
    }
    assert_eq!(
        fs::read_to_string(site.path().join("secret")).expect("read"),
        "hidden"
    );
    assert!(!site.path().join("out").exists());
    assert!(!data.join("hard").exists());
}

#[test]
fn a_writable_folder_serves_one_request_at_a_time_over_threads_and_processes() {
    const CLIENTS: u64 = 20;
    const REQUESTS: u64 = 10;
    let site = site();
    grant_data(&site);
    let server = Server::with(&site, &["--processes", "2", "--threads", "2"]);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                for request in 0..REQUESTS {
                    let kind = KINDS[((client + request) % 3) as usize];
                    let told = ask(server, kind, "count=/data/count");
                    assert!(told.parse::<u64>().is_ok(), "{told}");
                }
            });
        }
    });
    let count = fs::read_to_string(site.path().join("data/count")).expect("it was written");
    assert_eq!(
        count,
        (CLIENTS * REQUESTS).to_string(),
        "an increment was lost"
    );
}

#[test]
fn nothing_is_written_to_a_folder_after_the_request_was_cut_off() {
    let site = site();
    grant_data(&site);
    let times = ["--max-cpu-time", "2s", "--max-wall-time", "2s"];
    let server = Server::with(&site, &[&times[..], &["--threads", "2"]].concat());
    for round in 0..2 {
        for kind in KINDS {
            let response = server.get(&format!("/{kind}?fill=/data/log"));
            assert_eq!(response.status(), 504, "{kind}");
            // The next request has the folder as soon as the other one has left it.
            let length = || {
                let mut length = String::new();
                // On a busy machine, the wall time may be over before it is read.
                eventually("its length is known", || {
                    let response = server.get("/grants?length=/data/log");
                    length = response.text().to_owned();
                    response.status() == 200
                });
                length
            };
            let lengths = [length(), length(), length()];
            assert!(lengths[0].parse::<u64>().is_ok(), "{lengths:?}");
            assert_eq!(lengths[0], lengths[1], "{kind}, {round}");
            assert_eq!(lengths[0], lengths[2], "{kind}, {round}");
            fs::remove_file(site.path().join("data/log")).expect("removed");
        }
    }
}

#[test]
fn a_handler_that_hoards_files_fails_alone() {
    let site = site().with_page("page.txt", "a page");
    fs::write(site.path().join("data/note"), "a note").expect("written");
    configure(&site, &format!("{PATIENT_BUDGET}{}", data_grants(false)));
    let server = serve_with_descriptors(&site, 400);
    for hoarder in KINDS {
        let told = thread::scope(|scope| {
            let query = "hoard=/data/note,/data/stop";
            let hoards = scope.spawn(|| ask(&server, hoarder, query));
            // Its other requests can't open their folder.
            eventually("it has all that it may have", || {
                let target = format!("/{hoarder}?read=/data/note");
                server.get(&target).status() == 503
            });
            for other in KINDS.into_iter().filter(|other| *other != hoarder) {
                assert_eq!(ask(&server, other, "read=/data/note"), "a note", "{other}");
            }
            assert_eq!(server.get("/page.txt").text(), "a page");
            fs::write(site.path().join("data/stop"), "").expect("written");
            hoards.join().expect("no panic")
        });
        assert!(told.ends_with(" QuotaExceeded"), "{hoarder}: {told}");
        // The files are closed after the response was sent.
        eventually("its files are closed", || {
            let read = server.get(&format!("/{hoarder}?read=/data/note"));
            (read.status(), read.text()) == (200, "a note")
        });
        fs::remove_file(site.path().join("data/stop")).expect("removed");
        let line =
            format!("WARN {hoarder}: can't open a file: a handler may have 50 files, folders");
        server.error_log().expect(&[&line]);
    }
    // Lines of all handlers about this are limited to one in a second.
    server
        .error_log()
        .expect(&["can't open its folders: a handler may have 50 files, folders and connections"]);
}

#[test]
fn a_large_folder_is_listed_whole_and_its_lists_count_as_open_files() {
    const COUNT: usize = 600;
    let site = site();
    let names: Vec<String> = (0..COUNT).map(|number| format!("{number:04}")).collect();
    for name in &names {
        fs::write(site.path().join("data").join(name), "").expect("written");
    }
    configure(&site, &format!("{PATIENT_BUDGET}{}", data_grants(false)));
    let server = serve_with_descriptors(&site, 400);
    for kind in KINDS {
        assert_eq!(ask(&server, kind, "list=/data"), names.join(" "), "{kind}");
        let told = ask(&server, kind, "hoard-lists=/data,/data/0000");
        let count = told.strip_suffix(" QuotaExceeded").map(str::parse);
        let Some(Ok(1..50)) = count else {
            panic!("{kind}: {told}");
        };
        // The lists are closed after the response was sent.
        eventually("its lists are closed", || {
            ask(&server, kind, "list=/data") == names.join(" ")
        });
    }
}

#[test]
fn a_request_whose_folders_are_too_many_is_rejected_with_a_line_in_the_log() {
    const FOLDERS: usize = 16;
    let site = site();
    fs::write(site.path().join("data/note"), "a note").expect("written");
    let folders = |kind: &str, count| {
        let folder = |at| {
            format!("[[handlers.{kind}.files]]\nsource = \"data\"\ndestination = \"/data{at}\"\n")
        };
        (0..count).map(folder).collect::<String>()
    };
    let all = |count| KINDS.map(|kind| folders(kind, count)).concat();
    configure(&site, &all(FOLDERS));
    // An eighth of it is less than the folders.
    let server = serve_with_descriptors(&site, 8 * FOLDERS - 1);
    for kind in KINDS {
        let rejected = server.get(&format!("/{kind}?read=/data0/note"));
        assert_eq!(rejected.status(), 503, "{kind}");
        assert!(rejected.field("Retry-After").is_some(), "{kind}");
        // Lines of all handlers about this are limited to one in a second.
        server.error_log().expect(&[
            "can't open its folders: a handler may have 15 files, folders and connections open",
            "LimitNOFILE",
        ]);
    }
    // The folders leave one for a file.
    configure(&site, &all(FOLDERS - 2));
    for kind in KINDS {
        eventually("its folders are fewer", || {
            let read = server.get(&format!("/{kind}?read=/data13/note"));
            (read.status(), read.text()) == (200, "a note")
        });
    }
}

#[test]
fn a_changed_grant_and_a_changed_secret_apply_to_the_next_request_and_fail_none() {
    for flags in [&[][..], &["--processes", "2"]] {
        let site = site();
        let key = site.path().join("key");
        fs::write(&key, "first").expect("written");
        let settings = |greeting: &str| {
            format!(
                "[handlers.\"*\"]\nreuse = 100\nenvironment = {{ GREETING = \"{greeting}\" }}\n\
                 secrets = {{ KEY = {{ file = \"key\" }} }}\n"
            )
        };
        configure(&site, &settings("one"));
        let server = Server::with(&site, flags);
        let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let load = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let told = ask(&server, "grants", "variable=GREETING");
                    assert!(["one", "two"].contains(&&*told), "{told}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
            let until = |query: &str, value: &str| {
                // Several in a row: each worker has it, and each idle instance.
                eventually(value, || {
                    (0..8).all(|_| load.is_finished() || ask(&server, "grants", query) == value)
                });
            };
            until("variable=KEY", "first");
            configure(&site, &settings("two"));
            until("variable=GREETING", "two");
            fs::write(&key, "second").expect("written");
            until("variable=KEY", "second");
            done.store(true, Ordering::Relaxed);
        });
        server.error_log().expect(&["secrets have changed"]);
        assert!(asked.load(Ordering::Relaxed) > 0);

        // A secret whose file was removed keeps its value, and is reported once.
        fs::remove_file(&key).expect("removed");
        server.error_log().expect(&[
            "handlers.*: secrets: KEY: ",
            "No such file",
            "the settings are unchanged",
        ]);
        assert_eq!(ask(&server, "grants", "variable=KEY"), "second");
    }
}

#[test]
fn a_grant_that_is_not_available_prevents_the_start_in_one_line() {
    let site = site();
    let path = site.path().to_str().expect("text");
    fs::write(site.path().join("file"), "").expect("written");
    for (text, line) in [
        (
            "[handlers.grants]\nsecrets = { KEY = { file = \"none\" } }\n",
            "handlers.grants: secrets: KEY: ",
        ),
        (
            "[handlers.grants]\nsecrets = { KEY = { variable = \"WASGI_NONE\" } }\n",
            "handlers.grants: secrets: KEY: the server's environment has no variable WASGI_NONE",
        ),
        (
            "[handlers.grants]\nfiles = [{ source = \"none\", destination = \"/a\" }]\n",
            "handlers.grants: files: source ",
        ),
        (
            "[handlers.grants]\nfiles = [{ source = \"file\", destination = \"/a\" }]\n",
            "not a folder",
        ),
    ] {
        configure(&site, text);
        for processes in ["1", "2"] {
            let ended = run([
                "serve",
                "--processes",
                processes,
                "--addr",
                "127.0.0.1:0",
                path,
            ]);
            ended.expect_stderr(&[line]);
            assert_eq!(ended.stderr_with(&["wasgi: "]), 1, "{}", ended.everything());
        }
    }
}

#[test]
fn a_secret_is_in_no_output_and_no_file_of_the_server_and_no_other_process() {
    const SECRET: &str = "s3cr3t-value";
    let site = site();
    let secret = Secret::new(SECRET);
    let key = site.path().join("key");
    fs::write(&key, SECRET).expect("written");
    configure(
        &site,
        "[handlers.\"*\"]\nsecrets = { KEY = { file = \"key\" } }\nkey-value = [\"default\"]\n",
    );
    let path = site.path().to_str().expect("text");
    for command in ["config", "routes"] {
        secret.expect_not_in(command, &run([command, path]).everything());
    }
    let server = Server::with(&site, &["--processes", "2"]);
    assert_eq!(ask(&server, "grants", "variable=KEY"), SECRET);
    // The supervisor, two workers and one that compiles.
    secret.expect_in_no_process(&server, &site, 4);
    // Handlers that trap while they have the secret: an error page, and the log.
    for kind in KINDS {
        let failed = server.get(&format!("/{kind}?kv=default,handles"));
        assert_eq!(failed.status(), 500, "{kind}");
        secret.expect_not_in(kind, failed.text());
    }
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["trapped: "]), KINDS.len());
    secret.expect_not_in("the log", &ended.everything());
    // The explanation in the browser has the failed request, its stack and its log.
    let server = dev(&site);
    for kind in KINDS {
        let page = document(&server, &format!("/{kind}?kv=default,handles"));
        assert_eq!(page.status(), 500, "{kind}");
        secret.expect_not_in(kind, page.text());
    }
    secret.expect_not_in("the log of dev", &server.stop().everything());
    secret.expect_in_no_file(site.path(), Some(&key));
    let compiled = secret.expect_in_no_file(&code_cache(), None);
    assert!(compiled > 0, "the new handler's code is cached");
}

#[test]
fn run_and_check_have_the_grants_of_the_handler() {
    let site = site();
    fs::write(site.path().join("data/note"), "a note").expect("written");
    configure(
        &site,
        "[handlers.grants]\nenvironment = { GREETING = \"good day\" }\n\
         files = [{ source = \"data\", destination = \"/data\" }]\n",
    );
    let file = site.handlers().join("grants.wasm");
    let path = site.path().to_str().expect("text");
    for (query, told) in [
        ("variable=GREETING", "good day"),
        ("read=/data/note", "a note"),
    ] {
        let target = format!("/grants?{query}");
        let arguments = ["run", "--site", path, file.to_str().expect("text"), &target];
        let ended = run(arguments);
        assert!(ended.everything().contains(told), "{}", ended.everything());
    }
}
