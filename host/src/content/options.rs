//! What can be chosen about compression: the section `[compress]` of the configuration.

use serde::{Deserialize, Serialize};

use crate::units;

/// What is compressed on the way to a client that takes it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CompressOptions {
    /// Whether text from the folder of pages is.
    pub pages: bool,
    /// Whether text from handlers is. It costs the server's time for each answer, and what reflects
    /// a request beside a secret should not be compressed at all (the attack is called BREACH):
    /// hence not unless it is asked for.
    pub handlers: bool,
    /// Shorter bodies are not compressed, in bytes. 1 KiB: the answer fits one packet anyway.
    #[serde(rename = "min-size", with = "units::size")]
    pub min_bytes: u64,
    /// What the cache of pages compressed here may hold, in bytes; 0 for none, then each request
    /// compresses anew. 32 MiB.
    #[serde(rename = "cache", with = "units::size")]
    pub cache_bytes: usize,
}

impl Default for CompressOptions {
    fn default() -> Self {
        Self {
            pages: true,
            handlers: false,
            min_bytes: 1024,
            cache_bytes: 32 * 1024 * 1024,
        }
    }
}
