//! The arguments of `wasgi pull`.

use std::path::PathBuf;

use clap::Args;

use super::SiteFlag;

/// `wasgi pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// The artifact: oci://HOST/NAME@sha256:DIGEST, or oci://HOST/NAME:TAG
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
    /// The file to write [default: none, only the store has it]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Connect to the registry without TLS, as to one at a loopback address
    #[arg(long)]
    pub plain_http: bool,
    /// The site, whose keys of `[oci]` apply.
    #[command(flatten)]
    pub site: SiteFlag,
}
