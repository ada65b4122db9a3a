//! The section `[oci]` of the configuration.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::credentials;
use super::host::is_host;
use crate::loopback;

/// The section `[oci]`: registries of handlers and bundles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct OciOptions {
    /// The folder in which pulled artifacts are stored. Defaults to `wasgi/oci` in the user's cache
    /// folder.
    pub store: Option<PathBuf>,
    /// The file with passwords of registries, in docker's format. Defaults to docker's own.
    pub credentials: Option<PathBuf>,
    /// The registries that are reached without TLS, besides those at loopback addresses.
    pub plain_http: Vec<String>,
}

impl OciOptions {
    /// Resolves relative paths by `resolve`.
    pub(crate) fn start_at(&mut self, resolve: impl Fn(&Path) -> PathBuf) {
        for path in [&mut self.store, &mut self.credentials]
            .into_iter()
            .flatten()
        {
            *path = resolve(path);
        }
    }

    /// Returns the file with passwords, which may be missing unless it is set.
    pub(crate) fn credentials_file(&self) -> Option<PathBuf> {
        self.credentials.clone().or_else(credentials::default_file)
    }

    /// Returns whether a registry is reached without TLS.
    pub(super) fn is_plain(&self, registry: &str) -> bool {
        loopback::is_authority(registry.as_bytes())
            || self.plain_http.iter().any(|host| host == registry)
    }

    /// Returns the first entry of `plain-http` that is no host.
    pub(crate) fn wrong_host(&self) -> Option<&str> {
        let hosts = self.plain_http.iter().map(String::as_str);
        hosts.into_iter().find(|host| !is_host(host))
    }
}
