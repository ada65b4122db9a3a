//! What handlers can't do with a store: learn where it is, and occupy it without end.

use super::{KINDS, site};
use crate::support::attempts::{PATIENT_BUDGET, ask, configure};
use crate::support::client::Client;
use crate::support::command::{code_cache, run};
use crate::support::guests;
use crate::support::secret::Secret;
use crate::support::server::Server;

#[test]
fn the_password_of_the_store_is_in_no_output_no_file_and_no_other_process() {
    const PASSWORD: &str = "s3cr3t-word";
    let site = site();
    let password = Secret::new(PASSWORD);
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
    for command in [
        &["config", path][..],
        &["routes", path],
        &["routes", "--verbose", path],
        &["state", "--site", path, "list"],
        &["doctor", path],
    ] {
        password.expect_not_in(&command.join(" "), &run(command).everything());
    }
    let server = Server::new(&site);
    for kind in KINDS {
        password.expect_not_in(kind, &ask(&server, kind, "kv=default,set,a,b"));
        password.expect_not_in(kind, server.get(&format!("/{kind}?unknown")).text());
    }
    let admin = server.access_log().expect(&["admin listener on http://"]);
    let (_, admin) = admin.split_once("://").expect("an address");
    let admin = admin.trim_end_matches('/').parse().expect("an address");
    for target in ["/status", "/readyz", "/healthz"] {
        let mut client = Client::connect(admin);
        password.expect_not_in(target, client.get(target).text());
    }
    // The supervisor, two workers and one that compiles.
    password.expect_in_no_process(&server, &site, 4);
    server
        .error_log()
        .expect(&["Redis at ", "is not available"]);
    password.expect_not_in("the log", &server.stop().everything());
    password.expect_in_no_file(site.path(), Some(&site.path().join("wasgi.toml")));
    let compiled = password.expect_in_no_file(&code_cache(), None);
    assert!(compiled > 0, "the new handler's code is cached");
}

#[test]
fn a_request_that_lists_keys_without_end_is_cut_off_and_others_have_their_turn() {
    const ENDLESS: &str = "kv=all,endless-keys";
    let site = site().with_page("page.txt", "a page");
    site.install("limited.wasm", &guests::case("grants"));
    let keys = "key-value = [{ name = \"all\", shared = \"keys\" }]\n";
    configure(
        &site,
        &format!(
            "{PATIENT_BUDGET}[handlers.grants]\n{keys}[handlers.limited]\n{keys}wall-time = \"2s\"\n"
        ),
    );
    let server = Server::with(&site, &["--threads", "1"]);
    for key in 0..100 {
        let set = format!("kv=all,set,{key},value");
        assert_eq!(ask(&server, "grants", &set), "set");
    }
    let mut endless: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for client in &mut endless {
        client.request("GET", &format!("/grants?{ENDLESS}"));
    }
    for _ in 0..10 {
        assert_eq!(ask(&server, "grants", "kv=all,get,7"), "value");
        assert_eq!(server.get("/page.txt").text(), "a page");
    }
    let are_quiet = endless.iter_mut().all(Client::is_quiet);
    assert!(are_quiet, "they have a response already");
    drop(endless);
    let cut_off = server.get(&format!("/limited?{ENDLESS}"));
    assert_eq!(cut_off.status(), 504, "{}", cut_off.text());
    assert_eq!(ask(&server, "grants", "kv=all,add,count,1"), "1");
}
