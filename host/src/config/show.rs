//! Prints a configuration, for `wasgi config`. The output is a valid configuration file.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::keys::keys;
use super::{Config, Origin, ResolvedConfig, Section, Visit};
use crate::redact;

impl ResolvedConfig {
    /// Returns the configuration as TOML, with every key and a comment that gives the origin of its
    /// value. Paths are absolute, so that the text is valid in any folder. Passwords in URLs are
    /// hidden.
    pub(crate) fn show(&self) -> String {
        let mut config = self.config.clone();
        if let Ok(folder) = std::env::current_dir() {
            config.start_at(&folder);
        }
        format(config, &self.origins, Passwords::Hidden)
    }
}

/// What is shown of passwords in URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passwords {
    Hidden,
    Kept,
}

/// Formats a whole configuration, passwords included, for another process.
pub(super) fn show(config: Config) -> String {
    format(config, &BTreeMap::new(), Passwords::Kept)
}

/// Formats a configuration with a comment on each key.
fn format(mut config: Config, origins: &BTreeMap<String, Origin>, passwords: Passwords) -> String {
    let mut show = Show {
        origins,
        passwords,
        last: "",
        out: String::new(),
    };
    config.visit(&mut show);
    show.out
}

/// Returns the values of all keys as TOML, by `section.key`. Keys that are not set are missing.
pub(crate) fn values(config: &Config) -> BTreeMap<String, toml::Value> {
    struct Values(BTreeMap<String, toml::Value>);
    impl Visit for Values {
        fn section<T: Section>(&mut self, name: &'static str, section: &mut T) {
            let values = table(section).into_iter();
            self.0
                .extend(values.map(|(key, value)| (format!("{name}.{key}"), value)));
        }

        fn tables<T: Section>(&mut self, name: &'static str, tables: &mut T) {
            self.section(name, tables);
        }
    }
    let mut values = Values(BTreeMap::new());
    config.clone().visit(&mut values);
    values.0
}

struct Show<'o> {
    origins: &'o BTreeMap<String, Origin>,
    passwords: Passwords,
    /// The section that was printed last.
    last: &'static str,
    out: String,
}

impl Visit for Show<'_> {
    fn tables<T: Section>(&mut self, section: &'static str, tables: &mut T) {
        let values = self.table(tables);
        if values.is_empty() {
            self.line(format_args!("\n[{section}]\n# * is not set"));
        }
        for (name, value) in values {
            self.named(section, &name, &value);
        }
        self.last = section;
    }

    fn section<T: Section>(&mut self, name: &'static str, section: &mut T) {
        if self.last != name {
            let gap = if self.out.is_empty() { "" } else { "\n" };
            self.line(format_args!("{gap}[{name}]"));
            self.last = name;
        }
        let values = self.table(section);
        for key in keys::<T>() {
            match (values.get(*key), self.origins.get(&format!("{name}.{key}"))) {
                (None, _) => self.line(format_args!("# {key} is not set")),
                (Some(value), None) => self.line(format_args!("{key} = {value} # default")),
                (Some(value), Some(Origin::File(line))) => {
                    self.line(format_args!("{key} = {value} # file, line {line}"));
                }
                (Some(value), Some(Origin::Bundle(line))) => {
                    self.line(format_args!("{key} = {value} # bundle, line {line}"));
                }
                (Some(value), Some(Origin::Flag(flag))) => {
                    self.line(format_args!("{key} = {value} # flag {flag}"));
                }
            }
        }
    }
}

impl Show<'_> {
    /// Converts a section to the table that is shown.
    fn table<T: Section>(&self, section: &T) -> toml::Table {
        let mut table = table(section);
        if self.passwords == Passwords::Hidden {
            table
                .iter_mut()
                .for_each(|(_, value)| hide_passwords(value));
        }
        table
    }

    /// Prints a table with a user-defined name.
    fn named(&mut self, section: &str, name: &str, value: &toml::Value) {
        let name_shown = toml::Value::from(name);
        let place = match self.origins.get(&format!("{section}.{name}")) {
            Some(Origin::File(line)) => format!(" # file, line {line}"),
            Some(Origin::Bundle(line)) => format!(" # bundle, line {line}"),
            Some(Origin::Flag(_)) | None => String::new(),
        };
        self.line(format_args!("\n[{section}.{name_shown}]{place}"));
        for (key, value) in value.as_table().into_iter().flatten() {
            self.line(format_args!("{key} = {value}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let result = writeln!(self.out, "{line}");
        debug_assert!(result.is_ok(), "a string takes all that is written");
    }
}

/// Hides the passwords of URLs in a value.
fn hide_passwords(value: &mut toml::Value) {
    match value {
        toml::Value::String(text) => *text = redact::urls(text).into_owned(),
        toml::Value::Array(values) => values.iter_mut().for_each(hide_passwords),
        toml::Value::Table(values) => values
            .iter_mut()
            .for_each(|(_, value)| hide_passwords(value)),
        _ => {}
    }
}

/// Converts a section to a table. The table is empty if TOML cannot represent it; the tests print
/// every section.
fn table<T: Section>(section: &T) -> toml::Table {
    match toml::Value::try_from(section) {
        Ok(toml::Value::Table(table)) => table,
        other => {
            debug_assert!(other.is_err(), "a section is a table");
            toml::Table::new()
        }
    }
}
