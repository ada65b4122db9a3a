//! What turns a handler's file into a program. The engine implements it.

use std::fmt;
use std::path::Path;

use super::cancel::CancelToken;
use super::later::Later;
use crate::metrics::LoadSteps;
use crate::registry::Version;

/// Turns the bytes of a file into a runnable program.
pub(crate) trait Load: Send + Sync + 'static {
    /// The type that is served. Dropped on the reloader's thread after its last request.
    type Program: Send + Sync + 'static;

    /// Compiles and checks the content of a handler's file. Called on worker threads, concurrently.
    /// Returns soon after the request is [cancelled](LoadRequest::cancel); it then returns any
    /// error, whose text is ignored, or the program if that is already complete.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not a handler that can run here; the text is shown to its author.
    /// Also fails if the system lacks a resource ([`Shortage`](super::Shortage)).
    fn load(&self, request: &LoadRequest<'_>) -> anyhow::Result<Self::Program>;

    /// Returns the version of a handler whose content has the version `content`: another one if its
    /// program depends on more than the content. After a change of that,
    /// [`Reload::look_again`](super::Reload::look_again) is called.
    fn version(&self, _name: &str, _path: &Path, content: Version) -> Version {
        content
    }

    /// Returns the program of this version if it is available without the file's bytes. Called
    /// before [`load`](Self::load), under the same conditions.
    fn recall(&self, _path: &Path, _version: Version) -> Option<Self::Program> {
        None
    }

    /// Called when `next`, which was [recalled](Self::recall), replaces a program of the same
    /// version that is served.
    fn replaced(&self, _served: &Self::Program, _next: &Self::Program) {}

    /// Waits until no other load of this version is in progress, in this process or in another one
    /// with the same storage, or until the load is cancelled. The return value is held while
    /// [`load`](Self::load) and its deferred work ([`Later`]) run.
    fn turn(&self, _version: Version, _cancel: &CancelToken) -> impl Sized {}
}

/// A handler's file to load.
#[derive(Clone, Copy)]
pub(crate) struct LoadRequest<'a> {
    /// The handler's name: the file's path in the handlers folder without its extension.
    pub name: &'a str,
    /// The absolute path of the file, or of the folder of an application.
    pub path: &'a Path,
    /// The complete content of the file; for a folder, the paths and hashes of all its files.
    pub bytes: &'a [u8],
    /// The version of `bytes`, see [`Load::version`].
    pub version: Version,
    /// Cancelled when the result is no longer wanted: there is a newer version of the file, or
    /// another load needs the permit.
    pub cancel: &'a CancelToken,
    /// Takes work to run after the program is served.
    pub later: &'a Later,
    /// Takes the step that begins.
    pub steps: &'a LoadSteps,
    /// Returns whether the file or folder still has this version. For a folder, the first call
    /// reads all its files; later calls return the same.
    pub is_unchanged: &'a dyn Fn() -> bool,
}

impl fmt::Debug for LoadRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadRequest")
            .field("path", &self.path)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
