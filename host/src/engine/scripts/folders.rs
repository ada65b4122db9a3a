//! The folders that an instance of a script can read.

use std::path::PathBuf;
use std::sync::Arc;

/// The folders that an instance of a script can read, each with its name in the sandbox.
pub(in crate::engine) type Folders = Arc<[(PathBuf, &'static str)]>;
