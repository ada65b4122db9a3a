//! Whether a server confines itself: `server.confine`.

use serde::{Deserialize, Serialize};

/// Whether a serving process gives up the rights that it doesn't need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfineMode {
    /// No.
    #[default]
    Off,
    /// As far as the kernel supports it. The log says what is missing.
    BestEffort,
    /// Yes. If the kernel doesn't support it, the server doesn't start.
    Required,
}
