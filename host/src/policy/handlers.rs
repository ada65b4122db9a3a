//! Settings for individual handlers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Budget, Policy};
use crate::units;

/// The section `[handlers]` of `wasgi.toml`: a table for each handler with its own settings, by its
/// name, such as `[handlers.hello]` or `[handlers."users/[id]"]`; and `[handlers."*"]` for all
/// other handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Handlers(BTreeMap<String, Handler>);

/// The name that stands for every handler without its own table.
const EVERY: &str = "*";

/// The settings for one handler. Unset values are inherited from `[budget]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Handler {
    /// The number of requests that one instance serves, one at a time. Defaults to 1, a new
    /// instance for each request. An instance that fails is dropped, regardless of how many
    /// requests it has served.
    pub reuse: Option<u32>,
    /// See [`Budget::memory_bytes`], which is also the maximum.
    #[serde(rename = "memory", with = "units::optional_size")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// See [`Budget::wall_time`].
    #[serde(with = "units::optional_duration")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_time: Option<Duration>,
    /// See [`Budget::cpu_time`].
    #[serde(with = "units::optional_duration")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<Duration>,
    /// See [`Budget::concurrent_requests`].
    pub concurrent_requests: Option<usize>,
}

impl Handlers {
    /// Returns each name with its settings.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Handler)> {
        self.0
            .iter()
            .map(|(name, handler)| (name.as_str(), handler))
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
        names.filter(|name| *name != EVERY)
    }

    /// Returns the policy of the handler called `name`, based on the general `budget`.
    pub fn policy(&self, name: &str, budget: &Budget) -> Policy {
        let fresh = Policy {
            budget: *budget,
            reuse: 1,
        };
        if self.0.is_empty() {
            return fresh;
        }
        match self.0.get(name).or_else(|| self.0.get(EVERY)) {
            Some(handler) => handler.over(fresh),
            None => fresh,
        }
    }
}

impl Handler {
    fn over(&self, Policy { mut budget, reuse }: Policy) -> Policy {
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

    #[test]
    fn a_handlers_own_table_takes_precedence_over_the_general_one() {
        let text = "[hello]\nreuse = 5\n[\"users/[id]\"]\ncpu-time = \"1s\"\n[\"*\"]\nreuse = 9\n";
        let handlers: Handlers = toml::from_str(text).expect("good");
        let budget = Budget::default();
        let reuse = |name: &str| handlers.policy(name, &budget).reuse;
        assert_eq!(
            (reuse("hello"), reuse("other"), reuse("users/[id]")),
            (5, 9, 1)
        );
        let users = handlers.policy("users/[id]", &budget).budget;
        assert_eq!(users.cpu_time, Duration::from_secs(1));
        assert_eq!(users.wall_time, budget.wall_time);
        assert_eq!(Handlers::default().policy("hello", &budget).reuse, 1);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = "[hello]\nreuse = 5\nmemory = \"1MiB\"\nwall-time = \"2m\"\n";
        let handlers: Handlers = toml::from_str(text).expect("good");
        let again = toml::to_string(&handlers).expect("written");
        assert_eq!(toml::from_str::<Handlers>(&again).expect("read"), handlers);
        assert!(toml::from_str::<Handlers>("[hello]\nreuses = 5\n").is_err());
        assert!(toml::from_str::<Handlers>("[hello]\nmemory = 5\n").is_err());
    }
}
