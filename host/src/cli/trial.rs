//! The arguments of `wasgi check` and `wasgi run`, which use handlers without a server, and the
//! site that they name.

use std::path::{Path, PathBuf};

use clap::Args;

use super::SiteFlag;
use super::flags::{Flags, OfTrial};
use crate::config::{Config, HostSite, ResolvedConfig};
use crate::drive::Mount;

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
    /// Use the handlers, settings and grants of this virtual host
    #[arg(long, value_name = "NAME", conflicts_with = "site.handlers")]
    host: Option<String>,
    /// The flags of keys.
    #[command(flatten)]
    keys: Flags<OfTrial>,
}

/// The site whose handlers run without a server.
#[derive(Debug)]
pub(crate) struct TrialSite {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Its configuration.
    pub(crate) config: Config,
    host: Option<HostSite>,
}

impl Trial {
    /// Loads the configuration that a server of the site, or of the virtual host, would have,
    /// except that flags take precedence over the settings of individual handlers, too: here they
    /// apply to the handlers under test.
    ///
    /// # Errors
    ///
    /// Fails if the file or a flag is invalid, see [`ResolvedConfig::load`], or if there is no such
    /// host.
    pub(crate) fn load(&self) -> anyhow::Result<TrialSite> {
        let resolved = ResolvedConfig::load(&self.place.sources(), |draft| {
            self.keys.set(draft);
            draft.clear_for_handlers(self.keys.keys());
        })?;
        let (folder, config) = (self.place.site.clone(), resolved.config);
        let Some(asked) = &self.host else {
            return Ok(TrialSite {
                folder,
                config,
                host: None,
            });
        };
        let (host, config) = config
            .host_site(asked)
            .map_err(|complaint| anyhow::anyhow!("{complaint}"))?;
        Ok(TrialSite {
            folder: host.folder.clone().unwrap_or(folder),
            config,
            host: Some(host),
        })
    }
}

impl TrialSite {
    /// Returns the name of the virtual host, if it is one.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_ref().map(|host| host.name.as_str())
    }

    /// Returns the route of a handler in `file`, as in the site.
    pub(crate) fn mount(&self, file: &Path) -> Mount {
        let mount = Mount::for_file(file, self.config.site.handlers());
        match &self.host {
            Some(host) => mount.of_host(&host.name, &host.authority),
            None => mount,
        }
    }
}
