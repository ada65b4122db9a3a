//! `wasgi check` and `wasgi run`: handlers without a server.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Limits, Site, mebibytes, seconds};
use crate::config::Settled;

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
    /// The surroundings.
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
    /// The surroundings.
    #[command(flatten)]
    pub trial: Trial,
}

/// What a handler has around it, when it is tried without a server: the budget of the site in this
/// folder, and what flags say.
#[derive(Debug, Args)]
pub struct Trial {
    /// The file that says what differs from the defaults [default: wasgi.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder of handlers [default: handlers]
    #[arg(long, value_name = "FOLDER")]
    pub handlers: Option<PathBuf>,
    /// Where compiled handlers are kept; `none` for nowhere
    /// [default: wasgi/code in the user's cache folder]
    #[arg(long, value_name = "FOLDER")]
    pub code_cache: Option<PathBuf>,
    /// Memory of one instance [default: 128]
    #[arg(long, value_name = "MIB", value_parser = mebibytes)]
    pub max_memory: Option<usize>,
    /// Time from a request's head to its response's end [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub max_wall_time: Option<Duration>,
    /// Time a request may compute, waiting not counted [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub max_cpu_time: Option<Duration>,
}

impl Trial {
    /// The configuration that a server of this folder would have.
    ///
    /// # Errors
    ///
    /// The file or a flag is wrong; see [`Settled::load`].
    pub fn load(&self) -> anyhow::Result<Settled> {
        let site = Site {
            site: ".".into(),
            config: self.config.clone(),
            root: None,
            handlers: self.handlers.clone(),
            code_cache: self.code_cache.clone(),
        };
        let limits = Limits {
            max_memory: self.max_memory,
            max_wall_time: self.max_wall_time,
            max_cpu_time: self.max_cpu_time,
            ..Limits::default()
        };
        Settled::load(&site.sources(), |draft| {
            site.set(draft);
            limits.set_budget(draft);
        })
    }
}
