//! The arguments of `wasgi bundle`.

use std::path::PathBuf;

use clap::Args;

use super::Site;

/// `wasgi bundle`.
#[derive(Debug, Args)]
pub struct Bundle {
    /// The file to write [default: the site's name with .wasgi, in the current folder]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Append the bundle to this program: one file that serves the site
    #[arg(long)]
    pub self_contained: bool,
    /// List the files of a bundle: hash, length and name
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub list: Option<PathBuf>,
    /// Read all of a bundle, and compare it with its hashes
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub check: Option<PathBuf>,
    /// The site.
    #[command(flatten)]
    pub site: Site,
}
