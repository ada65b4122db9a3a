//! The files that a comparison needs.

use std::path::PathBuf;

use anyhow::Result;

use crate::arguments::Arguments;

/// The files to measure with, which `cargo xtask bench` builds.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The repository's root.
    pub(super) root: PathBuf,
    /// Cargo's target folder.
    pub(super) target: PathBuf,
    /// The server, unless the options name another.
    pub(super) wasgi: PathBuf,
    /// The component for `wasmtime serve`.
    pub(super) wasi_http: PathBuf,
}

impl Inputs {
    /// Consumes their arguments.
    pub(super) fn take(arguments: &mut Arguments) -> Result<Self> {
        Ok(Self {
            root: arguments.need("--root")?,
            target: arguments.need("--target")?,
            wasgi: arguments.need("--wasgi")?,
            wasi_http: arguments.need("--wasi-http")?,
        })
    }
}
