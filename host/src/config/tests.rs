//! The combination of files, flags and defaults; the documentation of keys; reloading.

mod certificates;
mod docs;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::keys::keys;
use super::live::Changes;
use super::table::HANDLER_KEYS;
use super::*;
use crate::policy::{Budget, Handler};
use crate::{http1, log};

/// Resolves a file's text and flags for a site in `/site`.
fn resolved(text: &str, flags: impl FnOnce(&mut Draft)) -> Result<ResolvedConfig, String> {
    let path = Path::new("/site/wasgi.toml");
    ResolvedConfig::new(path, Some(text), Path::new("/site"), flags)
        .map_err(|complaint| complaint.to_string())
}

fn complaint(text: &str) -> String {
    resolved(text, |_| {}).expect_err(text)
}

fn config(text: &str) -> Config {
    resolved(text, |_| {}).expect(text).config
}

fn key(name: &str) -> &'static Key<Config> {
    all_keys().find(|key| key.name == name).expect(name)
}

/// Returns the keys that serde reads, in order.
fn keys_of_types() -> Vec<String> {
    struct List(Vec<String>);
    impl Visit for List {
        fn section<T: Section>(&mut self, section: &'static str, _: &mut T) {
            let keys = keys::<T>().iter();
            self.0.extend(keys.map(|key| format!("{section}.{key}")));
        }

        fn tables<T: Section>(&mut self, section: &'static str, _: &mut T) {
            self.0.push(format!("{section}.*"));
        }
    }
    let mut list = List(Vec::new());
    Config::default().visit(&mut list);
    list.0
}

#[test]
fn the_table_has_every_field_and_no_other() {
    let names: Vec<&str> = all_keys().map(|key| key.name).collect();
    assert_eq!(names, keys_of_types());
    let own: Vec<&str> = HANDLER_KEYS.iter().map(|key| key.name).collect();
    assert_eq!(own, keys::<Handler>());
}

#[test]
fn each_key_has_the_field_of_its_name() {
    let samples = [
        Value::Switch(true),
        Value::Switch(false),
        Value::Count(7),
        Value::Time(Duration::from_secs(7)),
        Value::Path("sample".into()),
        Value::Addr(([127, 0, 0, 1], 7).into()),
        Value::Level(log::Verbosity::Debug),
    ];
    let default = Config::default();
    for (key, sample) in all_keys().flat_map(|key| samples.iter().map(move |it| (key, it))) {
        let mut changed = default.clone();
        if !(key.place.set)(&mut changed, sample) || changed == default {
            continue;
        }
        let mut copied = default.clone();
        (key.place.copy)(&mut copied, &changed);
        assert_eq!(copied, changed, "{}", key.name);
        let (changes, kept) = Changes::between(&default, &changed);
        assert_eq!([changes.taken, changes.later].concat(), [key.name]);
        assert_eq!(kept == copied, key.is_live, "{}", key.name);
    }
}

#[test]
fn by_default_a_handler_has_memory_for_the_longest_body_and_copies_of_it() {
    let config = config("");
    // An interpreter with a framework, and the body as it is collected, joined and kept.
    let needed = (60 << 20) + 3 * config.http.body_bytes;
    assert!(config.budget.memory_bytes as u64 >= needed);
}

#[test]
fn a_file_overrides_the_defaults() {
    let config = config(
        "[server]\naddr = \"[::1]:80\"\nthreads = 3\naccess-log = false\n\
         [limits]\nbody = \"1GiB\"\nconnections = 5\nbody-rate = \"1KiB/s\"\n\
         [budget]\nwall-time = \"1.5s\"\n[site]\nroot = \"www\"\n",
    );
    assert_eq!(config.server.addr.port(), 80);
    assert_eq!(config.server.threads(), 3);
    assert_eq!(config.server.access_log, log::AccessTarget::Off);
    assert_eq!(config.http.body_bytes, 1 << 30);
    assert_eq!(config.http.body_rate_bytes_per_second, 1024);
    assert_eq!(config.limits.connections_count, 5);
    assert_eq!(config.budget.wall_time.as_millis(), 1500);
    assert_eq!(config.budget.memory_bytes, Budget::default().memory_bytes);
    assert_eq!(config.site.root(), Path::new("/site/www"));
    assert_eq!(config.site.handlers(), Path::new("/site/handlers"));
}

#[test]
fn several_processes_have_one_thread_each_by_default() {
    let threads = |text: &str| config(text).server.threads();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    assert_eq!(threads(""), processors);
    assert_eq!(threads("[server]\nprocesses = 1\n"), processors);
    assert_eq!(threads("[server]\nprocesses = 2\n"), 1);
    assert_eq!(threads("[server]\nprocesses = 2\nthreads = 3\n"), 3);
}

#[test]
fn flags_win_over_the_file() {
    let resolved = resolved("[limits]\nconnections = 5\nfields = \"64KiB\"\n", |draft| {
        draft.flag(key("limits.connections"), &Value::Count(7));
    })
    .expect("both are good");
    assert_eq!(resolved.config.limits.connections_count, 7);
    let origin = |key: &str| resolved.origins.get(key).copied();
    assert_eq!(
        origin("limits.connections"),
        Some(Origin::Flag("--max-connections"))
    );
    assert_eq!(origin("limits.fields"), Some(Origin::File(3)));
    assert_eq!(origin("limits.body"), None);
}

#[test]
fn an_error_is_one_line() {
    for (text, expected) in [
        (
            "[limits]\n\nmax-boddy = \"1MiB\"\nbod = \"1MiB\"",
            "3: limits.max-boddy: unknown key; did you mean limits.body?",
        ),
        (
            "[limits]\nbodi = \"1MiB\"",
            "2: limits.bodi: unknown key; did you mean limits.body?",
        ),
        (
            "[limits]\ncpu-time = \"1s\"",
            "2: limits.cpu-time: unknown key; did you mean budget.cpu-time?",
        ),
        (
            "[limits]\nmemory = \"64\"",
            "2: limits.memory: expected a size with a unit or a share of the machine's memory, such \
             as \"2GiB\" or \"50%\", found \"64\"",
        ),
        (
            "[limits]\nmemory = \"64KiB\"",
            "2: limits.memory: expected 1MiB to 1024GiB, found 64KiB",
        ),
        (
            "[limits]\nlog-queue = \"1KiB\"",
            "2: limits.log-queue: expected 1MiB to 1GiB, found 1KiB",
        ),
        (
            "[sever]\nthreads = 1",
            "1: sever: unknown key; did you mean [server]?",
        ),
        (
            "\nthreads = 1",
            "2: threads: unknown key; did you mean server.threads?",
        ),
        (
            "[server]\nqqq = 1",
            "2: server.qqq: unknown key (`wasgi config` lists all keys)",
        ),
        (
            "limits = 5",
            "1: limits: is a section: write [limits] above its keys",
        ),
        (
            "[budget]\n# so much\nmemory = \"lots\"",
            "3: budget.memory: expected a size with a unit, such as \"64MiB\" (B, KiB, MiB, GiB), \
             found \"lots\"",
        ),
        (
            "[budget]\ncpu-time = 5",
            "2: budget.cpu-time: expected a duration with a unit, such as \"30s\", found 5",
        ),
        (
            "[server]\naccess-log = \"no\"",
            "2: server.access-log: expected true or false, without quotes, found \"no\"",
        ),
        (
            "[server]\naddr = \"localhost\"",
            "2: server.addr: the port is missing: write \"localhost:8000\"",
        ),
        (
            "[server]\nthreads = 0",
            "2: server.threads: expected 1 to 1024, found 0",
        ),
        (
            "[server]\nprocesses = 0",
            "2: server.processes: expected 1 to 1024, found 0",
        ),
        (
            "[server]\nthreads = -1",
            "2: server.threads: expected a whole number from 0 to 65535, found -1",
        ),
        (
            "[budget]\nmemory = \"8GiB\"",
            "2: budget.memory: expected 64KiB to 4GiB, found 8GiB",
        ),
        (
            "[limits]\nwrite-rate = \"0B/s\"",
            "2: limits.write-rate: expected 1B/s to 1GiB/s, found 0B/s",
        ),
        (
            "[limits]\nfields = \"8KiB\"\nfield-line = \"9KiB\"",
            "3: limits.field-line: 9KiB is more than limits.fields is",
        ),
        (
            "[budget]\ncpu-time = \"10s\"\nwall-time = \"9s\"",
            "2: budget.cpu-time: 10s is more than budget.wall-time is",
        ),
        (
            "[tls]\ncert = \"cert.pem\"",
            "2: tls.cert: has no effect without tls.key",
        ),
        (
            "[proxy]\nprotocol = true",
            "2: proxy.protocol: has no effect without proxy.trusted",
        ),
        (
            "[proxy]\ntrusted = [\"10.0.0.0/8\", \"nobody\"]",
            "2: proxy.trusted: ",
        ),
        ("[server]\nthreads = 1\nthreads = 2", "3: duplicate key"),
        ("[server\n", "1: "),
    ] {
        let said = complaint(text);
        let expected = format!("/site/wasgi.toml:{expected}");
        assert!(
            said.starts_with(&expected),
            "{text:?}\n  {said}\n  {expected}"
        );
        assert!(!said.contains('\n'), "{said:?}");
    }
}

#[test]
fn a_key_of_another_server_is_rejected_with_the_equivalent_key() {
    for (text, said) in [
        (
            "[server]\nport = 8000",
            "2: server.port: the port is part of server.addr",
        ),
        ("port = 8000", "1: port: the port is part of server.addr"),
        (
            "[server]\nhost = \"::1\"",
            "server.host: the host is part of server.addr",
        ),
        (
            "[server]\nbind = \"::1\"",
            "the host is part of server.addr",
        ),
        ("[server]\nworkers = 2", "server.processes says how many"),
        (
            "[server]\ncertificate = \"a\"",
            "HTTPS is tls.cert and tls.key",
        ),
        (
            "[handlers.a]\ntimeout = \"1s\"",
            "handlers.a.timeout: a handler's time is",
        ),
        ("[server]\nauto_reload = true", "always reloaded"),
        ("[env]\nA = \"b\"", "handlers get no variables"),
        ("[pages]\nheaders = []", "[[pages.rules]] adds fields"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(said), "{text:?}: {complaint}");
    }
}

#[test]
fn an_address_is_text_or_a_port() {
    let addr = |value: &str| config(&format!("[server]\naddr = {value}\n")).server.addr;
    for value in ["8000", "\"8000\"", "\":8000\"", "\"localhost:8000\""] {
        assert_eq!(addr(value).to_string(), "127.0.0.1:8000", "{value}");
    }
    let redirect = "[tls]\ncert = \"c\"\nkey = \"k\"\nredirect-http = \"[::1]:80\"\n";
    let redirect = config(redirect).tls.redirect_http.expect("it is set");
    assert_eq!(redirect.to_string(), "[::1]:80");
}

#[test]
fn a_wrong_type_is_explained_without_terms_of_rust() {
    let foreign = [
        "invalid type",
        "invalid value",
        "usize",
        "u16",
        "u32",
        "u64",
        "a map",
        "sequence",
        "boolean",
        "struct",
        "variant",
        "unknown field",
        "path string",
        "enum",
        "newtype",
        "`",
    ];
    let mut complaints = 0;
    for key in all_keys() {
        let (section, key) = key.name.split_once('.').expect("a section");
        for value in [
            "\"5x\"",
            "5",
            "-5",
            "1.5",
            "true",
            "[5]",
            "{ a = 5 }",
            "1979-05-27",
        ] {
            let text = match key {
                "*" => format!("[{section}]\nhello = {value}\n"),
                _ => format!("[{section}]\n{key} = {value}\n"),
            };
            // Some of these values are valid for the key.
            let Err(complaint) = resolved(&text, |_| {}) else {
                continue;
            };
            complaints += 1;
            for word in foreign {
                assert!(!complaint.contains(word), "{text}{complaint}");
            }
            assert!(
                complaint.contains(key.trim_matches('*')),
                "{text}{complaint}"
            );
        }
    }
    assert!(complaints > 7 * all_keys().count() / 2, "{complaints}");
}

#[test]
fn invalid_toml_is_explained_in_plain_words() {
    for (text, said) in [
        (
            "[server]\naddr = localhost:8000 # here\n",
            "/site/wasgi.toml:2: text stands in quotes: write \"localhost:8000\"",
        ),
        (
            "[server]\naddr = \"a\n",
            "2: missing closing quote: addr = \"a",
        ),
        (
            "[server]\nthreads 2\n",
            "2: expected KEY = VALUE, found threads 2",
        ),
        (
            "[server]\nthreads = # two\n",
            "2: the value is missing in threads =",
        ),
        (
            "[server]\nthreads: 2\n",
            "2: expected KEY = VALUE, found threads: 2",
        ),
        ("[server]\naccess-log = yes\n", "2: write true"),
        ("[server]\naccess-log = False\n", "2: write false"),
        (
            "[server]\nthreads = 1\n[server]\n",
            "3: duplicate key: [server] is already set",
        ),
        (
            "{\"server\": 1}\n",
            "1: expected [SECTION] or KEY = VALUE, found {\"server\": 1}",
        ),
        ("[server\n", "1: unclosed table: expected `]`"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(said), "{text:?}: {complaint}");
    }
}

#[test]
fn a_flag_out_of_its_range_is_named() {
    let complaint = resolved("", |draft| {
        draft.flag(key("limits.connections"), &Value::Count(0));
    });
    assert_eq!(
        complaint.expect_err("too few"),
        "--max-connections: limits.connections: expected 1 to 1000000, found 0"
    );
}

#[test]
fn a_default_is_adjusted_to_a_value_that_is_set() {
    let config =
        config("[limits]\nconnections = 5\nfields = \"1KiB\"\n[budget]\ncpu-time = \"2h\"\n");
    assert_eq!(config.limits.connections_per_address_count, 5);
    assert_eq!(config.http.field_line_bytes, 1024);
    let hours = |duration: Duration| duration.as_secs() / 3600;
    assert_eq!(hours(config.budget.wall_time), 2);
    assert_eq!(hours(config.limits.request_timeout), 2);
}

#[test]
fn the_printed_configuration_is_an_equivalent_file() {
    let text = "[site]\ncode-cache = \"none\"\n[server]\nthreads = 2\nserver-field = false\n\
                [limits]\nrequest-timeout = \"90s\"\n[tls]\ncert = \"c\"\nkey = \"k\"\n\
                [proxy]\ntrusted = [\"::1\", \"10.0.0.0/8\"]\nfields = \"forwarded\"\n";
    let before = resolved(text, |_| {}).expect("it is good");
    let printed = before.show();
    let after = resolved(&printed, |_| {}).expect(&printed);
    assert_eq!(after.config, before.config);
    for line in [
        "threads = 2 # file, line 4",
        "request-timeout = \"90s\" # file, line 7",
        "body = \"64MiB\" # default",
        "code-cache = \"none\" # file, line 2",
    ] {
        assert!(printed.lines().any(|one| one == line), "{line}\n{printed}");
    }
    for key in all_keys() {
        let (_, key) = key.name.split_once('.').expect("a section");
        let is_there = printed.lines().any(|line| {
            line.starts_with(&format!("{key} = ")) || line == format!("# {key} is not set")
        });
        assert!(is_there, "{key}\n{printed}");
    }
}

#[test]
fn a_handlers_own_table_is_read_printed_and_checked() {
    let text = "[handlers.\"users/[id]\"]\nreuse = 7\nmemory = \"1MiB\"\n[handlers.hello]\n\
                wall-time = \"2s\"\n";
    let before = resolved(text, |_| {}).expect("it is good");
    let policy =
        |config: &Config, name: &str| config.policies().expect("no secrets").for_handler(name);
    let users = policy(&before.config, "users/[id]");
    assert_eq!((users.reuse, users.budget.memory_bytes), (7, 1 << 20));
    assert_eq!(policy(&before.config, "hello").reuse, 1);
    let printed = before.show();
    assert!(
        printed.contains("[handlers.\"users/[id]\"] # file, line 1"),
        "{printed}"
    );
    let after = resolved(&printed, |_| {}).expect(&printed);
    assert_eq!(after.config, before.config);

    for (text, said) in [
        (
            "[handlers.hello]\nreuse = 0\n",
            ":1: handlers.hello: reuse: expected 1 to 1000000",
        ),
        (
            "[handlers.hello]\nreused = 2\n",
            ":2: handlers.hello.reused: unknown key; did you mean reuse?",
        ),
        (
            "[handlers.hello]\nmemory = \"1GiB\"\n",
            "memory: expected 64KiB to 256MiB, found 1GiB",
        ),
        ("[handlers]\nreuse = 2\n", "handlers"),
        ("[handler.hello]\nreuse = 2\n", "did you mean [handlers]?"),
    ] {
        assert!(
            complaint(text).contains(said),
            "{text}: {}",
            complaint(text)
        );
    }
}

#[test]
fn a_change_is_applied_or_reported_to_need_a_restart() {
    let old = config("");
    let new = config(
        "[server]\naddr = \"127.0.0.1:1\"\nthreads = 9\n[limits]\nbody = \"1MiB\"\n\
         [budget]\nmemory = \"1MiB\"\ncpu-time = \"1s\"\n[site]\nroot = \"/elsewhere\"\n",
    );
    let (changes, kept) = Changes::between(&old, &new);
    assert_eq!(changes.taken, ["budget.cpu-time", "limits.body"]);
    let later = [
        "budget.memory",
        "server.addr",
        "server.threads",
        "site.root",
    ];
    assert_eq!(changes.later, later);
    assert_eq!(kept.http, new.http);
    assert_eq!(
        (kept.server, kept.site),
        (old.server.clone(), old.site.clone())
    );
    assert_eq!(kept.budget.memory_bytes, old.budget.memory_bytes);
    assert_eq!(kept.budget.cpu_time, new.budget.cpu_time);
    let (changes, _) = Changes::between(&old, &old);
    assert_eq!(changes, Changes::default());
}

#[test]
fn a_good_file_takes_effect_and_a_broken_or_missing_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let sources = Sources {
        site: folder.path().into(),
        file: None,
    };
    let running = ResolvedConfig::load(&sources, |_| {})
        .expect("no file")
        .config;
    let (applied, configs) = mpsc::channel();
    let apply = move |config: &Config| Ok(applied.send(config.clone())?);
    let mut live = Live::new(sources.clone(), running, None, Vec::new(), |_| {}, apply);

    let write = |text: &str| std::fs::write(sources.file(), text).expect("written");
    write("[limits]\nbody = \"1MiB\"\n[server]\nthreads = 9\n");
    live.reload();
    let config = configs.try_recv().expect("it is good");
    assert_eq!(config.http.body_bytes, 1 << 20);
    assert_eq!(config.server.threads, None, "needs a restart");

    write("[limits]\nbody = \"1MB\"\n");
    live.reload();
    std::fs::remove_file(sources.file()).expect("removed");
    live.reload();
    write("[limits]\nbody = \"1MiB\"\n");
    live.reload();
    assert!(configs.try_recv().is_err(), "nothing was different");

    write("");
    live.reload();
    let config = configs.try_recv().expect("the default is back");
    assert_eq!(config.http.body_bytes, http1::Limits::default().body_bytes);
}

#[test]
fn a_password_in_a_url_is_in_no_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let sources = Sources {
        site: folder.path().into(),
        file: None,
    };
    let load = |text: &str| {
        std::fs::write(sources.file(), text).expect("written");
        ResolvedConfig::load(&sources, |_| {})
    };
    let good = "[state]\nurl = \"redis://u:hunter2@127.0.0.1:1/0\"\n[handlers.a]\n\
                environment = { DATABASE = \"postgres://u:hunter2@127.0.0.1/0\" }\n";
    let loaded = load(good).expect("it is good");
    let printed = loaded.show();
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(
        printed.contains("\"redis://***@127.0.0.1:1/0\""),
        "{printed}"
    );
    // A worker process gets the whole value.
    assert!(loaded.config.handover().expect("text").contains("hunter2"));
    for bad in [
        "[state]\nurl = [\"redis://u:hunter2@h\"]\n",
        "[state]\nurl = \"redis://u:hunter2@h\n",
        "[state]\nurl = redis://u:hunter2#3@h\n",
        "[state]\nurl = \"http://u:hunter2@h\"\n",
        "[state]\nurl = \"rediss://u:hunter2@h\"\n",
        "[state]\nurl = \"redis://u:hunter2@h:notaport\"\n",
        "[state]\nurl = \"redis://u:hunter2@h\" \"\n",
        "[state]\nredis://u:hunter2@h\n",
        "[handlers.a]\nallowed-outbound-hosts = [\"https://u:hunter2@h\"]\n",
        "[handlers.a]\nallowed-outbound-hosts = [\"tcp://u:hunter2@h:1/p\"]\n",
        "[handlers.a]\nallowed-outbound-hosts = \"tcp://u:hunter2@h:1\"\n",
    ] {
        let error = load(bad).expect_err(bad);
        let said = format!("{error:#} {error:?}");
        assert!(!said.contains("hunter2"), "{bad}: {said}");
    }
}

#[test]
fn a_file_that_is_named_must_exist() {
    let folder = tempfile::tempdir().expect("a folder");
    let sources = Sources {
        site: folder.path().into(),
        file: Some(folder.path().join("missing.toml")),
    };
    let error = ResolvedConfig::load(&sources, |_| {}).expect_err("it is missing");
    assert!(format!("{error:#}").contains("missing.toml"), "{error:#}");
}
