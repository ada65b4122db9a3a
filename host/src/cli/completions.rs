//! The arguments of `wasgi completions`.

use clap::Args;
use clap_complete::Shell;

/// `wasgi completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}
