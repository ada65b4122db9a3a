//! Handlers that are served from their sources: the runtimes that load them, and sites with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use super::command::{code_cache, run, wasgi};
use super::eventually;
use super::server::Server;
use super::site::Site;

/// A language whose sources are served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    JavaScript,
    Python,
}

impl Language {
    /// Returns whether the runtime is built, and compiles it into the cache, once for all tests.
    /// Prints a line if it is not built.
    #[track_caller]
    pub(crate) fn has_runtime(self) -> bool {
        let file = match self {
            Language::JavaScript => "javascript/javascript.wasm",
            Language::Python => "python/python.wasm",
        };
        let runtimes = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../runtime");
        if !runtimes.join(file).is_file() {
            eprintln!("SKIPPED: there is no runtime; `cargo xtask runtime` builds it");
            return false;
        }
        self.compile_runtime();
        true
    }

    /// Serves a site with these files in the handlers folder and this configuration. Returns none
    /// if the runtime is not built.
    #[track_caller]
    pub(crate) fn serve(self, files: &[(&str, &str)], settings: &str) -> Option<(Site, Server)> {
        let site = self.site(files, settings)?;
        let server = Server::new(&site);
        Some((site, server))
    }

    /// Replaces a handler's file several times, and expects that each version is served that can be
    /// loaded. `answering` returns a version that responds with a text. `broken` are versions that
    /// can't be loaded, with what the log says of each; the one before is then served on.
    #[track_caller]
    pub(crate) fn expect_reloads(
        self,
        file: &str,
        answering: impl Fn(&str) -> String,
        broken: &[(&str, &[&str])],
    ) {
        let Some((site, server)) = self.serve(&[(file, &answering("one"))], "") else {
            return;
        };
        let route = format!("/{}", file.split('.').next().unwrap_or(file));
        until(&server, &route, "one");
        site.write_handler(file, answering("two"));
        until(&server, &route, "two");
        for (content, lines) in broken {
            site.write_handler(file, content);
            for line in *lines {
                logs(&server, line);
            }
            assert_eq!(server.get(&route).text(), "two");
        }
        site.write_handler(file, answering("three"));
        until(&server, &route, "three");
        fs::remove_file(site.handlers().join(file)).expect("removed");
        until_status(&server, &route, 404);
        server.stop();
    }

    /// Creates a site with these files in the handlers folder and this configuration. Returns none
    /// if the runtime is not built.
    pub(crate) fn site(self, files: &[(&str, &str)], settings: &str) -> Option<Site> {
        if !self.has_runtime() {
            return None;
        }
        let site = Site::new();
        for (name, content) in files {
            site.write_handler(name, content);
        }
        fs::write(site.path().join("wasgi.toml"), settings).expect("written");
        Some(site)
    }

    #[track_caller]
    fn compile_runtime(self) {
        static JAVASCRIPT: Once = Once::new();
        static PYTHON: Once = Once::new();
        let (once, name, script) = match self {
            Language::JavaScript => (&JAVASCRIPT, "first.js", "export default { fetch() {} };\n"),
            Language::Python => (
                &PYTHON,
                "first.py",
                "def app(environ, start_response): pass\n",
            ),
        };
        once.call_once(|| {
            let site = Site::new();
            site.write_handler(name, script);
            // On a slow machine with all tests at once.
            let settings = "[compile]\nwall-time = \"30m\"\ncpu-time = \"30m\"\n";
            fs::write(site.path().join("wasgi.toml"), settings).expect("written");
            compile(&site);
        });
    }
}

/// Compiles a site's handlers into the cache, one site at a time and without a time limit: an
/// interpreter is large, and a server whose start is awaited must find it compiled.
#[track_caller]
pub(crate) fn compile(site: &Site) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut routes = wasgi(["routes", "--code-cache"]);
    routes.arg(code_cache()).arg(site.path());
    let done = routes.output().expect("the program starts");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
}

/// Waits for a line about a script in the server's output. If a load fails while the server starts,
/// the line is on the standard output.
#[track_caller]
pub(crate) fn logs(server: &Server, text: &str) {
    eventually(text, || {
        let has = |lines: Vec<String>| lines.iter().any(|line| line.contains(text));
        has(server.error_log().lines()) || has(server.access_log().lines())
    });
}

/// Waits until a path is answered with this text.
#[track_caller]
pub(crate) fn until(server: &Server, path: &str, text: &str) {
    eventually(&format!("{path} answers {text}"), || {
        server.get(path).text() == text
    });
}

/// Waits until a path is answered with this status.
#[track_caller]
pub(crate) fn until_status(server: &Server, path: &str, status: u16) {
    eventually(&format!("{path} answers {status}"), || {
        server.get(path).status() == status
    });
}

/// Requests a path twice, and checks the words of both responses: the first `own_count` of the
/// `count` words differ, and the others are equal. Returns the words of the first response.
#[track_caller]
pub(crate) fn expect_own_words(
    server: &Server,
    path: &str,
    own_count: usize,
    count: usize,
) -> Vec<String> {
    let words = || {
        let response = server.get(path);
        let words = response.text().split_whitespace().map(str::to_owned);
        words.collect::<Vec<_>>()
    };
    let (one, other) = (words(), words());
    assert_eq!(
        (one.len(), other.len()),
        (count, count),
        "{one:?} {other:?}"
    );
    for (place, (word, also)) in one.iter().zip(&other).enumerate() {
        let is_own = place < own_count;
        assert_eq!(word != also, is_own, "{place}: {one:?} {other:?}");
    }
    one
}

pub(crate) fn component(name: &str) -> PathBuf {
    let guests = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../guests");
    let folder = if name.starts_with("python-") {
        "cases"
    } else {
        "python-demos"
    };
    guests.join(folder).join(format!("{name}.wasm"))
}

/// Installs packages for an application in a folder. Returns whether that was possible: it needs
/// pip or uv, and an index.
pub(crate) fn has_packages(site: &Site, name: &str, requirements: &str) -> bool {
    let folder = site.handlers().join(name);
    fs::write(folder.join("requirements.txt"), requirements).expect("written");
    let site = site.path().to_str().expect("text");
    let cache = code_cache();
    let cache = cache.to_str().expect("text");
    let done = run(["deps", name, "--site", site, "--code-cache", cache]);
    done.status.success()
}

/// Encodes a text for a query.
pub(crate) fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    encoded.collect()
}
