//! The section `[bundle]` of the configuration.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The section `[bundle]`, which only the operator's configuration file may have: a bundle that
/// said who may sign it would say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BundleOptions {
    /// The key that must have signed the bundle, as minisign prints it. Without it, bundles need no
    /// signature.
    pub public_key: Option<String>,
    /// The folder to which bundles are unpacked. Defaults to `wasgi/bundles` in the user's cache
    /// folder.
    pub cache: Option<PathBuf>,
}

impl BundleOptions {
    /// Resolves relative paths by `resolve`.
    pub(crate) fn start_at(&mut self, resolve: impl Fn(&Path) -> PathBuf) {
        if let Some(cache) = &mut self.cache {
            *cache = resolve(cache);
        }
    }
}
