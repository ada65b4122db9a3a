//! The section `[admin]` of `wasgi.toml`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::addr::AdminAddr;

/// The section `[admin]` of `wasgi.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminOptions {
    /// The address of the admin listener. Off by default.
    pub addr: Option<AdminAddr>,
}

impl AdminOptions {
    /// Resolves a relative path against `folder`.
    pub fn start_at(&mut self, folder: &Path) {
        if let Some(AdminAddr::Unix(path)) = &mut self.addr
            && !folder.as_os_str().is_empty()
        {
            *path = folder.join(&*path);
        }
    }
}
