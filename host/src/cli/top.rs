//! The arguments of `wasgi top`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use wasgi_units::duration;

use super::SiteArgument;
use crate::admin::AdminAddr;
use crate::config::ResolvedConfig;

/// The minimum interval: shorter ones would mostly measure the questions.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// `wasgi top`.
#[derive(Debug, Args)]
pub struct Top {
    /// Where the site is.
    #[command(flatten)]
    pub place: SiteArgument,
    /// The address of the admin listener [default: admin.addr of wasgi.toml]
    #[arg(long, value_name = "ADDR", value_parser = AdminAddr::parse)]
    pub admin: Option<AdminAddr>,
    /// The time between two looks at the server; rates are of that time
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    pub interval: Duration,
    /// End after one interval
    #[arg(long)]
    pub once: bool,
    /// Print JSON; without --once, one line per interval
    #[arg(long)]
    pub json: bool,
}

impl Top {
    /// Loads the configuration of the site. Also returns its file.
    ///
    /// # Errors
    ///
    /// Fails if the file is invalid; see [`ResolvedConfig::load`].
    pub(crate) fn load(&self) -> anyhow::Result<(ResolvedConfig, PathBuf)> {
        let sources = self.place.sources();
        Ok((ResolvedConfig::load(&sources, |_| {})?, sources.file()))
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        short if short < MIN_INTERVAL => Err(format!(
            "shorter than {}, the minimum",
            duration::show(MIN_INTERVAL)
        )),
        interval => Ok(interval),
    }
}
