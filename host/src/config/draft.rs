//! A configuration under construction: the file's values, and the flags on top of them.

use std::collections::BTreeMap;

use super::key::Key;
use super::sections::Config;
use super::table::{HANDLER_KEYS, all_keys};
use super::value::Value;
use crate::policy::Handler;

/// The origin of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The file, at this line.
    File(usize),
    /// The configuration in the site's bundle, at this line.
    Bundle(usize),
    /// This flag.
    Flag(&'static str),
}

/// A configuration under construction.
#[derive(Debug, Default)]
pub struct Draft {
    pub(super) config: Config,
    pub(super) origins: BTreeMap<String, Origin>,
}

impl Draft {
    /// Sets a key to the value of its flag.
    pub fn flag(&mut self, key: &Key<Config>, value: &Value) {
        if let Some(flag) = key.flag {
            self.set(key, flag.name, value);
        }
    }

    /// Sets the key called `name` to a value that another flag stands for.
    pub fn flag_of(&mut self, name: &str, flag: &'static str, value: &Value) {
        if let Some(key) = all_keys().find(|key| key.name == name) {
            self.set(key, flag, value);
        }
    }

    fn set(&mut self, key: &Key<Config>, flag: &'static str, value: &Value) {
        let is_set = (key.place.set)(&mut self.config, value);
        debug_assert!(
            is_set,
            "{flag} has a value of another type than {}",
            key.name
        );
        self.origins.insert(key.name.into(), Origin::Flag(flag));
    }

    /// Clears the keys in the tables of individual handlers that stand in place of `keys`, so that
    /// the values of `keys` apply to all handlers.
    pub fn clear_for_handlers<'k>(&mut self, keys: impl Iterator<Item = &'k Key<Config>>) {
        for key in keys.filter(|key| key.section() == "budget") {
            let is_same = |own: &&Key<Handler>| key.name.ends_with(&format!(".{}", own.name));
            if let Some(own) = HANDLER_KEYS.iter().find(is_same) {
                let clear = |table: &mut Handler| (own.place.copy)(table, &Handler::default());
                self.config.handlers.change(|_, table| clear(table));
                self.config.hosts.change_handlers(clear);
            }
        }
    }
}
