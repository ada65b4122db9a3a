//! The arguments of `wasgi build`.

use std::path::PathBuf;

use clap::Args;

use super::flags::{Flags, OfFolders};
use crate::config::{ResolvedConfig, Sources};

/// `wasgi build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The handler: a script, an application's folder, or its name in the handlers folder
    #[arg(value_name = "HANDLER")]
    pub handler: PathBuf,
    /// The file to write [default: the handler's name and .wasm, in the current folder]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Spend more time on a handler whose requests cost less
    #[arg(long)]
    pub release: bool,
    /// The folder with wasgi.toml and handlers
    #[arg(long, value_name = "SITE", default_value = ".")]
    pub site: PathBuf,
    /// The configuration file [default: SITE/wasgi.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The flags of its folders.
    #[command(flatten)]
    keys: Flags<OfFolders>,
}

impl Build {
    /// Loads the configuration of the site.
    ///
    /// # Errors
    ///
    /// Fails if the file or a flag is invalid; see [`ResolvedConfig::load`].
    pub(crate) fn load(&self) -> anyhow::Result<ResolvedConfig> {
        let sources = Sources {
            site: self.site.clone(),
            file: self.config.clone(),
        };
        ResolvedConfig::load(&sources, |draft| self.keys.set(draft))
    }
}
