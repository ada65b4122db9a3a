//! The site that a command is for: its folder, its configuration file, and how they are loaded.

use std::path::PathBuf;

use clap::Args;

use super::flags::{Flags, OfFolders, OfSite};
use crate::config::{Draft, ResolvedConfig, Sources};

/// The site of a command whose first argument is something else: `--site` and `--config`, also for
/// its subcommands.
#[derive(Clone, Debug, Args)]
pub struct SiteFlag {
    /// The folder with wasgi.toml and handlers
    #[arg(long, value_name = "SITE", default_value = ".", global = true)]
    pub site: PathBuf,
    /// The configuration file; flags take precedence over it [default: SITE/wasgi.toml, if it
    /// exists]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

/// The site of a command that takes nothing else: an argument, and `--config`.
#[derive(Clone, Debug, Args)]
pub struct SiteArgument {
    /// The folder with html, handlers and wasgi.toml, or a bundle, or a bundle's oci:// reference
    #[arg(value_name = "SITE", default_value = ".")]
    pub site: PathBuf,
    /// The configuration file; flags take precedence over it [default: SITE/wasgi.toml, if it
    /// exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A whole site: its folders and its configuration file.
#[derive(Clone, Debug, Args)]
pub struct Site {
    /// Where the site is.
    #[command(flatten)]
    pub place: SiteArgument,
    /// The flags of its keys.
    #[command(flatten)]
    keys: Flags<OfSite>,
}

/// The site of a command that uses handlers' sources: its folders, without the pages.
#[derive(Clone, Debug, Args)]
pub struct SourcesSite {
    /// Where the site is.
    #[command(flatten)]
    pub place: SiteFlag,
    /// The flags of its folders.
    #[command(flatten)]
    keys: Flags<OfFolders>,
}

impl SiteFlag {
    /// Returns the sources of the configuration.
    pub fn sources(&self) -> Sources {
        Sources {
            site: self.site.clone(),
            file: self.config.clone(),
        }
    }
}

impl SiteArgument {
    /// Returns the sources of the configuration.
    pub fn sources(&self) -> Sources {
        Sources {
            site: self.site.clone(),
            file: self.config.clone(),
        }
    }
}

impl Site {
    /// Overrides the file's values with the flags that were given.
    pub(super) fn set(&self, draft: &mut Draft) {
        self.keys.set(draft);
    }

    /// Returns the sources of the configuration.
    pub fn sources(&self) -> Sources {
        self.place.sources()
    }

    /// Loads the configuration of a site, for commands that do not serve. Also returns a log
    /// message for each overlap of its folders that is allowed.
    ///
    /// # Errors
    ///
    /// Fails if the file or a flag is invalid, or if visitors could read files that are not pages;
    /// see [`ResolvedConfig::load`] and [`ResolvedConfig::check_layout`].
    pub(crate) fn load(&self) -> anyhow::Result<(ResolvedConfig, Vec<String>)> {
        self.load_with(|draft| self.set(draft))
    }

    /// Loads the configuration of a site with these flags, like [`load`](Self::load).
    pub(super) fn load_with(
        &self,
        flags: impl FnOnce(&mut Draft),
    ) -> anyhow::Result<(ResolvedConfig, Vec<String>)> {
        let sources = self.sources();
        let resolved = ResolvedConfig::load(&sources, flags)?;
        let overlaps = resolved.check_layout(&sources)?;
        Ok((resolved, overlaps))
    }
}

impl SourcesSite {
    /// Loads the configuration of the site.
    ///
    /// # Errors
    ///
    /// Fails if the file or a flag is invalid; see [`ResolvedConfig::load`].
    pub(crate) fn load(&self) -> anyhow::Result<ResolvedConfig> {
        ResolvedConfig::load(&self.place.sources(), |draft| self.keys.set(draft))
    }
}
