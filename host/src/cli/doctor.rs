//! The arguments of `wasgi doctor`.

use clap::Args;

use super::Site;

/// `wasgi doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The site.
    #[command(flatten)]
    pub site: Site,
}
