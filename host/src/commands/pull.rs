//! `wasgi pull`: downloads a handler or a bundle from a registry.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::error_log;
use crate::bundle::signature_of;
use crate::cli;
use crate::config::ResolvedConfig;
use crate::oci::{self, Pulling, Reference};

/// How often a terminal shows the progress.
const SHOW_INTERVAL: Duration = Duration::from_millis(100);

/// Runs `wasgi pull`.
///
/// # Errors
///
/// Fails if the artifact can't be downloaded, or if the file can't be written.
pub fn pull(arguments: &cli::Pull) -> anyhow::Result<ExitCode> {
    let reference = Reference::parse(&arguments.reference).map_err(anyhow::Error::msg)?;
    let config = ResolvedConfig::load(&arguments.site.sources(), |_| {})?.config;
    let mut options = config.oci.clone();
    if arguments.plain_http {
        options.plain_http.push(reference.registry().to_owned());
    }
    let store = config.oci_store()?;
    let errors = error_log::start(&config)?;
    let pulling = Pulling {
        reference: &reference,
        options: &options,
        store: &store,
        is_over: &|| false,
    };
    let mut shown = Shown::new(reference.short_name());
    let pulled = oci::pull(pulling, &mut |arrived, all| shown.show(arrived, all));
    drop(shown);
    errors.flush();
    let (pulled, pinned) = pulled?;
    let (kind, bytes) = (pulled.kind().as_str(), pulled.bytes());
    match &arguments.output {
        None => {
            let file = pulled.file().display();
            eprintln!("{kind}, {bytes} bytes, in {file}");
        }
        Some(output) => {
            let signature = signature_of(pulled.file());
            if signature.is_file() {
                // A server that follows the bundle needs its signature first.
                copy(&signature, &signature_of(output))?;
            }
            copy(pulled.file(), output)?;
            eprintln!("wrote {}: {kind}, {bytes} bytes", output.display());
        }
    }
    println!("{pinned}");
    Ok(ExitCode::SUCCESS)
}

/// Copies a file by a rename: what reads `to` never finds a part of it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let cant = || format!("{}: can't be written", to.display());
    ensure!(!to.is_dir(), "{}: it is a folder", cant());
    let name = to.file_name().with_context(cant)?;
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(format!(".{}.part", std::process::id()));
    let aside = Aside(to.with_file_name(aside));
    let mut file = File::create_new(&aside.0).with_context(cant)?;
    std::io::copy(&mut File::open(from).with_context(cant)?, &mut file).with_context(cant)?;
    file.sync_all().with_context(cant)?;
    fs::rename(&aside.0, to).with_context(cant)
}

/// An unfinished file, which is removed on drop unless it was renamed.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // It is gone if it was renamed.
        let _ = fs::remove_file(&self.0);
    }
}

/// The progress on a terminal: one line, which is removed on drop.
struct Shown<'n> {
    name: &'n str,
    is_terminal: bool,
    last: Option<Instant>,
}

impl<'n> Shown<'n> {
    fn new(name: &'n str) -> Self {
        Self {
            name,
            is_terminal: std::io::stderr().is_terminal(),
            last: None,
        }
    }

    fn show(&mut self, arrived: u64, all: u64) {
        let is_recent = |last: Instant| last.elapsed() < SHOW_INTERVAL;
        if !self.is_terminal || self.last.is_some_and(is_recent) {
            return;
        }
        self.last = Some(Instant::now());
        let percent = arrived.saturating_mul(100) / all.max(1);
        let (arrived, all) = (arrived >> 10, all.div_ceil(1 << 10));
        let name = self.name;
        // An error means that the terminal is gone.
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{name}: {percent} %, {arrived} of {all} KiB"
        );
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if self.last.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
