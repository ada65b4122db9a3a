//! Builds of projects while a server runs: the first one, by one of several processes, and those of
//! make and npm.

use std::fs;

use crate::projects::{Workshop, has, page_in_wat};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::scripts::{Language, logs, until, until_status};
use crate::support::server::Server;

/// A build that waits until the file `go` exists.
const WAITS: &str = "all:\n\techo >> _builds\n\twhile ! test -e go; do sleep 0.02; done\n\t\
                     cp page.wat $(OUT)\n";

#[test]
fn a_route_answers_503_until_its_first_build_has_ended() {
    if !has("make", &["--version"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.write("slow/Makefile", WAITS);
    workshop.write("slow/page.wat", page_in_wat("built"));
    let server = workshop.serve();
    let first = server.get("/slow/below");
    assert_eq!(first.status(), 503);
    assert!(first.field("Retry-After").is_some());
    assert!(first.text().contains("being built"), "{}", first.text());
    // A project that is added later.
    workshop.write("late/Makefile", WAITS);
    workshop.write("late/page.wat", page_in_wat("later"));
    until_status(&server, "/late", 503);
    workshop.write("slow/go", "");
    until(&server, "/slow", "built");
    assert_eq!(server.get("/late").status(), 503);
    workshop.write("late/go", "");
    until(&server, "/late", "later");
}

#[test]
fn a_first_build_that_fails_ends_the_503() {
    if !has("make", &["--version"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.write(
        "slow/Makefile",
        "all:\n\ttest -e go\n\tcp page.wat $(OUT)\n",
    );
    workshop.write("slow/page.wat", page_in_wat("built"));
    let server = workshop.serve();
    until_status(&server, "/slow", 404);
    workshop.write("slow/go", "");
    until(&server, "/slow", "built");
}

#[test]
fn open_pages_show_a_build_that_takes_long() {
    if !has("make", &["--version"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.write("slow/Makefile", WAITS);
    workshop.write("slow/page.wat", page_in_wat("built"));
    let mut command = workshop.command(&["dev", "--addr", "127.0.0.1:0"]);
    let server = Server::started(Process::start(command.arg(workshop.site.path())));
    let stream = || {
        let mut client = server.connect();
        let host = server.addr();
        client.send(format!(
            "GET /_wasgi/events HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\r\n"
        ));
        assert_eq!(client.head().status, 200);
        client
    };
    // Pages that are opened meanwhile see it as well.
    logs(&server, "handlers/slow: building");
    eventually("the build is shown", || {
        let mut client = stream();
        let hello = String::from_utf8(client.chunk()).expect("UTF-8");
        hello.contains("\"building\":[{\"handler\":\"slow\"")
    });
    let mut client = stream();
    workshop.write("slow/go", "");
    let mut text = String::new();
    while !text.contains("event: loaded") {
        text += &String::from_utf8(client.chunk()).expect("UTF-8");
    }
    let ended = "event: build\ndata: {\"handler\":\"slow\",\"file\":\"slow\",\"step\":\"ended\"";
    assert!(text.contains(ended), "{text}");
}

#[test]
fn one_of_several_processes_builds_and_all_serve_the_result() {
    if !has("make", &["--version"]) {
        return;
    }
    let workshop = Workshop::new();
    let count = workshop.cache.path().join("count");
    let makefile = format!(
        "all:\n\techo >> {}\n\tcp page.wat $(OUT)\n",
        count.display()
    );
    workshop.write("page/Makefile", makefile);
    workshop.write("page/page.wat", page_in_wat("one"));
    let flags = [
        "serve",
        "--build",
        "--processes",
        "3",
        "--addr",
        "127.0.0.1:0",
    ];
    let mut command = workshop.command(&flags);
    let server = Server::started(Process::start(command.arg(workshop.site.path())));
    let everywhere = |text: &str| {
        // The kernel spreads connections over the processes.
        eventually(text, || (0..30).all(|_| server.get("/page").text() == text));
    };
    let builds = || {
        let text = fs::read_to_string(&count);
        text.expect("it was built").lines().count()
    };
    everywhere("one");
    assert_eq!(builds(), 1);
    workshop.write("page/page.wat", page_in_wat("two"));
    everywhere("two");
    assert_eq!(builds(), 2);
}

#[test]
fn a_first_build_that_fails_ends_the_503_of_all_processes() {
    if !has("make", &["--version"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.write(
        "page/Makefile",
        "all:\n\tcat reason >&2; test -e go\n\tcp page.wat $(OUT)\n",
    );
    workshop.write("page/reason", "there is no go\n");
    workshop.write("page/page.wat", page_in_wat("built"));
    let start = |flags: &[&str]| {
        let mut command = workshop.command(&["serve", "--build", "--addr", "127.0.0.1:0"]);
        command.args(flags);
        Server::listening(Process::start(command.arg(workshop.site.path())))
    };
    let server = start(&["--processes", "3"]);
    // The kernel spreads connections over the processes.
    let is_everywhere =
        |server: &Server, status: u16| (0..30).all(|_| server.get("/page").status() == status);
    eventually("all processes know that the build failed", || {
        is_everywhere(&server, 404)
    });
    // A server that starts later, and builds nothing itself.
    let other = start(&[]);
    eventually("it knows as well that the build failed", || {
        is_everywhere(&other, 404)
    });
    assert!(
        !other
            .error_log()
            .lines()
            .concat()
            .contains("there is no go")
    );
    workshop.write("page/go", "");
    for server in [&server, &other] {
        eventually("all processes serve the result", || {
            is_everywhere(server, 200)
        });
    }
}

#[test]
fn a_project_of_make_is_built_on_save() {
    if !has("make", &["--version"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.write("page/Makefile", "$(OUT): page.wat\n\tcp page.wat $(OUT)\n");
    workshop.write("page/page.wat", page_in_wat("one"));
    let server = workshop.serve();
    until(&server, "/page", "one");
    workshop.write("page/page.wat", page_in_wat("two"));
    until(&server, "/page", "two");
    // The Makefile is a source like others.
    workshop.write("page/other.wat", page_in_wat("three"));
    workshop.write("page/Makefile", "all:\n\tcp other.wat $(OUT)\n");
    until(&server, "/page", "three");
}

#[test]
fn a_project_of_npm_is_built_on_save_with_its_dependencies_by_path() {
    if !has("npm", &["--version"]) || !Language::JavaScript.has_runtime() {
        return;
    }
    let workshop = Workshop::new();
    let package = r#"{
        "main": "dist/index.js",
        "scripts": { "build": "mkdir -p dist && cat ../_shared/text.js src/page.js > dist/index.js" },
        "dependencies": { "shared": "file:../_shared" }
    }"#;
    let page = "export default { fetch() { return new Response(`${TEXT} page`); } };\n";
    workshop.write("_shared/package.json", r#"{ "name": "shared" }"#);
    workshop.write("_shared/text.js", "const TEXT = 'first';\n");
    workshop.write("page/package.json", package);
    workshop.write("page/src/page.js", page);
    // Compiles the runtime without a time limit.
    let mut routes = workshop.command(&["routes"]);
    routes.arg(workshop.site.path()).output().expect("it runs");
    let server = workshop.serve();
    until(&server, "/page", "first page");
    workshop.write("page/src/page.js", page.replace("page", "leaf"));
    until(&server, "/page", "first leaf");
    workshop.write("_shared/text.js", "const TEXT = 'second';\n");
    until(&server, "/page", "second leaf");
}
