//! The lines of the source in the stack of a guest that has trapped, for a developer: `wasgi dev`,
//! `wasgi run` and `wasgi test`.
//!
//! Debugging information is as untrusted as the code, so a compiling process reads it, when a guest
//! has trapped. It gets the file again, and only if that is still the version that runs.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::compile::Compiler;
use super::shared_code::SharedCodes;
use crate::mapped_bytes::MappedBytes;
use crate::permits::Permits;
use crate::registry::Version;
use crate::regular_file;
use crate::reload::{CancelToken, MAX_HANDLER_BYTES};

pub(super) use wasgi_component::lines::Line;

/// The maximum time for the lines of one stack. A Rust handler with its debugging information of 2
/// MB takes some 50 ms, and as much for the start of a process.
const MAX_TIME: Duration = Duration::from_secs(5);

/// The maximum number of stacks whose lines are looked up at the same time. Others have none: a
/// developer reads one.
const MAX_LOOKUPS: usize = 2;

/// What looks up lines, if that is enabled, for all programs.
#[derive(Clone, Debug)]
pub(super) struct LineFinder {
    /// The folder of handlers, absolute: files in it are named relative to it.
    handlers: PathBuf,
    lookups: Arc<Permits>,
}

/// What looks up the lines of one program.
#[derive(Debug)]
pub(super) struct Lines {
    finder: LineFinder,
    compiler: Compiler,
    shared: SharedCodes,
    path: PathBuf,
    version: Version,
}

impl LineFinder {
    pub(super) fn new(handlers: &Path) -> Self {
        Self {
            handlers: handlers
                .canonicalize()
                .unwrap_or_else(|_| handlers.to_owned()),
            lookups: Arc::default(),
        }
    }

    /// Returns what looks up the lines of the program in a file.
    pub(super) fn of_program(
        &self,
        compiler: &Compiler,
        shared: &SharedCodes,
        path: &Path,
        version: Version,
    ) -> Arc<Lines> {
        Arc::new(Lines {
            finder: self.clone(),
            compiler: compiler.clone(),
            shared: shared.clone(),
            path: path.to_owned(),
            version,
        })
    }
}

impl Lines {
    /// Returns the lines of each position in the program's code, the innermost inlined function
    /// first. Files of handlers begin with `handlers/`. Returns no lines if the file has none, or
    /// has changed.
    ///
    /// Must be called in the context of a tokio runtime.
    pub(super) async fn find(self: &Arc<Self>, positions: Vec<u64>) -> Vec<Vec<Line>> {
        let count = positions.len();
        let permit = Permits::try_acquire(&self.finder.lookups, MAX_LOOKUPS);
        let Some(permit) = permit else {
            return vec![Vec::new(); count];
        };
        let cancel = CancelToken::new();
        let (lines, token) = (self.clone(), cancel.clone());
        let work = spawn_blocking(move || {
            let _permit = permit;
            lines.read(&positions, &token)
        });
        let found = timeout(MAX_TIME, work).await;
        // Has no effect if the work has ended.
        cancel.cancel();
        match found {
            Ok(Ok(Some(found))) => found,
            _ => vec![Vec::new(); count],
        }
    }

    fn read(&self, positions: &[u64], cancel: &CancelToken) -> Option<Vec<Vec<Line>>> {
        let mut file = regular_file::open(&self.path).ok()?;
        let metadata = file.metadata().ok().filter(Metadata::is_file)?;
        let bytes = MappedBytes::read(&mut file, metadata.len(), MAX_HANDLER_BYTES).ok()??;
        if Version::from_content(&bytes) != self.version {
            return None;
        }
        let found = self.compiler.lines(&bytes, positions, cancel, &self.shared);
        let mut found = found
            .inspect_err(|error| tracing::debug!("{}: no lines: {error}", self.path.display()))
            .ok()?;
        for line in found.iter_mut().flatten() {
            if let Ok(relative) = Path::new(&line.file).strip_prefix(&self.finder.handlers) {
                line.file = format!("handlers/{}", relative.display());
            }
        }
        Some(found)
    }
}
