//! The arguments of `wasgi check` and `wasgi run`, which use handlers without a server.

use std::path::PathBuf;

use clap::Args;

use super::SiteFlag;
use super::flags::{Flags, OfTrial};
use crate::config::ResolvedConfig;

/// `wasgi check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The handlers: files, or the folders of applications
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Path and query of the requests, percent-encoded [default: the handler's route]
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write what the handlers log to standard error
    #[arg(long)]
    pub log: bool,
    /// The site and the limits.
    #[command(flatten)]
    pub trial: Trial,
}

/// `wasgi run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The handler: a file, an application's folder, or its name in the handlers folder (api/users)
    #[arg(value_name = "HANDLER")]
    pub handler: PathBuf,
    /// The method [default: GET, or POST with a body]
    #[arg(value_name = "METHOD")]
    pub method: Option<String>,
    /// Path and query, percent-encoded [default: the handler's route, such as /hello or /users/1]
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
    /// A field of the request; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub fields: Vec<String>,
    /// The request's body; @FILE for the contents of a file, @- for standard input
    #[arg(short, long, value_name = "DATA")]
    pub data: Option<String>,
    /// Don't print the response's head
    #[arg(long)]
    pub body_only: bool,
    /// The site and the limits.
    #[command(flatten)]
    pub trial: Trial,
}

/// The site and the limits for a handler that runs without a server: from `wasgi.toml` and from
/// flags.
#[derive(Debug, Args)]
pub struct Trial {
    /// Where the site is.
    #[command(flatten)]
    pub place: SiteFlag,
    /// The flags of keys.
    #[command(flatten)]
    keys: Flags<OfTrial>,
}

impl Trial {
    /// Loads the configuration that a server of the site would have, except that flags take
    /// precedence over the settings of individual handlers, too: here they apply to the handlers
    /// under test.
    ///
    /// # Errors
    ///
    /// Fails if the file or a flag is invalid; see [`ResolvedConfig::load`].
    pub(crate) fn load(&self) -> anyhow::Result<ResolvedConfig> {
        ResolvedConfig::load(&self.place.sources(), |draft| {
            self.keys.set(draft);
            draft.clear_for_handlers(self.keys.keys());
        })
    }
}
