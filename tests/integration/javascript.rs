//! Handlers in JavaScript, served from their sources.
//!
//! `cargo xtask test` builds the runtime that loads them, if there is a compiler for it. Without
//! the runtime, each test prints a line and does nothing.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::command::wasgi;
use crate::support::scripts::Language::JavaScript;
use crate::support::scripts::{expect_own_words, logs, until, until_status};
use crate::support::site::Site;

/// Returns a handler with this body of `fetch(request, env, context)`.
fn handler(body: &str) -> String {
    format!("export default {{\n  async fetch(request, env, context) {{\n    {body}\n  }},\n}};\n")
}

/// Returns a handler that answers with a text.
fn answering(text: &str) -> String {
    handler(&format!("return new Response({text:?});"))
}

#[test]
fn a_file_answers_is_reloaded_and_keeps_its_last_good_version() {
    let broken: [(&str, &[&str]); 4] = [
        (
            "const a = {};\na.b.c();\n",
            &["hello.js: not loaded: TypeError: ", "(hello.js:2:"],
        ),
        (
            "export default {\n  fetch( {\n",
            &["hello.js: not loaded: SyntaxError: "],
        ),
        (
            "export const handler = 1;\n",
            &["it has no default export (it exports handler)"],
        ),
        (
            "export default { get() {} };\n",
            &["its default export has no function `fetch`"],
        ),
    ];
    JavaScript.expect_reloads("hello.js", answering, &broken);
}

#[test]
fn a_folder_answers_with_its_modules_data_and_packages() {
    let index = "import { text } from './lib/text.js';\nimport data from './data.json' with { type: \
                 'json' };\nimport whole, { part } from 'whole';\nimport deep from \
                 '@scope/deep/inner';\nlet count = 0;\nexport default { async fetch(request, env, \
                 context) {\n  const { late } = await import('./lib/late.js');\n  count += 1;\n  \
                 return new Response([text, data.n, whole, part, deep, late, count > 1, \
                 context.basePath].join(' '));\n} };\n";
    let deep = r#"{ "exports": { "./*": { "require": "./no.cjs", "import": "./esm/*.js" } } }"#;
    let files = [
        (
            "shop/package.json",
            r#"{ "module": "web/../index.js", "wasgi": { "warm": ["/"] } }"#,
        ),
        ("shop/index.js", index),
        ("shop/lib/text.js", "export const text = 'text';"),
        ("shop/lib/late.js", "export const late = 'late';"),
        ("shop/data.json", r#"{ "n": 7 }"#),
        (
            "shop/node_modules/whole/package.json",
            r#"{ "main": "main.js" }"#,
        ),
        (
            "shop/node_modules/whole/main.js",
            "export { part } from './part.js'; export default 'whole';",
        ),
        (
            "shop/node_modules/whole/part.js",
            "export const part = 'part';",
        ),
        ("shop/node_modules/@scope/deep/package.json", deep),
        (
            "shop/node_modules/@scope/deep/esm/inner.js",
            "export default 'deep';",
        ),
    ];
    let Some((site, server)) = JavaScript.serve(&files, "") else {
        return;
    };
    until(
        &server,
        "/shop/and/more",
        "text 7 whole part deep late true /shop",
    );
    site.write_handler("shop/lib/text.js", "export const text = 'another';");
    until(
        &server,
        "/shop",
        "another 7 whole part deep late true /shop",
    );
    for path in ["/shop/index", "/shop/package.json", "/shop/lib/text.js"] {
        let answer = server.get(path);
        assert!(answer.text().starts_with("another 7"), "{path}: {answer:?}");
    }
    server.stop();
}

#[test]
fn an_import_that_is_not_allowed_fails_with_one_line() {
    let importing = |name: &str| format!("import '{name}';\n{}", answering("no"));
    let package = r#"{ "main": "index.js" }"#;
    let mut files = vec![("good.js".to_owned(), answering("good"))];
    for (folder, name) in [
        ("climbs", "../good.js"),
        ("roots", "/etc/passwd"),
        ("nodes", "node:fs"),
        ("fetches", "https://example.com/a.js"),
        ("names", "left-pad"),
        ("links", "./out.js"),
        ("misses", "./lib/text"),
        ("requires", "./common.js"),
    ] {
        files.push((format!("{folder}/index.js"), importing(name)));
        files.push((format!("{folder}/package.json"), package.to_owned()));
    }
    files.push(("alone.js".to_owned(), importing("./good.js")));
    files.push(("misses/lib/text.js".to_owned(), String::new()));
    files.push((
        "requires/common.js".to_owned(),
        "module.exports = require('./a');\n".to_owned(),
    ));
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let Some((site, server)) = JavaScript.serve(&files, "") else {
        return;
    };
    let link = site.path().join("handlers/links/out.js");
    symlink("/etc/passwd", link).expect("made");
    site.write_handler("links/index.js", importing("./out.js?").replace('?', ""));
    for line in [
        "climbs: not loaded: TypeError: index.js: import of \"../good.js\": it is outside the",
        "roots: not loaded: TypeError: index.js: import of \"/etc/passwd\": absolute paths are",
        "nodes: not loaded: TypeError: index.js: import of \"node:fs\": modules of Node.js",
        "fetches: not loaded: TypeError: index.js: import of \"https://example.com/a.js\": modules are in",
        "names: not loaded: TypeError: index.js: import of \"left-pad\": there is no package",
        "links: not loaded: ",
        "misses: not loaded: TypeError: index.js: import of \"./lib/text\": there is no file \
         lib/text; is lib/text.js meant?",
        "requires: not loaded: TypeError: common.js: it is a CommonJS module",
        "alone.js: not loaded: TypeError: alone.js: import of \"./good.js\": a script of one file",
    ] {
        logs(&server, line);
    }
    let lines = server.error_log().lines();
    let leaks = lines.iter().any(|line| line.contains("root:x:"));
    assert!(!leaks, "nothing of the file is logged: {lines:?}");
    until(&server, "/good", "good");
    server.stop();
}

#[test]
fn a_request_arrives_and_a_response_leaves_as_they_are() {
    let body = "const url = new URL(request.url);\n    \
                const names = ['x-a', 'content-type', 'cookie'].map((n) => request.headers.get(n));\n    \
                const headers = new Headers({ 'X-Own': 'own' });\n    \
                headers.append('set-cookie', 'a=1');\n    headers.append('set-cookie', 'b=2');\n    \
                const text = JSON.stringify([request.method, url.pathname, url.search, names, \
                await request.text(), context.params]);\n    \
                return new Response(text, { status: 201, headers });";
    let Some((_site, server)) = JavaScript.serve(&[("users/[id].js", &handler(body))], "") else {
        return;
    };
    let request = "POST /users/7/a%20b?q=1%262 HTTP/1.1\r\nHost: example.com\r\nX-A: one\r\nX-A: \
                   two\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nb\u{e9}y\r\n";
    until_status(&server, "/users/7", 201);
    let mut client = server.connect();
    client.send(request);
    let answer = client.response();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.head.reason, "Created");
    assert_eq!(answer.field("x-own"), Some("own"));
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(
        answer.text(),
        "[\"POST\",\"/users/7/a%20b\",\"?q=1%262\",[\"one,two\",\"text/plain\",null],\
         \"b\u{e9}y\\r\\n\",{\"id\":\"7\"}]"
    );
    server.stop();
}

#[test]
fn a_body_is_streamed_in_both_directions() {
    let echo = handler("return new Response(request.body);");
    let blocks = handler(
        "const encoder = new TextEncoder();\n    let n = 0;\n    \
         return new Response(new ReadableStream({\n      async pull(controller) {\n        \
         await new Promise((resolve) => setTimeout(resolve, 1));\n        \
         if (n === 3) return controller.close();\n        \
         controller.enqueue(encoder.encode(`block ${n++}\\n`));\n      },\n    }));",
    );
    let Some((_site, server)) = JavaScript.serve(&[("echo.js", &echo), ("blocks.js", &blocks)], "")
    else {
        return;
    };
    until(&server, "/blocks", "block 0\nblock 1\nblock 2\n");
    until_status(&server, "/echo", 200);
    let sent = "0123456789".repeat(30_000);
    let length = sent.len();
    let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let mut client = server.connect();
    let answer = client.exchange((head + &sent).as_bytes());
    assert!(answer.text() == sent, "the body comes back");
    // The handler answers while the client is still sending.
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.expect_blocks_back(false);
    server.stop();
}

#[test]
fn what_a_handler_throws_is_a_500_with_its_stack_in_the_log() {
    let body = "switch (new URL(request.url).searchParams.get('how')) {\n      \
                case 'throw': throw new RangeError('thrown');\n      \
                case 'reject': return Promise.reject(new TypeError('rejected'));\n      \
                case 'value': throw 'a text';\n      \
                case 'never': return new Promise(() => {});\n      \
                case 'nothing': return;\n      \
                case 'deep': return (function deep() { return deep() + 1; })();\n      \
                case 'lost': Promise.reject(new Error('lost'));\n    }\n    \
                console.log('said %d', 7, { a: [1] });\n    \
                return new Response('fine');";
    let Some((_site, server)) = JavaScript.serve(&[("fails.js", &handler(body))], "") else {
        return;
    };
    until(&server, "/fails", "fine");
    logs(&server, "said 7 { a: [1] }");
    for (how, line) in [
        ("throw", "raised RangeError: thrown"),
        ("reject", "raised TypeError: rejected"),
        ("value", "raised thrown: \"a text\""),
        ("never", "the promise of fetch never settles"),
        ("nothing", "fetch returned no Response, but undefined"),
        (
            "deep",
            "raised RangeError: Maximum call stack size exceeded",
        ),
    ] {
        assert_eq!(
            server.get(&format!("/fails?how={how}")).status(),
            500,
            "{how}"
        );
        logs(&server, line);
    }
    logs(&server, "at fetch (fails.js:4:");
    assert_eq!(server.get("/fails?how=lost").text(), "fine");
    logs(&server, "unhandled rejection: Error: lost (fails.js:10:");
    server.stop();
}

#[test]
fn work_that_a_handler_leaves_behind_ends_after_the_response() {
    let body = "context.waitUntil(new Promise((resolve) => setTimeout(() => {\n      \
                console.log('after the response');\n      resolve();\n    }, 1)));\n    \
                return new Response('response');";
    let Some((_site, server)) = JavaScript.serve(&[("waits.js", &handler(body))], "") else {
        return;
    };
    until(&server, "/waits", "response");
    logs(&server, "after the response");
    assert_eq!(server.get("/waits").field("content-length"), Some("8"));
    server.stop();
}

#[test]
fn a_handler_is_told_that_its_client_has_gone() {
    let ready = answering("ready");
    let body = "request.signal.addEventListener('abort', () => console.log('aborted'));\n    \
                return new Response(new ReadableStream({\n      \
                pull(controller) { controller.enqueue(new Uint8Array(65536)); },\n      \
                cancel() { console.log('cancelled'); },\n    }));";
    let Some((_site, server)) =
        JavaScript.serve(&[("endless.js", &handler(body)), ("ready.js", &ready)], "")
    else {
        return;
    };
    until_status(&server, "/ready", 200);
    let mut client = server.connect();
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!client.chunk_behind_head().is_empty());
    drop(client);
    logs(&server, "aborted");
    logs(&server, "cancelled");
    server.stop();
}

#[test]
fn requests_have_random_numbers_and_clocks_of_their_own() {
    let body = "count += 1;\n    const own = [Math.random(), crypto.randomUUID(), \
                crypto.getRandomValues(new Uint32Array(4)).join(), performance.now() > 0, \
                Date.now() - at > 0];\n    \
                return new Response([...own, count, early].join(' '));";
    let script = format!(
        "const at = Date.now() - 1;\nconst early = Math.random();\nlet count = 0;\n{}",
        handler(body)
    );
    let Some((_site, server)) = JavaScript.serve(&[("dice.js", &script)], "") else {
        return;
    };
    until_status(&server, "/dice", 200);
    let words = expect_own_words(&server, "/dice", 3, 7);
    assert_eq!(words[3..6], ["true", "true", "1"]);
    server.stop();
}

#[test]
fn a_hostile_script_fails_with_one_line_and_costs_no_other() {
    let good = answering("good");
    let long = format!("// {}", "x".repeat(5 << 20));
    let files = [
        ("good.js", &*good),
        ("forever.js", "for (;;);\n"),
        (
            "waits.js",
            "await new Promise((r) => setTimeout(r, 1e8));\n",
        ),
        ("never.js", "await new Promise(() => {});\n"),
        (
            "allocates.js",
            "const a = [];\nfor (;;) a.push(new Uint8Array(1 << 20));\n",
        ),
        ("recurses.js", "(function f() { f(); })();\n"),
        ("nests.js", "JSON.parse('['.repeat(1e6));\n"),
        ("calls.js", "await fetch('http://127.0.0.1/');\n"),
        ("talks.js", "for (;;) console.log('x'.repeat(1 << 16));\n"),
        ("long.js", &long),
    ];
    let settings = "[compile]\ncpu-time = \"2s\"\nimport-time = \"6s\"\n";
    let Some((site, server)) = JavaScript.serve(&[], settings) else {
        return;
    };
    for (name, text) in files {
        site.write_handler(name, text);
    }
    for line in [
        // Either limit may be reached first: a busy machine may have no CPU time for it.
        "forever.js: not loaded: ",
        "waits.js: not loaded: importing it takes longer than 6s (compile.import-time)",
        "never.js: not loaded: Error: its top-level await never settles",
        "allocates.js: not loaded: InternalError: out of memory",
        "recurses.js: not loaded: RangeError: Maximum call stack size exceeded",
        "nests.js: not loaded: RangeError: JSON.parse: nested more than 2000 levels",
        "calls.js: not loaded: TypeError: fetch: a handler has no network while it is loaded",
        "talks.js: not loaded: ",
        "long.js: not loaded: larger than 4 MiB, the limit for a script",
    ] {
        logs(&server, line);
    }
    until(&server, "/good", "good");
    server.stop();
}

#[test]
fn a_request_that_computes_or_allocates_for_ever_ends_by_its_budget() {
    let spends = "const how = new URL(request.url).searchParams.get('how');\n    \
                  if (how === 'loop') for (;;);\n    \
                  if (how === 'timer') await new Promise(() => setInterval(() => {}, 10));\n    \
                  return new Response('fine');";
    let hoards = "const kept = [];\n    while (true) kept.push(new Uint8Array(1 << 20));";
    let files = [
        ("spends.js", &*handler(spends)),
        ("hoards.js", &*handler(hoards)),
    ];
    // Enough time to run out of memory on a busy machine, too.
    let settings = "[budget]\ncpu-time = \"60s\"\nwall-time = \"120s\"\n[handlers.spends]\n\
                    cpu-time = \"200ms\"\nwall-time = \"2s\"\n";
    let Some((_site, server)) = JavaScript.serve(&files, settings) else {
        return;
    };
    until(&server, "/spends", "fine");
    assert_eq!(server.get("/spends?how=loop").status(), 504);
    assert_eq!(server.get("/spends?how=timer").status(), 504);
    assert_eq!(server.get("/hoards").status(), 500);
    assert_eq!(server.get("/spends").text(), "fine");
    server.stop();
}

#[test]
fn a_package_that_names_what_is_not_there_fails_with_the_key() {
    let files = [
        ("nowhere/package.json", r#"{ "main": "web.js" }"#),
        ("outside/package.json", r#"{ "main": "../../x.js" }"#),
        ("empty/package.json", "{}"),
        (
            "typo/package.json",
            r#"{ "main": "a.js", "wasgi": { "warn": [] } }"#,
        ),
        ("typo/a.js", ""),
        ("broken/package.json", "{"),
    ];
    let Some((site, server)) = JavaScript.serve(&[], "") else {
        return;
    };
    for (name, text) in files {
        site.write_handler(name, text);
    }
    for line in [
        "nowhere: not loaded: package.json: main: there is no file \"web.js\"",
        "outside: not loaded: package.json: main: \"../../x.js\" is outside the folder",
        "empty: not loaded: package.json: it names no main module",
        "typo: not loaded: package.json: wasgi: unknown field `warn`",
        "broken: not loaded: package.json: ",
    ] {
        logs(&server, line);
    }
    server.stop();
}

#[test]
fn a_server_without_a_runtime_says_which_file_is_missing() {
    let site = Site::new();
    site.write_handler("hello.js", answering("hello"));
    site.write_handler("shop/package.json", "{}");
    let settings = "[site]\nruntime = \"nowhere\"\n";
    fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let mut routes = wasgi(["routes", "--code-cache", "none"]);
    let output = routes.arg(site.path()).output();
    let output = output.expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    for name in ["hello.js", "shop"] {
        let is_told = |line: &str| {
            line.contains(&format!("handlers/{name}: "))
                && line.contains("the runtime for JavaScript can't be read")
                && line.contains("nowhere/javascript/javascript.wasm")
        };
        assert!(text.lines().any(is_told), "{name}: {text}");
    }
}

#[test]
fn granted_variables_are_the_second_argument_of_fetch_and_need_no_other_load() {
    let text = handler("return new Response(JSON.stringify(env));");
    let settings = "[handlers.granted]\nenvironment = { NAME = \"value\", __proto__ = \"own\" }\n\
                    secrets = { KEY = { file = \"key\" } }\n";
    let files = [
        ("granted.js", &*text),
        ("none.js", &*text),
        ("../key", "hidden"),
    ];
    let Some((site, server)) = JavaScript.serve(&files, settings) else {
        return;
    };
    until(&server, "/none", "{}");
    let told =
        |name: &str| format!("{{\"KEY\":\"hidden\",\"NAME\":\"{name}\",\"__proto__\":\"own\"}}");
    until(&server, "/granted", &told("value"));
    let lines = server.error_log().lines();
    let is_load = |line: &&String| line.contains(" granted: loaded");
    let loads_before = lines.iter().filter(is_load).count();
    let settings = settings.replace("value", "changed");
    fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    until(&server, "/granted", &told("changed"));
    let ended = server.stop();
    assert_eq!(
        ended.stderr_with(&["environment variables"]),
        0,
        "{}",
        ended.everything()
    );
    let loads = ended.stderr_with(&[" granted: loaded"]);
    assert_eq!(loads, loads_before, "{}", ended.everything());
}

#[test]
fn a_module_that_looks_for_variables_elsewhere_says_where_they_are() {
    let text = format!("const key = process.env.KEY;\n{}", answering("no"));
    let Some((_site, server)) = JavaScript.serve(&[("shop.js", &text)], "") else {
        return;
    };
    logs(
        &server,
        "shop.js: not loaded: ReferenceError: process is not defined (shop.js:1:13); variables \
         are the second argument of fetch, and [handlers.shop] environment = { NAME = \"value\" } \
         in wasgi.toml grants them",
    );
    server.stop();
}

#[test]
fn a_request_that_looks_for_variables_elsewhere_says_where_they_are() {
    let text = "export default { fetch(request) {
        const { pathname } = new URL(request.url);
        if (pathname.endsWith('/node')) process.env.KEY;
        if (pathname.endsWith('/deno')) Deno.env.get('KEY');
        if (pathname.endsWith('/other')) other.KEY;
        return new Response('ready');
    } };\n";
    let Some((_site, server)) = JavaScript.serve(&[("shop.js", text)], "") else {
        return;
    };
    until(&server, "/shop", "ready");
    for (path, name) in [("node", "process"), ("deno", "Deno")] {
        assert_eq!(server.get(&format!("/shop/{path}")).status(), 500);
        let line = format!(
            "ReferenceError: {name} is not defined; variables are the second argument of fetch, \
             and [handlers.shop] environment = {{ NAME = \"value\" }} in wasgi.toml grants them"
        );
        logs(&server, &line);
    }
    assert_eq!(server.get("/shop/other").status(), 500);
    logs(&server, "ReferenceError: other is not defined");
    let ended = server.stop();
    let grants = ended.stderr_with(&["[handlers.shop] environment"]);
    assert_eq!(grants, 2, "{}", ended.everything());
}
