//! Grants: what the operator lets a handler use besides its request.
//!
//! A handler has nothing by default. Only `wasgi.toml`, which belongs to the operator, grants: a
//! file in `handlers/` can't extend its own rights. The keys of a handler's table have the names of
//! Spin's manifest where the meaning is the same.
//!
//! - [`options`](self::GrantOptions): the keys, as they are written.
//! - [`secret`](self::SecretSource): where a secret value comes from.
//! - [`outbound`](self::OutboundGrants): hosts to connect to, and the addresses that their names
//!   may stand for.
//! - [`Grants`]: one handler's grants with all values read, which its instances use.
//! - [`GrantTable`]: the grants of all handlers, an immutable snapshot.

mod address;
mod bucket;
mod folder;
mod options;
mod outbound;
mod secret;
mod table;
mod variable;

use std::fmt;

use crate::host_name;
use crate::state::BucketId;

pub(crate) use address::Range as AddressRange;
pub(crate) use bucket::BucketOptions;
pub(crate) use folder::{FolderGrant, FolderOptions};
pub(crate) use options::{GrantError, GrantOptions, not_granted, start_at};
pub(crate) use outbound::{
    Host, HostOptions, MAX_NAME_BYTES, OutboundGrants, Prohibited, Protocol,
};
pub(crate) use secret::SecretSource;
pub(crate) use table::GrantTable;

/// Returns the line of `wasgi.toml` that begins the table of a handler, which has this full name.
pub(crate) fn table_header(handler: &str) -> String {
    let (host, handler) = host_name::split(handler);
    let front = host.map_or(String::new(), |host| format!("hosts.{}.", toml_key(host)));
    format!("[{front}handlers.{}]", toml_key(handler))
}

/// Returns a key of TOML, in quotes if it needs them.
fn toml_key(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match !key.is_empty() && key.bytes().all(is_bare) {
        true => key.to_owned(),
        false => toml::Value::from(key).to_string(),
    }
}

/// What one handler may use. Immutable: a change of `wasgi.toml` or of a secret creates a new one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Grants {
    variables: Vec<(String, String)>,
    has_secrets: bool,
    folders: Vec<FolderGrant>,
    outbound: OutboundGrants,
    buckets: Vec<BucketOptions>,
}

#[cfg(test)]
impl Grants {
    /// Returns grants of these entries of `allowed-outbound-hosts`.
    pub(crate) fn of_hosts(hosts: &[&str]) -> Self {
        let hosts: Vec<HostOptions> = hosts
            .iter()
            .map(|host| HostOptions::Plain((*host).into()))
            .collect();
        let none = std::collections::BTreeMap::new();
        let options = GrantOptions {
            environment: &none,
            secrets: &std::collections::BTreeMap::new(),
            files: &[],
            allowed_outbound_hosts: &hosts,
            key_value: &[],
        };
        options.read().expect("they are good")
    }
}

impl Grants {
    /// Returns the environment variables, secrets included, sorted by name.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Reports whether one of the variables is a secret, so that none may be stored.
    pub fn has_secrets(&self) -> bool {
        self.has_secrets
    }

    /// Returns the folders.
    pub fn folders(&self) -> &[FolderGrant] {
        &self.folders
    }

    /// Returns the hosts that it may connect to.
    pub fn outbound(&self) -> &OutboundGrants {
        &self.outbound
    }

    /// Returns the key-value buckets.
    pub(crate) fn buckets(&self) -> &[BucketOptions] {
        &self.buckets
    }

    /// Returns the bucket that the handler with this full name has under a name, if it is granted.
    pub(crate) fn bucket(&self, handler: &str, name: &str) -> Option<BucketId> {
        let bucket = self.buckets.iter().find(|bucket| bucket.name() == name)?;
        Some(bucket.id(handler))
    }
}

impl fmt::Debug for Grants {
    /// Omits the values of variables: some are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.variables.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Grants")
            .field("variables", &names)
            .field("folders", &self.folders)
            .field("outbound", &self.outbound)
            .field("buckets", &self.buckets)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_header_is_valid_toml_for_any_handler() {
        for (name, header) in [
            ("hello", "[handlers.hello]"),
            ("users/[id]", "[handlers.\"users/[id]\"]"),
            ("", "[handlers.\"\"]"),
            ("a b", "[handlers.\"a b\"]"),
            (
                "//a.test/users/[id]",
                "[hosts.\"a.test\".handlers.\"users/[id]\"]",
            ),
        ] {
            assert_eq!(table_header(name), header);
            let table: toml::Table = toml::from_str(header).expect("good");
            let (host, name) = host_name::split(name);
            let site = host.map_or(&table, |host| {
                table["hosts"][host].as_table().expect("a table")
            });
            let handlers = site["handlers"].as_table();
            assert!(handlers.is_some_and(|it| it.contains_key(name)));
        }
    }
}
