//! The good handlers of a soak: one of each kind, each of which is replaced by new versions.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use builder::Workspace;
use builder::handlers::{build_package, build_tracked};
use builder::toolchain::{CommandToolchains, GuestToolchain};
use processes::step;

use crate::server::{CONFIG, ECHO, HELLO, Site};

pub(super) const WASI_HTTP: &str = "/wasi-http";
pub(super) const CGI: &str = "/cgi";
pub(super) const PYTHON: &str = "/version-py";
pub(super) const JAVASCRIPT: &str = "/version-js";

/// The package of the handler for `wasi:http`.
const WASI_HTTP_PACKAGE: &str = "wasi-http-hello";

/// The handler that fails, and the statuses of its failures: a trap, an instance that exceeds its
/// memory, and one that exceeds its processor time.
pub(super) const FAULTS: [(&str, u16); 3] = [
    ("/fail?how=panic", 500),
    ("/fail?how=memory", 500),
    ("/fail?how=loop", 504),
];

/// The limits of the handler that fails: it reaches them soon, so that its failures take a small
/// part of a processor.
const FAULT_CONFIG: &str = "[handlers.fail]\ncpu-time = \"100ms\"\nmemory = \"16MiB\"\n";

/// The text in a script's response before the number of its version.
pub(super) const VERSION: &str = "version ";

/// A page that is larger than the buffers of a connection, for clients that read slowly.
pub(super) const LARGE_PAGE: &str = "/large.bin";
pub(super) const LARGE_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// A handler that is replaced by new versions.
#[derive(Debug)]
struct Replaced {
    target: &'static str,
    file: PathBuf,
    source: Source,
}

/// How a version is made from its number.
#[derive(Debug)]
enum Source {
    /// A component, to which a custom section is added.
    Component(Vec<u8>),
    Script(fn(u64) -> String),
}

/// All good handlers.
#[derive(Debug)]
pub(super) struct Handlers {
    all: Vec<Replaced>,
    aside: PathBuf,
    /// The section of the configuration that names the runtimes of scripts, if there are any.
    site_config: String,
    /// The number of versions that have been written.
    pub(super) written: u64,
}

impl Handlers {
    /// Builds the handlers and adds them to the site, with its configuration.
    ///
    /// # Errors
    ///
    /// Fails if a handler does not build, or a file can't be written.
    pub(super) fn install(workspace: &Workspace, site: &Site) -> Result<Self> {
        let toolchain = GuestToolchain::ensure(&workspace.root)?;
        // Without a toolchain for C, a handler of an earlier build remains.
        build_tracked(
            workspace,
            &toolchain,
            Some(&CommandToolchains::find(workspace)),
        )?;
        let wasi_http = build_package(workspace, &toolchain, WASI_HTTP_PACKAGE)?;
        let mut handlers = Self {
            all: Vec::new(),
            aside: site.folder().join("next-version"),
            site_config: String::new(),
            written: 0,
        };
        let demo = |target: &str| site.originals.join(format!("{}.wasm", &target[1..]));
        for (target, file) in [
            (HELLO, demo(HELLO)),
            (ECHO, demo(ECHO)),
            (WASI_HTTP, wasi_http),
            (CGI, demo(CGI)),
        ] {
            if target == CGI && !file.is_file() {
                step("NOT IN THE LOAD: a CGI handler, since clang for WASI is missing");
                continue;
            }
            let bytes = fs::read(&file);
            let bytes = bytes.with_context(|| format!("can't read {}", file.display()))?;
            handlers.all.push(Replaced {
                target,
                file: site.handlers().join(format!("{}.wasm", &target[1..])),
                source: Source::Component(bytes),
            });
        }
        let runtimes = workspace.target.join("runtime");
        for (target, language, ending, script) in [
            (PYTHON, "python", "py", python as fn(u64) -> String),
            (JAVASCRIPT, "javascript", "js", javascript),
        ] {
            if !runtimes.join(language).is_dir() {
                step(format!(
                    "NOT IN THE LOAD: a script in {language}, since {} is missing: run cargo \
                     xtask runtime",
                    runtimes.join(language).display()
                ));
                continue;
            }
            handlers.all.push(Replaced {
                target,
                file: site.handlers().join(format!("{}.{ending}", &target[1..])),
                source: Source::Script(script),
            });
        }
        for _ in 0..handlers.all.len() {
            handlers.replace_next()?;
        }
        fs::copy(
            site.originals.join("fail.wasm"),
            site.handlers().join("fail.wasm"),
        )
        .context("can't copy fail.wasm")?;
        fs::write(
            site.pages().join(&LARGE_PAGE[1..]),
            vec![b'x'; LARGE_PAGE_BYTES],
        )?;
        if runtimes.is_dir() {
            handlers.site_config = format!("[site]\nruntime = \"{}\"\n", runtimes.display());
        }
        fs::write(site.config(), &handlers.site_config)?;
        Ok(handlers)
    }

    /// Sets the limits of the soak. Without them, a server may take as long as it needs to compile
    /// the runtimes of scripts.
    ///
    /// # Errors
    ///
    /// Fails if the configuration can't be written.
    pub(super) fn limit(&self, site: &Site) -> Result<()> {
        let config = format!("{}{CONFIG}{FAULT_CONFIG}", self.site_config);
        fs::write(site.config(), config).context("can't write the configuration")
    }

    /// Returns the targets of all handlers.
    pub(super) fn targets(&self) -> Vec<&'static str> {
        self.all.iter().map(|handler| handler.target).collect()
    }

    /// Replaces the next handler by a new version.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be written.
    pub(super) fn replace_next(&mut self) -> Result<()> {
        self.written += 1;
        let count = self.all.len() as u64;
        let next = usize::try_from(self.written % count)?;
        let handler = &self.all[next];
        fs::write(&self.aside, handler.source.version(self.written))
            .context("can't write a version")?;
        fs::rename(&self.aside, &handler.file).context("can't replace a handler")
    }
}

impl Source {
    fn version(&self, number: u64) -> Vec<u8> {
        match self {
            Self::Component(bytes) => [bytes, &*custom_section(number)].concat(),
            Self::Script(script) => script(number).into_bytes(),
        }
    }
}

/// Returns a custom section: its ID, its length, the length of its name, and the name.
fn custom_section(number: u64) -> Vec<u8> {
    let name = format!("{VERSION}{number:020}");
    let length = name.len() as u8;
    [&[0, length + 1, length], name.as_bytes()].concat()
}

fn python(number: u64) -> String {
    format!(
        "def app(environ, start_response):\n    \
             start_response(\"200 OK\", [(\"Content-Type\", \"text/plain\")])\n    \
             return [b\"{VERSION}{number}\\n\"]\n"
    )
}

fn javascript(number: u64) -> String {
    format!(
        "export default {{\n  fetch() {{\n    return new Response(\"{VERSION}{number}\\n\");\n  \
         }},\n}};\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_a_component_has_one_more_section() {
        let section = custom_section(7);
        assert_eq!(section[0], 0, "the ID of a custom section");
        assert_eq!(usize::from(section[1]), section.len() - 2, "its length");
        assert_eq!(usize::from(section[2]), section.len() - 3, "its name's");
        assert!(section.ends_with(b"version 00000000000000000007"));
        assert!(section.len() < 128, "a length of one byte");
    }

    #[test]
    fn a_script_responds_with_its_version() {
        assert!(python(7).contains("[b\"version 7\\n\"]"), "{}", python(7));
        assert!(javascript(7).contains("Response(\"version 7\\n\")"));
    }
}
