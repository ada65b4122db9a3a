//! The arguments of `wasgi build`.

use std::path::PathBuf;

use clap::Args;

use super::SourcesSite;

/// `wasgi build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The handler: a script, an application's folder, or its name in the handlers folder
    #[arg(value_name = "HANDLER")]
    pub handler: PathBuf,
    /// The file to write [default: the handler's name and .wasm, in the current folder]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Spend more time on a handler whose requests cost less
    #[arg(long)]
    pub release: bool,
    /// The site.
    #[command(flatten)]
    pub site: SourcesSite,
}
