//! The arguments of `wasgi upgrade`.

use clap::Args;

use super::Site;

/// `wasgi upgrade`.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// The site.
    #[command(flatten)]
    pub site: Site,
}
