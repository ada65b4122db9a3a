//! The arguments of `wasgi dev`.

use clap::Args;

use super::Serve;

/// `wasgi dev`.
#[derive(Clone, Debug, Args)]
pub struct Dev {
    /// The arguments of `wasgi serve`.
    #[command(flatten)]
    pub serve: Serve,
    /// Open the site in the browser
    #[arg(long)]
    pub open: bool,
}
