//! The keys of a handler's grants in `wasgi.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{
    BucketOptions, FolderOptions, Grants, HostOptions, OutboundGrants, SecretSource, variable,
};

/// The maximum size of a handler's variables together, names included, in bytes: each request that
/// reads them copies them into its instance. Linux allows a program 128 KiB per variable.
const MAX_VARIABLES_BYTES: usize = 128 * 1024;

/// The maximum number of a handler's folders: each is opened for each request that uses files.
const MAX_FOLDERS_COUNT: usize = 16;

/// The maximum number of a handler's hosts: each connection is compared with all of them.
const MAX_HOSTS_COUNT: usize = 256;

/// The maximum number of a handler's key-value buckets: they are searched one by one.
const MAX_BUCKETS_COUNT: usize = 64;

/// The grants of one handler, as written. Borrowed from its table.
#[derive(Clone, Copy, Debug)]
pub struct GrantOptions<'o> {
    /// Variables with their values.
    pub environment: &'o BTreeMap<String, String>,
    /// Variables whose values are kept elsewhere.
    pub secrets: &'o BTreeMap<String, SecretSource>,
    /// Folders.
    pub files: &'o [FolderOptions],
    /// Hosts to connect to.
    pub allowed_outbound_hosts: &'o [HostOptions],
    /// Key-value buckets.
    pub key_value: &'o [BucketOptions],
}

/// An error in a handler's grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantError {
    /// The key in the handler's table.
    pub key: &'static str,
    /// The reason, which never contains a secret value.
    pub why: String,
}

impl<'o> GrantOptions<'o> {
    /// Checks the names and paths, without reading a secret or a folder.
    ///
    /// # Errors
    ///
    /// Fails at the first one that is wrong.
    pub fn check(&self) -> Result<(), GrantError> {
        for (name, value) in self.environment {
            let checked = variable::check_name(name).and_then(|()| variable::check_value(value));
            checked.map_err(|why| error("environment", format!("{name:?}: {why}")))?;
        }
        for name in self.secrets.keys() {
            variable::check_name(name)
                .map_err(|why| error("secrets", format!("{name:?}: {why}")))?;
            if self.environment.contains_key(name) {
                let why = format!("{name} is also in `environment`");
                return Err(error("secrets", why));
            }
        }
        if self.files.len() > MAX_FOLDERS_COUNT {
            let why = format!("more than {MAX_FOLDERS_COUNT} folders");
            return Err(error("files", why));
        }
        for (at, folder) in self.files.iter().enumerate() {
            let earlier = self.files.get(..at).unwrap_or_default();
            folder.check(earlier).map_err(|why| error("files", why))?;
        }
        self.outbound()?;
        if self.key_value.len() > MAX_BUCKETS_COUNT {
            let why = format!("more than {MAX_BUCKETS_COUNT} buckets");
            return Err(error("key-value", why));
        }
        for (at, bucket) in self.key_value.iter().enumerate() {
            let earlier = self.key_value.get(..at).unwrap_or_default();
            let checked = bucket.check(earlier);
            checked.map_err(|why| error("key-value", why))?;
        }
        Ok(())
    }

    /// Parses the hosts.
    fn outbound(&self) -> Result<OutboundGrants, GrantError> {
        let hosts = self.allowed_outbound_hosts;
        let error = |why| error("allowed-outbound-hosts", why);
        if hosts.len() > MAX_HOSTS_COUNT {
            return Err(error(format!("more than {MAX_HOSTS_COUNT} hosts")));
        }
        OutboundGrants::parse(hosts).map_err(error)
    }

    /// Reads the secrets, and looks at the folders.
    ///
    /// # Errors
    ///
    /// Fails if one of them is not available.
    pub fn read(&self) -> Result<Grants, GrantError> {
        let environment = self.environment.iter();
        let mut variables: Vec<(String, String)> = environment
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for (name, source) in self.secrets {
            let value = source.read();
            let value = value.map_err(|why| error("secrets", format!("{name}: {why}")))?;
            variables.push((name.clone(), value));
        }
        let bytes: usize = variables
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes > MAX_VARIABLES_BYTES {
            let key = match self.secrets.is_empty() {
                true => "environment",
                false => "secrets",
            };
            let limit = MAX_VARIABLES_BYTES / 1024;
            let why = format!("all variables together are larger than {limit} KiB");
            return Err(error(key, why));
        }
        variables.sort();
        let folders = self.files.iter().map(FolderOptions::read);
        Ok(Grants {
            variables,
            has_secrets: !self.secrets.is_empty(),
            folders: folders
                .collect::<Result<_, _>>()
                .map_err(|why| error("files", why))?,
            outbound: self.outbound()?,
            buckets: self.key_value.to_vec(),
        })
    }

    /// Returns the keys that grant something.
    pub fn keys(&self) -> Vec<&'static str> {
        let all = [
            ("environment", self.environment.is_empty()),
            ("secrets", self.secrets.is_empty()),
            ("files", self.files.is_empty()),
            (
                "allowed-outbound-hosts",
                self.allowed_outbound_hosts.is_empty(),
            ),
            ("key-value", self.key_value.is_empty()),
        ];
        let granted = all.into_iter().filter(|(_, is_empty)| !is_empty);
        granted.map(|(key, _)| key).collect()
    }

    /// Returns the names of all grants by their keys, without any values: those of variables and
    /// secrets, of folders in the handler, of hosts, and of buckets.
    pub fn names(&self) -> BTreeMap<&'static str, Vec<String>> {
        let all = [
            ("environment", self.environment.keys().cloned().collect()),
            ("secrets", self.secrets.keys().cloned().collect()),
            (
                "files",
                self.files
                    .iter()
                    .map(|one| one.destination.clone())
                    .collect(),
            ),
            (
                "allowed-outbound-hosts",
                self.allowed_outbound_hosts
                    .iter()
                    .map(|one| one.host().to_owned())
                    .collect(),
            ),
            (
                "key-value",
                self.key_value
                    .iter()
                    .map(|one| one.name().to_owned())
                    .collect(),
            ),
        ];
        let granted = all.into_iter();
        granted
            .filter(|(_, names): &(_, Vec<String>)| !names.is_empty())
            .collect()
    }

    /// Returns the files that contain secrets.
    pub fn secret_files(self) -> impl Iterator<Item = &'o Path> {
        self.secrets.values().filter_map(SecretSource::file)
    }
}

/// The interfaces that need a grant, by their first letters, with the keys of
/// which one grants something.
const INTERFACES: [(&str, &[&str]); 5] = [
    ("wasi:cli/environment@", &["environment", "secrets"]),
    ("wasi:filesystem/preopens@", &["files"]),
    ("wasi:keyvalue/store@", &["key-value"]),
    ("wasi:http/outgoing-handler@", &["allowed-outbound-hosts"]),
    (
        "wasi:sockets/tcp-create-socket@",
        &["allowed-outbound-hosts"],
    ),
];

/// Returns the keys that would grant the use of a handler's imports, of which none is in `granted`.
pub(crate) fn not_granted(imports: &[String], granted: &[&str]) -> Vec<&'static str> {
    let mut missing = Vec::new();
    for (front, keys) in INTERFACES {
        let is_imported = imports.iter().any(|import| import.starts_with(front));
        let is_granted = keys.iter().any(|key| granted.contains(key));
        if let (true, false, Some(key)) = (is_imported, is_granted, keys.first())
            && !missing.contains(key)
        {
            missing.push(*key);
        }
    }
    missing
}

/// Resolves the relative paths of a handler's grants.
pub(crate) fn start_at(
    secrets: &mut BTreeMap<String, SecretSource>,
    files: &mut [FolderOptions],
    resolve: impl Fn(&Path) -> PathBuf,
) {
    secrets
        .values_mut()
        .for_each(|secret| secret.start_at(&resolve));
    files
        .iter_mut()
        .for_each(|folder| folder.start_at(&resolve));
}

fn error(key: &'static str, why: String) -> GrantError {
    GrantError { key, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_without_a_grant_names_the_key_once() {
        let imports = [
            "wasi:cli/environment@0.2.9",
            "wasi:filesystem/preopens@0.2.9",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:sockets/tcp-create-socket@0.2.9",
            "wasi:clocks/wall-clock@0.2.9",
        ];
        let imports = imports.map(str::to_owned);
        let hosts = "allowed-outbound-hosts";
        assert_eq!(not_granted(&imports, &[]), ["environment", "files", hosts]);
        assert_eq!(not_granted(&imports, &["secrets", "files"]), [hosts]);
        assert_eq!(not_granted(&imports[4..], &[]), [""; 0]);
    }
}
