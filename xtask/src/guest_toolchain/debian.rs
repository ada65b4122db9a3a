//! Builds guests without rustup's target: Debian's `rustc-web` compiles the standard library from
//! `rust-web-src` for `wasm32-wasip2`, with the C library `wasi-libc`.
//!
//! `wasi-libc` must come from the backports suite, since the release's own is too old for the
//! target. The linkers are those of the workspace's toolchain, which has them even without the
//! target's library.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use processes::step;

use super::Rustc;

/// The compiler of `rustc-web`.
const RUSTC: &str = "/usr/bin/rustc";

/// The folder in which `wasi-libc` installs the target's libraries.
const LIBRARIES: &str = "/usr/lib/wasm32-wasip2";

/// The standard library's sources in a compiler's sysroot.
const STD_SOURCES: &str = "lib/rustlib/src/rust/library/Cargo.toml";

/// The files in which apt's package sources are configured.
const SOURCES_LIST: &str = "/etc/apt/sources.list";
const SOURCES_DIRECTORY: &str = "/etc/apt/sources.list.d";

/// The time limit of one call of apt: the packages have 150 MB.
const APT_TIME_LIMIT: Duration = Duration::from_secs(900);

/// Debian's packages, installed completely.
#[derive(Debug)]
pub(crate) struct Toolchain {
    release: String,
    component_linker: PathBuf,
    module_linker: PathBuf,
}

impl Toolchain {
    /// Finds the files that the packages install, and the linkers of `own`.
    ///
    /// # Errors
    ///
    /// Names the first file that is missing or too old.
    pub(super) fn find(own: &Rustc) -> Result<Self> {
        let exists = |path: PathBuf| {
            ensure!(path.exists(), "{} is missing", path.display());
            Ok(path)
        };
        exists(RUSTC.into())?;
        exists(Path::new(LIBRARIES).join("libc.a"))?;
        let rustc = Rustc::query_program(OsStr::new(RUSTC), Path::new("/"))?;
        exists(rustc.sysroot.join(STD_SOURCES))?;
        let wanted = env!("CARGO_PKG_RUST_VERSION");
        ensure!(
            is_at_least(&rustc.release, wanted),
            "{RUSTC} is {}, the workspace needs {wanted}",
            rustc.release
        );
        Ok(Self {
            release: rustc.release,
            component_linker: exists(own.linkers().join("wasm-component-ld"))?,
            module_linker: exists(own.linkers().join("gcc-ld/wasm-ld"))?,
        })
    }

    /// Returns the environment in which cargo builds a guest with it.
    pub(super) fn vars(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let mut flags = OsString::from("-Clink-self-contained=no -L");
        flags.push(LIBRARIES);
        flags.push(" -Clink-arg=--wasm-ld-path=");
        flags.push(&self.module_linker);
        [
            ("RUSTC", RUSTC.into()),
            // Cargo's option to build the standard library is unstable.
            ("RUSTC_BOOTSTRAP", "1".into()),
            ("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort".into()),
            (
                "CARGO_TARGET_WASM32_WASIP2_LINKER",
                self.component_linker.clone().into(),
            ),
            ("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", flags),
        ]
        .into_iter()
    }

    pub(super) fn describe(&self) -> String {
        format!("Debian's rustc-web {}", self.release)
    }
}

/// Installs the packages.
///
/// # Errors
///
/// Fails if this is not Debian, the user is not root, or apt fails.
pub(super) fn install() -> Result<()> {
    let release = release()?;
    add_backports(&release)?;
    let libraries = format!("wasi-libc/{}", release.backports());
    install_packages(&["rustc-web", "rust-web-src", &libraries])
}

/// Installs the packages for handlers in C.
///
/// # Errors
///
/// Fails if this is not Debian, the user is not root, or apt fails.
pub(super) fn install_for_c() -> Result<()> {
    release()?;
    install_packages(&["clang", "lld", "libclang-rt-dev-wasm32", "wasi-libc"])
}

/// Returns the running release. Fails if packages can't be installed.
fn release() -> Result<Release> {
    let about = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = Release::parse(&about).context("this is not Debian")?;
    let user = processes::text_of(Command::new("id").arg("-u"))?;
    ensure!(user.trim() == "0", "only root can install packages");
    Ok(release)
}

fn install_packages(packages: &[&str]) -> Result<()> {
    step("apt-get update");
    processes::run_quietly(apt().arg("update"), APT_TIME_LIMIT)?;
    step(format!("apt-get install {}", packages.join(" ")));
    // No package may be removed: a `rustc` that another program needs conflicts with this one.
    let options = ["install", "--yes", "--no-install-recommends", "--no-remove"];
    processes::run_quietly(apt().args(options).args(packages), APT_TIME_LIMIT)
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
    command
}

/// Adds the backports suite to apt's sources, with the same server as the release itself.
fn add_backports(release: &Release) -> Result<()> {
    let suite = release.backports();
    let sources = package_sources()?;
    if sources.iter().any(|source| source.has_suite(&suite)) {
        return Ok(());
    }
    let Some(derived) = sources.iter().find_map(|source| source.with_suite(release)) else {
        bail!("no package source for {} is known to apt", release.codename);
    };
    let path = Path::new(SOURCES_DIRECTORY).join(format!("{suite}.{}", derived.extension()));
    step(format!("adding {}", path.display()));
    fs::write(&path, derived.text()).with_context(|| format!("can't write {}", path.display()))
}

/// Returns the package sources that apt reads.
fn package_sources() -> Result<Vec<Source>> {
    let mut paths = vec![PathBuf::from(SOURCES_LIST)];
    if let Ok(entries) = fs::read_dir(SOURCES_DIRECTORY) {
        paths.extend(entries.flatten().map(|entry| entry.path()));
    }
    paths.sort();
    let mut sources = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        let wrap = match path.extension().and_then(OsStr::to_str) {
            Some("list") => Source::Lines,
            Some("sources") => Source::Stanzas,
            _ => continue,
        };
        let text = fs::read_to_string(path);
        sources.push(wrap(
            text.with_context(|| format!("can't read {}", path.display()))?,
        ));
    }
    Ok(sources)
}

/// A file of package sources, in one of apt's two formats (sources.list(5)).
#[derive(Debug, PartialEq)]
enum Source {
    /// `deb [options] uri suite component…`, one per line.
    Lines(String),
    /// Fields such as `URIs: …`, in stanzas that are separated by empty lines.
    Stanzas(String),
}

impl Source {
    fn text(&self) -> &str {
        match self {
            Self::Lines(text) | Self::Stanzas(text) => text,
        }
    }

    fn extension(&self) -> &'static str {
        match self {
            Self::Lines(_) => "list",
            Self::Stanzas(_) => "sources",
        }
    }

    /// Returns whether the suite is named outside of comments.
    fn has_suite(&self, suite: &str) -> bool {
        let lines = self
            .text()
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        lines
            .flat_map(str::split_whitespace)
            .any(|word| word == suite)
    }

    /// Returns the release's entry in this file, changed to its backports.
    fn with_suite(&self, release: &Release) -> Option<Self> {
        match self {
            Self::Lines(text) => text
                .lines()
                .find_map(|line| line_with_suite(line, release))
                .map(Self::Lines),
            Self::Stanzas(text) => text
                .split("\n\n")
                .find_map(|s| stanza_with_suite(s, release))
                .map(Self::Stanzas),
        }
    }
}

fn line_with_suite(line: &str, release: &Release) -> Option<String> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let uri = words.next()?;
    if words.next()? != release.codename {
        return None;
    }
    let options = if options.is_empty() {
        String::new()
    } else {
        format!("[{options}] ")
    };
    Some(format!("deb {options}{uri} {} main\n", release.backports()))
}

fn stanza_with_suite(stanza: &str, release: &Release) -> Option<String> {
    let fields = fields_of(stanza);
    let value = |name: &str| {
        fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    let names_release = |text: &String| text.split_whitespace().any(|s| s == release.codename);
    if !value("Types")?.split_whitespace().any(|kind| kind == "deb")
        || !value("Suites").is_some_and(names_release)
        || value("Enabled").is_some_and(|value| value.trim().eq_ignore_ascii_case("no"))
    {
        return None;
    }
    let mut derived = String::new();
    for (name, value) in &fields {
        let value = match name.to_ascii_lowercase().as_str() {
            "types" => " deb",
            "suites" => &format!(" {}", release.backports()),
            "components" => " main",
            _ => value,
        };
        derived.push_str(&format!("{name}:{value}\n"));
    }
    Some(derived)
}

/// Returns the fields of a stanza. A value includes its continuation lines, which start with a
/// space.
fn fields_of(stanza: &str) -> Vec<(&str, String)> {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in stanza.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name, value.to_owned()));
        }
    }
    fields
}

/// A release of Debian.
#[derive(Debug, PartialEq)]
struct Release {
    /// For example `bookworm`.
    codename: String,
}

impl Release {
    /// Parses os-release(5). Returns none for another distribution, or for a Debian without a
    /// codename.
    fn parse(about: &str) -> Option<Self> {
        let value = |key: &str| {
            let value = about
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            Some(value.trim().trim_matches('"'))
        };
        if value("ID")? != "debian" {
            return None;
        }
        value("VERSION_CODENAME").map(|codename| Self {
            codename: codename.to_owned(),
        })
    }

    fn backports(&self) -> String {
        format!("{}-backports", self.codename)
    }
}

/// Returns whether a version such as `1.96.0` is at least one such as `1.95`.
fn is_at_least(version: &str, wanted: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let plain = text.split(['-', '+', '~']).next().unwrap_or_default();
        plain
            .split('.')
            .map(|part| part.parse().unwrap_or(0))
            .collect()
    };
    numbers(version) >= numbers(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bookworm() -> Release {
        Release {
            codename: "bookworm".into(),
        }
    }

    #[test]
    fn a_stanza_becomes_one_for_backports() {
        let source = Source::Stanzas(
            "Types: deb\nURIs: http://a.example/security\nSuites: bookworm-security\n\
             Components: main\n\n# The release.\nTypes: deb deb-src\nURIs: http://a.example/debian\n\
             Suites: bookworm bookworm-updates\nComponents: main contrib\n\
             Signed-By:\n -----BEGIN-----\n .\n abc\n"
                .into(),
        );
        let derived = source
            .with_suite(&bookworm())
            .expect("the second stanza fits");
        assert_eq!(
            derived.text(),
            "Types: deb\nURIs: http://a.example/debian\nSuites: bookworm-backports\n\
             Components: main\nSigned-By:\n -----BEGIN-----\n .\n abc\n"
        );
        assert!(derived.has_suite("bookworm-backports"));
        assert!(!source.has_suite("bookworm-backports"));
    }

    #[test]
    fn a_stanza_that_is_off_or_for_sources_is_passed_over() {
        for stanza in [
            "Types: deb\nEnabled: no\nURIs: http://a.example\nSuites: bookworm\nComponents: main\n",
            "Types: deb-src\nURIs: http://a.example\nSuites: bookworm\nComponents: main\n",
            "Types: deb\nURIs: http://a.example\nSuites: trixie\nComponents: main\n",
            "",
        ] {
            assert_eq!(
                Source::Stanzas(stanza.into()).with_suite(&bookworm()),
                None,
                "{stanza}"
            );
        }
    }

    #[test]
    fn a_line_becomes_one_for_backports() {
        let source = Source::Lines(
            "# deb http://no.example bookworm main\n\
             deb-src http://no.example bookworm main\n\
             deb http://no.example bookworm-updates main\n\
             deb [signed-by=/k.gpg arch=amd64] http://a.example/debian bookworm main contrib\n"
                .into(),
        );
        let derived = source.with_suite(&bookworm()).expect("the last line fits");
        assert_eq!(
            derived.text(),
            "deb [signed-by=/k.gpg arch=amd64] http://a.example/debian bookworm-backports main\n"
        );
    }

    #[test]
    fn a_suite_in_a_comment_does_not_count() {
        let source = Source::Lines("# deb http://a.example bookworm-backports main\n".into());
        assert!(!source.has_suite("bookworm-backports"));
    }

    #[test]
    fn only_debian_is_debian() {
        let debian = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(Release::parse(debian), Some(bookworm()));
        let other = "ID=fedora\nID_LIKE=debian\nVERSION_CODENAME=x\n";
        assert_eq!(Release::parse(other), None);
        assert_eq!(Release::parse("ID=debian\n"), None);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_at_least("1.96.0", "1.95"));
        assert!(is_at_least("1.95.0", "1.95"));
        assert!(is_at_least("1.100.0", "1.95"));
        assert!(!is_at_least("1.94.1", "1.95"));
        assert!(is_at_least("1.95.0-nightly", "1.95"));
    }
}
