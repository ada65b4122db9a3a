//! Buckets in Python, as a script and as a component, and in JavaScript.

use std::fs;

use super::configure;
use crate::support::attempts::PATIENT_BUDGET;
use crate::support::eventually;
use crate::support::redis::Redis;
use crate::support::scripts::Language::{JavaScript, Python};
use crate::support::scripts::{compile, component, percent_encoded, until};
use crate::support::server::Server;
use crate::support::site::Site;

/// An application that evaluates the expression in its query.
const PYTHON: &str = include_str!("../../python/granted.py");

/// A script that evaluates the statements in its query.
const JAVASCRIPT: &str = "import { open } from 'wasgi:kv';
const bucket = open('default');
export default {
  async fetch(request) {
    const code = decodeURIComponent(new URL(request.url).search.slice(1));
    try {
      const result = await eval(`(async () => { ${code} })()`);
      return new Response(typeof result === 'bigint' ? `${result}n` : JSON.stringify(result));
    } catch (error) {
      return new Response(`${error.name} ${error.code}: ${error.message}`);
    }
  },
};
";

/// What operations return in Python.
const IN_PYTHON: [(&str, &str); 29] = [
    ("BUCKET.get('a')", "None"),
    ("BUCKET.set('a', b'one')", "None"),
    ("BUCKET.get('a')", "b'one'"),
    (
        "BUCKET.get_text('a'), BUCKET.get_text('b')",
        "('one', None)",
    ),
    ("BUCKET.exists('a'), BUCKET.exists('b')", "(True, False)"),
    (
        "kv.open().get('a'), kv.open('').get('a')",
        "(b'one', b'one')",
    ),
    (
        "BUCKET.set('é', 'ü'), BUCKET.get('é')",
        "(None, b'\\xc3\\xbc')",
    ),
    ("BUCKET.delete('é'), BUCKET.delete('é')", "(None, None)"),
    (
        "BUCKET.increment('n'), BUCKET.increment('n', -3)",
        "(1, -2)",
    ),
    (
        "BUCKET.increment('a')",
        "wasgi.kv.errors.NotANumber: the value is not a number",
    ),
    (
        "BUCKET.increment('n', 1 << 63)",
        "wasgi.kv.errors.NotANumber: the delta is beyond",
    ),
    (
        "BUCKET.increment('n', -(1 << 63))",
        "wasgi.kv.errors.NotANumber: the sum is beyond",
    ),
    ("BUCKET.compare_and_swap('c', None, '1')", "True"),
    ("BUCKET.compare_and_swap('c', None, '2')", "False"),
    (
        "BUCKET.compare_and_swap('c', b'1', '2'), BUCKET.get('c')",
        "(True, b'2')",
    ),
    ("BUCKET.update('c', lambda old: old + b'3')", "b'23'"),
    (
        "BUCKET.set_many({f'k{n:04}': str(n) for n in range(1000)})",
        "None",
    ),
    (
        "BUCKET.set_many({f'l{n:04}': str(n) for n in range(500)})",
        "None",
    ),
    (
        "len(list(BUCKET.keys())), next(BUCKET.keys())",
        "(1503, 'a')",
    ),
    (
        "BUCKET.get_many(['k0007', 'none', 'a'])",
        "[b'7', None, b'one']",
    ),
    (
        "BUCKET.delete_many(['k0007', 'none']), BUCKET.exists('k0007')",
        "(None, False)",
    ),
    (
        "BUCKET.set_many({str(n): '' for n in range(1001)})",
        "wasgi.kv.errors.LimitExceeded: the batch",
    ),
    (
        "BUCKET.set('k' * (1 << 20), '')",
        "wasgi.kv.errors.LimitExceeded: the key has 1048576 bytes",
    ),
    (
        "BUCKET.get('k' * 1025)",
        "wasgi.kv.errors.LimitExceeded: the key has 1025 bytes",
    ),
    (
        "BUCKET.set('k', b'v' * 1048577)",
        "wasgi.kv.errors.LimitExceeded: the value has 1048577 bytes",
    ),
    (
        "BUCKET.set('k', b'v' * 20_000_000)",
        "wasgi.kv.errors.LimitExceeded: the value has 20000000",
    ),
    (
        "BUCKET.set('k\\ud800', '')",
        "builtins.ValueError: a key must be valid Unicode",
    ),
    (
        "BUCKET.set('k', '\\ud800')",
        "builtins.ValueError: a value must be valid Unicode",
    ),
    (
        "kv.open('other')",
        "wasgi.kv.errors.AccessDenied: the bucket is not granted",
    ),
];

/// What statements return in JavaScript.
const IN_JAVASCRIPT: [(&str, &str); 27] = [
    ("return bucket.get('a')", "null"),
    (
        "await bucket.put('a', 'one'); return bucket.get('a')",
        "\"one\"",
    ),
    ("return open().get('a')", "\"one\""),
    (
        "await bucket.put('é', 'ü'); return bucket.get('é')",
        "\"ü\"",
    ),
    (
        "await bucket.delete('é'); await bucket.delete('é'); return bucket.get('é')",
        "null",
    ),
    (
        "await bucket.put('j', '{\"x\":1}'); return (await bucket.get('j', 'json')).x",
        "1",
    ),
    (
        "await bucket.put('b', new Uint8Array([0, 255]));
         return [...new Uint8Array(await bucket.get('b', { type: 'arrayBuffer' }))]",
        "[0,255]",
    ),
    (
        "await bucket.put('s', new Response('streamed').body);
         return new Response(await bucket.get('s', 'stream')).text()",
        "\"streamed\"",
    ),
    (
        "return [await bucket.increment('n'), await bucket.increment('n', -3n)]",
        "[1,-2]",
    ),
    (
        "return bucket.increment('m', 9007199254740993n)",
        "9007199254740993n",
    ),
    (
        "return bucket.increment('a')",
        "KeyValueError not-a-number: default: the value is not",
    ),
    (
        "return bucket.increment('n', 1n << 64n)",
        "KeyValueError not-a-number: default: the delta",
    ),
    (
        "return bucket.increment('n', 0.5)",
        "TypeError undefined: kv: the delta must be an integer",
    ),
    (
        "return [await bucket.compareAndSwap('c', null, '1'),
          await bucket.compareAndSwap('c', null, '2'), await bucket.compareAndSwap('c', '1', '2')]",
        "[true,false,true]",
    ),
    ("return bucket.update('c', (old) => old + '3')", "\"23\""),
    (
        "return [...await bucket.get(['a', 'none', 'c'])]",
        "[[\"a\",\"one\"],[\"none\",null],[\"c\",\"23\"]]",
    ),
    (
        "for (const end of ['', '1', '2', '3', '4']) await bucket.put(`p/${end}`, '');
         return bucket.list({ prefix: 'p/', limit: 2 })",
        "{\"keys\":[{\"name\":\"p/\"},{\"name\":\"p/1\"}],\"list_complete\":false,\"cursor\":\"p/1\"}",
    ),
    (
        "return bucket.list({ prefix: 'p/', cursor: 'p/1' })",
        "{\"keys\":[{\"name\":\"p/2\"},{\"name\":\"p/3\"},{\"name\":\"p/4\"}],\"list_complete\":true}",
    ),
    ("return (await bucket.list()).keys.length", "12"),
    (
        "return bucket.put('a', 'x', { expirationTtl: 60 })",
        "TypeError undefined: kv: put has no option",
    ),
    (
        "return bucket.put('k'.repeat(1 << 20), '')",
        "KeyValueError limit: default: the key has 1048576",
    ),
    (
        "return bucket.get('k'.repeat(1025))",
        "KeyValueError limit: default: the key has 1025 bytes",
    ),
    (
        "return bucket.put('k', 'v'.repeat(1048577))",
        "KeyValueError limit: default: the value has",
    ),
    (
        "return bucket.put('k', 'v'.repeat(20e6))",
        "KeyValueError limit: default: the value has 20000000",
    ),
    (
        "return bucket.put('k\\ud800', '')",
        "TypeError undefined: kv: a key must be valid Unicode",
    ),
    (
        "return bucket.put('k', '\\ud800')",
        "TypeError undefined: kv: a value must be valid Unicode",
    ),
    (
        "return open('other').get('a')",
        "KeyValueError access-denied: other: the bucket is not granted",
    ),
];

/// A language, how its handler is called, and what its operations return.
type Case = (Site, &'static str, &'static [(&'static str, &'static str)]);

/// Creates a site for each way of writing a handler, without those whose runtime is not built.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    if let Some(site) = Python.site(&[("granted.py", PYTHON)], "") {
        compile(&site);
        cases.push((site, "granted", &IN_PYTHON));
    }
    let built = component("python-granted");
    if built.is_file() {
        let site = Site::new();
        site.install("python-granted.wasm", &built);
        compile(&site);
        cases.push((site, "python-granted", &IN_PYTHON));
    } else {
        eprintln!("SKIPPED: python-granted is not built; `cargo xtask python` does it");
    }
    if let Some(site) = JavaScript.site(&[("granted.js", JAVASCRIPT)], "") {
        compile(&site);
        cases.push((site, "granted", &IN_JAVASCRIPT));
    }
    cases
}

fn path(handler: &str, code: &str) -> String {
    format!("/{handler}?{}", percent_encoded(code))
}

#[test]
fn operations_do_the_same_in_each_language_and_each_store() {
    for with_redis in [false, true] {
        for (site, handler, operations) in cases() {
            let folder = site.path().join("redis");
            fs::create_dir(&folder).expect("a folder");
            let redis = with_redis.then(|| Redis::start(&folder)).flatten();
            if with_redis && redis.is_none() {
                return;
            }
            let store = redis
                .as_ref()
                .map(|redis| format!("[state]\nurl = \"{}\"\n", redis.url()));
            let store = store.unwrap_or_default();
            configure(
                &site,
                &format!("{store}[handlers.\"*\"]\nkey-value = [\"default\"]\n"),
            );
            let server = Server::new(&site);
            let (first, result) = operations[0];
            until(&server, &path(handler, first), result);
            for (code, result) in operations {
                let response = server.get(&path(handler, code));
                let text = response.text();
                assert_eq!(response.status(), 200, "{code}: {text}");
                assert!(text.starts_with(result), "{handler}: {code}: {text}");
            }
        }
    }
}

#[test]
fn a_bucket_is_available_only_by_grant_and_a_change_applies_to_the_next_request() {
    for (site, handler, operations) in cases() {
        let server = Server::new(&site);
        let (code, result) = operations[0];
        let denied = || {
            let text = server.get(&path(handler, code)).text().to_owned();
            text.contains("AccessDenied") || text.contains("access-denied")
        };
        eventually("it is denied", denied);
        assert!(denied());
        configure(&site, "[handlers.\"*\"]\nkey-value = [\"default\"]\n");
        until(&server, &path(handler, code), result);
        configure(&site, "");
        eventually("it is denied again", denied);
        let log = server.stop();
        let asked = format!("WARN {handler}: asked for the key-value bucket \"default\"");
        let line = format!("add to wasgi.toml: [handlers.{handler}] key-value = [\"default\"]");
        assert_eq!(log.stderr_with(&[&asked, &line]), 1, "{}", log.everything());
    }
}

#[test]
fn no_increment_of_a_script_is_lost_over_two_processes() {
    for (site, handler, operations) in cases() {
        let grant = "[handlers.\"*\"]\nkey-value = [\"default\"]\n";
        configure(&site, &format!("{PATIENT_BUDGET}{grant}"));
        let server = Server::with(&site, &["--processes", "2"]);
        until(&server, &path(handler, operations[0].0), operations[0].1);
        let code = match operations.len() == IN_PYTHON.len() {
            true => {
                "BUCKET.increment('total'), BUCKET.update('list', lambda old: (old or b'') + b'x')"
            }
            false => {
                "await bucket.increment('total'); await bucket.update('list', (old) => (old ?? '') + 'x')"
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        assert_eq!(server.get(&path(handler, code)).status(), 200);
                    }
                });
            }
        });
        let (read, result) = match operations.len() == IN_PYTHON.len() {
            true => (
                "BUCKET.get_text('total'), len(BUCKET.get('list'))",
                "('80', 80)",
            ),
            false => (
                "return [await bucket.get('total'), (await bucket.get('list')).length]",
                "[\"80\",80]",
            ),
        };
        assert_eq!(server.get(&path(handler, read)).text(), result);
    }
}

#[test]
fn a_bucket_that_is_used_while_a_handler_is_loaded_is_an_error_of_that() {
    let python = "from wasgi import kv\nkv.open().get('a')\ndef app(e, s): pass\n";
    let javascript =
        "import { open } from 'wasgi:kv';\nawait open().get('a');\nexport default {};\n";
    for (language, file, source, line) in [
        (
            Python,
            "early.py",
            python,
            "buckets can't be used while the application is imported",
        ),
        (
            JavaScript,
            "early.js",
            javascript,
            "a handler has no buckets while it is loaded",
        ),
    ] {
        let Some(site) = language.site(&[(file, source)], "") else {
            continue;
        };
        let server = Server::new(&site);
        crate::support::scripts::logs(&server, line);
    }
}
