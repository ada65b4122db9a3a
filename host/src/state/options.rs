//! The section `[state]` of `wasgi.toml`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::units;

/// The name of the folder of the embedded store in the site's folder.
const NAME: &str = "state";

/// The keys of the section `[state]` that say where the buckets of handlers are stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StateOptions {
    /// The folder of the embedded store. Defaults to `state` in the site's folder.
    pub folder: Option<PathBuf>,
    /// The URL of a Redis server, which is used instead of the embedded store.
    pub url: Option<String>,
    /// The front of the names of all keys in Redis, so that several sites can use one server.
    pub prefix: String,
}

/// The keys of the section `[state]` that limit buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// The maximum length of a key, in bytes.
    #[serde(rename = "key-size", with = "units::size")]
    pub key_bytes: u64,
    /// The maximum size of a value, in bytes.
    #[serde(rename = "value-size", with = "units::size")]
    pub value_bytes: u64,
    /// The maximum number of keys in a bucket.
    #[serde(rename = "keys")]
    pub keys_count: u64,
    /// The maximum size of a bucket, in bytes: its keys and values together.
    #[serde(rename = "bucket-size", with = "units::size")]
    pub bucket_bytes: u64,
    /// The maximum size of all buckets of the store together, in bytes.
    #[serde(rename = "total-size", with = "units::size")]
    pub total_bytes: u64,
}

impl Default for Limits {
    /// The size of a value is that of a page with its pictures left out; a bucket has room for the
    /// data of a small site. All buckets together don't fill a usual disk, and sixteen of them may
    /// be full.
    fn default() -> Self {
        Self {
            key_bytes: 1 << 10,
            value_bytes: 1 << 20,
            keys_count: 1_000_000,
            bucket_bytes: 256 << 20,
            total_bytes: 4 << 30,
        }
    }
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            folder: None,
            url: None,
            prefix: "wasgi:".into(),
        }
    }
}

impl StateOptions {
    /// Fills in unset values for the site in `folder`.
    pub fn settle(&mut self, folder: &Path) {
        self.folder
            .get_or_insert_with(|| match folder == Path::new(".") {
                true => NAME.into(),
                false => folder.join(NAME),
            });
    }

    /// Returns the folder of the embedded store, if that is used.
    pub fn used_folder(&self) -> Option<&Path> {
        self.url.is_none().then(|| self.folder())
    }

    /// Returns the folder of the embedded store.
    pub fn folder(&self) -> &Path {
        self.folder.as_deref().unwrap_or(Path::new(NAME))
    }
}
