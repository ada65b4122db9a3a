//! The arguments of `wasgi state`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::SiteFlag;
use crate::config::ResolvedConfig;

/// `wasgi state`.
#[derive(Debug, Args)]
pub struct StateArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: StateCommand,
    /// Where the site is.
    #[command(flatten)]
    pub place: SiteFlag,
}

/// The commands of `wasgi state`. A bucket is `HANDLER/NAME`, `handler:HANDLER/NAME` or
/// `shared:NAME`.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// List all buckets with their sizes, or the keys of one bucket
    List {
        /// The bucket: HANDLER/NAME or shared:NAME
        #[arg(value_name = "BUCKET")]
        bucket: Option<String>,
    },
    /// Print the value of a key
    Get {
        /// The bucket: HANDLER/NAME or shared:NAME
        #[arg(value_name = "BUCKET")]
        bucket: String,
        /// The key
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Set the value of a key
    Set {
        /// The bucket: HANDLER/NAME or shared:NAME
        #[arg(value_name = "BUCKET")]
        bucket: String,
        /// The key
        #[arg(value_name = "KEY")]
        key: String,
        /// The value [default: standard input]
        #[arg(value_name = "VALUE", allow_hyphen_values = true)]
        value: Option<String>,
    },
    /// Delete keys
    Delete {
        /// The bucket: HANDLER/NAME or shared:NAME
        #[arg(value_name = "BUCKET")]
        bucket: String,
        /// The keys
        #[arg(value_name = "KEY", required_unless_present = "all")]
        keys: Vec<String>,
        /// Delete all keys of the bucket
        #[arg(long, conflicts_with = "keys")]
        all: bool,
    },
    /// Print all keys and values as JSON, one object per line
    Export {
        /// The bucket: HANDLER/NAME or shared:NAME [default: all]
        #[arg(value_name = "BUCKET")]
        bucket: Option<String>,
    },
    /// Set all keys and values of an export, and keep others
    Import {
        /// The file [default: standard input]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Copy all buckets, as they are now, to a new database file
    Copy {
        /// The file to create: a state.redb for another site, for instance
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl StateArguments {
    /// Loads the configuration of the site.
    ///
    /// # Errors
    ///
    /// Fails if the file is invalid; see [`ResolvedConfig::load`].
    pub(crate) fn load(&self) -> anyhow::Result<ResolvedConfig> {
        ResolvedConfig::load(&self.place.sources(), |_| {})
    }
}
