//! The arguments of `wasgi deps`.

use std::path::PathBuf;

use clap::Args;

use super::flags::{Flags, OfFolders};
use crate::config::{ResolvedConfig, Sources};

/// `wasgi deps`.
#[derive(Debug, Args)]
pub struct Deps {
    /// Applications: folders, or names in the handlers folder [default: all in that folder]
    #[arg(value_name = "APPLICATION")]
    pub applications: Vec<PathBuf>,
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

impl Deps {
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
