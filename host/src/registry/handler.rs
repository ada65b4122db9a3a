//! One version of one handler.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::metrics::HandlerCounts;
use crate::permits::{Permit, Permits};
use crate::router::Route;

/// A compiled handler and its file. A new version of the file becomes a new `Handler`.
#[derive(Debug)]
pub(crate) struct Handler<P> {
    /// The file's path in the handlers folder without its extension: `hello`, `users/[id]`,
    /// `api/index`; for a virtual host with its name in front: `//example.com/hello`. The log and
    /// the access log use it to identify the handler.
    pub name: Arc<str>,
    /// The route that the handler serves.
    pub route: Route,
    /// The file's path in the handlers folder, with `/` between its parts: `users/[id].wasm`.
    pub file: String,
    /// The program that the loader created from the file.
    pub program: P,
    /// The content that `program` was created from.
    pub version: Version,
    /// What all versions of the name share.
    pub usage: Arc<Usage>,
}

/// What all versions of a handler share.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Counts the requests in the handler, including those that finish on an old version.
    pub permits: Arc<Permits>,
    /// Counts the requests that have not started, because another one computes.
    pub queue: Arc<Permits>,
    /// Counts what has happened.
    pub counts: HandlerCounts,
}

/// The content of a handler's file: two files with the same bytes have the same version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Version([u8; 32]);

impl<P> Handler<P> {
    /// Acquires a permit for one more request, unless `limit` requests are active already.
    pub(crate) fn enter(&self, limit: usize) -> Option<Permit> {
        Permits::try_acquire(&self.usage.permits, limit)
    }
}

impl Version {
    /// Returns the version of `bytes`.
    pub(crate) fn from_content(bytes: &[u8]) -> Version {
        Version(*blake3::hash(bytes).as_bytes())
    }

    /// Reads `source` to its end and returns the version of its bytes.
    ///
    /// # Errors
    ///
    /// Fails if reading from the source fails.
    pub(crate) fn read(source: impl io::Read) -> io::Result<Version> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(source)?;
        Ok(Version(*hasher.finalize().as_bytes()))
    }

    /// Returns the BLAKE3 hash of the bytes, for use in keys.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first 48 bits in hexadecimal: enough to distinguish the versions of a site.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(6)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
impl Handler<()> {
    /// Creates a handler for tests from a file `<stem>.wasm`.
    pub(crate) fn example(stem: &str) -> Handler<()> {
        Handler {
            name: stem.into(),
            route: Route::parse(stem).expect("a route"),
            file: format!("{stem}.wasm"),
            program: (),
            version: Version::from_content(stem.as_bytes()),
            usage: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_bytes() {
        assert_eq!(Version::from_content(b"a"), Version::from_content(b"a"));
        assert_ne!(Version::from_content(b"a"), Version::from_content(b"b"));
        // The BLAKE3 hash of the empty input, from the reference's test vectors.
        assert_eq!(Version::from_content(b"").to_string(), "af1349b9f5f9");
    }
}
