//! What handlers can't do with a store: learn where it is, and occupy it without end.

use std::thread;

use super::{KINDS, site};
use crate::support::attempts::{ask, configure};
use crate::support::client::Client;
use crate::support::command::run;
use crate::support::server::Server;

#[test]
fn the_password_of_the_store_is_in_no_output_and_no_other_process() {
    const PASSWORD: &str = "s3cr3t-word";
    let site = site();
    // Nothing listens at the lowest port.
    configure(
        &site,
        &format!(
            "[state]\nurl = \"redis://user:{PASSWORD}@127.0.0.1:1/0\"\n\
             [handlers.\"*\"]\nkey-value = [\"default\"]\n\
             [server]\nprocesses = 2\n[admin]\naddr = \"127.0.0.1:0\"\n"
        ),
    );
    let path = site.path().to_str().expect("text");
    let is_hidden = |what: &str, text: &str| {
        assert!(!text.contains(PASSWORD), "{what} has it: {text}");
    };
    for command in [
        &["config", path][..],
        &["routes", path],
        &["routes", "--verbose", path],
        &["state", "--site", path, "list"],
        &["doctor", path],
    ] {
        is_hidden(&command.join(" "), &run(command).everything());
    }
    let server = Server::with(&site, &["--code-cache", "none"]);
    for kind in KINDS {
        is_hidden(kind, &ask(&server, kind, "kv=default,set,a,b"));
        is_hidden(kind, server.get(&format!("/{kind}?unknown")).text());
    }
    let admin = server.access_log().expect(&["admin listener on http://"]);
    let (_, admin) = admin.split_once("://").expect("an address");
    let admin = admin.trim_end_matches('/').parse().expect("an address");
    for target in ["/status", "/readyz", "/healthz"] {
        let mut client = Client::connect(admin);
        is_hidden(target, client.get(target).text());
    }
    let processes = server.arguments_and_environments();
    assert!(processes.len() >= 6, "the supervisor and two workers");
    for (path, text) in processes {
        is_hidden(&path, &text);
    }
    server
        .error_log()
        .expect(&["Redis at ", "is not available"]);
    is_hidden("the log", &server.stop().everything());
}

#[test]
fn a_request_that_lists_keys_without_end_is_cut_off_and_others_have_their_turn() {
    let site = site().with_page("page.txt", "a page");
    configure(&site, "[handlers.\"*\"]\nkey-value = [\"default\"]\n");
    let flags = ["--threads", "1", "--max-wall-time", "2s"];
    let server = Server::with(&site, &flags);
    for key in 0..100 {
        let set = format!("kv=default,set,{key},value");
        assert_eq!(ask(&server, "grants", &set), "set");
    }
    thread::scope(|scope| {
        let listing: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| server.get("/grants?kv=default,endless-keys").status()))
            .collect();
        for _ in 0..10 {
            assert_eq!(ask(&server, "grants", "kv=default,get,7"), "value");
            assert_eq!(server.get("/page.txt").text(), "a page");
        }
        for endless in listing {
            assert_eq!(endless.join().expect("no panic"), 504);
        }
    });
    assert_eq!(ask(&server, "grants", "kv=default,add,count,1"), "1");
}
