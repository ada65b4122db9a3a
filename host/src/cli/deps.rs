//! The arguments of `wasgi deps`.

use std::path::PathBuf;

use clap::Args;

use super::SourcesSite;

/// `wasgi deps`.
#[derive(Debug, Args)]
pub struct Deps {
    /// Applications: folders, or names in the handlers folder [default: all in that folder]
    #[arg(value_name = "APPLICATION")]
    pub applications: Vec<PathBuf>,
    /// The site.
    #[command(flatten)]
    pub site: SourcesSite,
}
