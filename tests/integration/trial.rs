//! `wasgi check` and `wasgi run` apply the site's settings, including those for single handlers.

use crate::support::command::{code_cache, wasgi};
use crate::support::guests;
use crate::support::process::{Ended, Process};
use crate::support::site::Site;

/// Runs a command with these arguments on a site.
fn on(site: &Site, arguments: &[&str]) -> Ended {
    let mut wasgi = wasgi(arguments);
    wasgi.arg("--site").arg(site.path());
    wasgi.arg("--code-cache").arg(code_cache());
    Process::start(&mut wasgi).wait()
}

fn configure(site: &Site, text: &str) {
    std::fs::write(site.path().join("wasgi.toml"), text).expect("written");
}

/// Returns the memory limit, in MiB, that the handler `memory` gets on a site.
#[track_caller]
fn memory(site: &Site, flags: &[&str]) -> u32 {
    let arguments = [
        &["run", "memory", "GET", "/memory?try", "--body-only"],
        flags,
    ]
    .concat();
    let ended = on(site, &arguments);
    assert!(ended.status.success(), "{}", ended.everything());
    let text = ended.stdout.join("\n");
    let count = text.strip_suffix(" MiB").and_then(|text| text.parse().ok());
    count.unwrap_or_else(|| panic!("{}", ended.everything()))
}

#[test]
fn a_handlers_own_table_counts_and_flags_go_before_it() {
    let site = Site::new().with_cases(["loop", "memory"]);
    configure(
        &site,
        "[budget]\ncpu-time = \"200ms\"\n[handlers.loop]\ncpu-time = \"100ms\"\n\
         [handlers.memory]\nmemory = \"16MiB\"\n",
    );
    let file = site.handlers().join("loop.wasm");
    let file = file.to_str().expect("a name");
    for (flags, limit) in [(&[][..], "100ms"), (&["--max-cpu-time=150ms"], "150ms")] {
        for command in [["run", "loop"], ["check", file]] {
            let ended = on(&site, &[&command, flags].concat());
            let line = format!("computed for longer than {limit} ");
            assert!(ended.everything().contains(&line), "{}", ended.everything());
        }
    }
    assert!(memory(&site, &[]) < 16);
    assert!(memory(&site, &["--max-memory=48"]) > 16);
    // A value below the table's is not a contradiction.
    assert!(memory(&site, &["--max-memory=8"]) < 8);
}

#[test]
fn a_handler_has_the_name_that_the_site_has_for_it() {
    let site = Site::new();
    site.install("../apps/users/[id].wasm", &guests::case("loop"));
    configure(
        &site,
        "[site]\nhandlers = \"apps\"\n[handlers.\"users/[id]\"]\ncpu-time = \"100ms\"\n",
    );
    let ended = on(&site, &["run", "users/[id]", "GET", "/users/7"]);
    ended.expect_stderr(&["users/[id]: computed for longer than 100ms"]);
}

#[test]
fn a_handler_that_is_used_again_is_checked_so() {
    let site = Site::new().with_demos(["environ"]);
    // The handler's second request traps.
    let once = "(if (i32.load (i32.const 160)) (then unreachable))
        (i32.store (i32.const 160) (i32.const 1))
        (call $start-response-call (local.get";
    let page = guests::page("a page").replace("(call $start-response-call (local.get", once);
    site.write_handler("once.wat", page);
    let file = site.handlers().join("once.wat");
    let file = file.to_str().expect("a name");
    let ended = on(&site, &["check", file]);
    assert!(ended.status.success(), "{}", ended.everything());

    configure(&site, "[handlers.\"*\"]\nreuse = 2\n");
    let ended = on(&site, &["check", file]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.everything());
    assert!(
        ended.everything().contains("trapped"),
        "{}",
        ended.everything()
    );

    // Its environ says so, as it does when it is served.
    let told = |line: &str| line.contains("wsgi.run_once") && line.contains("false");
    let ended = on(&site, &["run", "environ"]);
    assert!(
        ended.stdout.iter().any(|line| told(line)),
        "{}",
        ended.everything()
    );
}
