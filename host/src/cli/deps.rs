//! The arguments of `wasgi deps`.

use std::path::PathBuf;

use clap::Args;

use super::Site;
use crate::config::ResolvedConfig;

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
    /// The folder of handlers [default: SITE/handlers]
    #[arg(long, value_name = "FOLDER")]
    pub handlers: Option<PathBuf>,
    /// The folder for compiled code; `none` disables it [default: wasgi/code in the user's cache]
    #[arg(long, value_name = "FOLDER")]
    pub code_cache: Option<PathBuf>,
}

impl Deps {
    /// Loads the configuration of the site.
    ///
    /// # Errors
    ///
    /// Fails if the file or a flag is invalid; see [`ResolvedConfig::load`].
    pub fn load(&self) -> anyhow::Result<ResolvedConfig> {
        let site = Site {
            site: self.site.clone(),
            config: self.config.clone(),
            root: None,
            handlers: self.handlers.clone(),
            code_cache: self.code_cache.clone(),
            allow_overlap: false,
        };
        ResolvedConfig::load(&site.sources(), |draft| site.set(draft))
    }
}
