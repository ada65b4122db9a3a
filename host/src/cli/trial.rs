//! The arguments of `wasgi check` and `wasgi run`, which use handlers without a server.

use std::path::PathBuf;

use clap::Args;

use super::{Budget, Site};
use crate::config::ResolvedConfig;

/// `wasgi check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The handlers' files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Path and query that the requests ask for, percent-encoded [default: as in a site]
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show on standard error what the handlers log
    #[arg(long)]
    pub log: bool,
    /// The site and the limits.
    #[command(flatten)]
    pub trial: Trial,
}

/// `wasgi run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The handler: a file, or its name in the handlers folder (hello, api/users)
    #[arg(value_name = "HANDLER")]
    pub handler: PathBuf,
    /// The method [default: GET, or POST with a body]
    #[arg(value_name = "METHOD")]
    pub method: Option<String>,
    /// Path and query, percent-encoded [default: as in a site, such as /hello or /users/1]
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
    /// A field of the request; can be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub fields: Vec<String>,
    /// The request's body; @FILE for a file's content, @- for standard input
    #[arg(short, long, value_name = "DATA")]
    pub data: Option<String>,
    /// Leave out the answer's head
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
    /// The folder that holds wasgi.toml and handlers
    #[arg(long, value_name = "SITE", default_value = ".")]
    pub site: PathBuf,
    /// The file that says what differs from the defaults, for all handlers or for one; flags go
    /// before both [default: SITE/wasgi.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder of handlers [default: SITE/handlers]
    #[arg(long, value_name = "FOLDER")]
    pub handlers: Option<PathBuf>,
    /// Where compiled handlers are kept; `none` for nowhere
    /// [default: wasgi/code in the user's cache folder]
    #[arg(long, value_name = "FOLDER")]
    pub code_cache: Option<PathBuf>,
    /// The limits of a request.
    #[command(flatten)]
    pub budget: Budget,
}

impl Trial {
    /// Loads the configuration that a server of the site would have, except that flags take
    /// precedence over the settings of individual handlers, too: here they apply to the handlers
    /// under test.
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
        ResolvedConfig::load(&site.sources(), |draft| {
            site.set(draft);
            self.budget.set(draft);
            draft.change_handlers(|handler| self.budget.go_before(handler));
        })
    }
}
