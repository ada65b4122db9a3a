//! Settings for individual handlers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Policy;
use crate::grants::{self, BucketOptions, FolderOptions, HostOptions, SecretSource};
use crate::units;

/// The section `[handlers]` of `wasgi.toml`: a table for each handler with its own settings, by its
/// name, such as `[handlers.hello]` or `[handlers."users/[id]"]`; a table for the handlers below a
/// folder, such as `[handlers."admin/*"]`; and `[handlers."*"]` for all other handlers. A handler
/// has one table, the most specific: tables are not combined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Handlers(BTreeMap<String, Handler>);

/// The name that stands for every handler without its own table.
const EVERY: &str = "*";

/// The end of a name that stands for every handler below a folder.
const BELOW: &str = "/*";

/// The settings for one handler. Unset values are inherited from `[budget]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Handler {
    /// The reference to the handler in an OCI registry. Unset for one in the folder of handlers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The number of requests that one instance serves, one at a time. Defaults to 1, a new
    /// instance for each request. An instance that fails is dropped, regardless of how many
    /// requests it has served.
    pub reuse: Option<u32>,
    /// See [`Budget::memory_bytes`](super::Budget::memory_bytes), which is also the maximum.
    #[serde(rename = "memory", with = "units::optional_size")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// See [`Budget::wall_time`](super::Budget::wall_time).
    #[serde(with = "units::optional_duration")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_time: Option<Duration>,
    /// See [`Budget::cpu_time`](super::Budget::cpu_time).
    #[serde(with = "units::optional_duration")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<Duration>,
    /// See [`Budget::concurrent_requests`](super::Budget::concurrent_requests).
    pub concurrent_requests: Option<usize>,
    /// Environment variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Environment variables whose values are kept elsewhere.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSource>,
    /// Folders.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FolderOptions>,
    /// Hosts to connect to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_outbound_hosts: Vec<HostOptions>,
    /// Key-value buckets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_value: Vec<BucketOptions>,
}

impl Handlers {
    /// Returns each name with its settings.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Handler)> {
        self.0
            .iter()
            .map(|(name, handler)| (name.as_str(), handler))
    }

    /// Reports whether no handler has a table.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes each table. `change` also gets its name.
    pub fn change(&mut self, mut change: impl FnMut(&str, &mut Handler)) {
        for (name, handler) in &mut self.0 {
            change(name, handler);
        }
    }

    /// Returns the table of this name.
    pub fn get(&self, name: &str) -> Option<&Handler> {
        self.0.get(name)
    }

    /// Returns the names of the handlers with a table of their own.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.0.keys().map(String::as_str);
        names.filter(|name| *name != EVERY && !name.ends_with(BELOW))
    }

    /// Returns the table that applies to the handler called `name`, with its name.
    pub fn table_of(&self, name: &str) -> Option<(&str, &Handler)> {
        if self.0.is_empty() {
            return None;
        }
        let get = |name: &str| self.0.get_key_value(name);
        let folders = name.rmatch_indices('/').map(|(at, _)| &name[..at]);
        let (name, handler) = get(name)
            .or_else(|| {
                folders
                    .map(|folder| format!("{folder}{BELOW}"))
                    .find_map(|name| get(&name))
            })
            .or_else(|| get(EVERY))?;
        Some((name, handler))
    }
}

impl Handler {
    /// Returns the keys of its grants.
    pub fn grants(&self) -> grants::GrantOptions<'_> {
        grants::GrantOptions {
            environment: &self.environment,
            secrets: &self.secrets,
            files: &self.files,
            allowed_outbound_hosts: &self.allowed_outbound_hosts,
            key_value: &self.key_value,
        }
    }

    /// Returns a policy with this handler's limits in place of the general ones.
    pub(super) fn over(&self, policy: Policy) -> Policy {
        let Policy {
            mut budget,
            reuse,
            grants,
        } = policy;
        if let Some(bytes) = self.memory_bytes {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            budget.memory_bytes = budget.memory_bytes.min(bytes);
        }
        budget.wall_time = self.wall_time.unwrap_or(budget.wall_time);
        budget.cpu_time = self.cpu_time.unwrap_or(budget.cpu_time);
        budget.concurrent_requests = self
            .concurrent_requests
            .unwrap_or(budget.concurrent_requests);
        Policy {
            budget,
            reuse: self.reuse.unwrap_or(reuse),
            grants,
        }
    }
}

impl FromIterator<(String, Handler)> for Handlers {
    fn from_iter<I: IntoIterator<Item = (String, Handler)>>(handlers: I) -> Self {
        Self(handlers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Budget, Policies};

    #[test]
    fn the_most_specific_table_applies() {
        let text = "[hello]\nreuse = 5\n[\"users/[id]\"]\ncpu-time = \"1s\"\n[\"*\"]\nreuse = 9\n\
                    [\"a/*\"]\nreuse = 2\n[\"a/b/*\"]\nreuse = 3\n[\"a/b/c\"]\nreuse = 4\n";
        let handlers: Handlers = toml::from_str(text).expect("good");
        let budget = Budget::default();
        let policies = Policies::new(budget, handlers).expect("no secrets");
        for (name, reuse) in [
            ("hello", 5),
            ("other", 9),
            ("users/[id]", 1),
            ("users/me", 9),
            ("a", 9),
            ("a/x", 2),
            ("a/x/y", 2),
            ("a/b", 2),
            ("a/b/x", 3),
            ("a/b/c", 4),
            ("a/b/c/d", 3),
            ("ab/x", 9),
        ] {
            assert_eq!(policies.for_handler(name).reuse, reuse, "{name}");
        }
        let users = policies.for_handler("users/[id]").budget;
        assert_eq!(users.cpu_time, Duration::from_secs(1));
        assert_eq!(users.wall_time, budget.wall_time);
        assert_eq!(Policies::default().for_handler("hello").reuse, 1);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = "[hello]\nreuse = 5\nmemory = \"1MiB\"\nwall-time = \"2m\"\n\
                    environment = { A = \"b\" }\nsecrets = { K = { file = \"k\" } }\n\
                    files = [{ source = \"d\", destination = \"/d\", writable = true }]\n\
                    allowed-outbound-hosts = [\"https://a.test\", { host = \"tcp://b:1\", \
                    private = true }]\n\
                    key-value = [\"default\", { name = \"all\", shared = \"visits\" }]\n";
        let handlers: Handlers = toml::from_str(text).expect("good");
        let again = toml::to_string(&handlers).expect("written");
        assert_eq!(toml::from_str::<Handlers>(&again).expect("read"), handlers);
        assert!(toml::from_str::<Handlers>("[hello]\nreuses = 5\n").is_err());
        assert!(toml::from_str::<Handlers>("[hello]\nmemory = 5\n").is_err());
    }
}
