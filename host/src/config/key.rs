//! A configuration key, told once: all that the file, the flags, the checks, the reloading and the
//! documentation know about it. Its type and its default value are those of its field.

use std::time::Duration;

use super::value::Value;
use crate::units::{duration, size};

/// A key of a table `T`: of the whole configuration, or of one handler's settings.
#[derive(Debug)]
pub struct Key<T: 'static> {
    /// The name: `section.key`, or without section in a handler's table.
    pub name: &'static str,
    /// The flag that sets it.
    pub flag: Option<Flag>,
    /// Whether a changed value takes effect while the server runs.
    pub(super) is_live: bool,
    /// What holds while the key is not set, for the documentation.
    pub(super) unset: Option<&'static str>,
    /// What it means, for the documentation. `{bounds}` stands for the bounds.
    pub(super) doc: &'static str,
    pub(super) bounds: Option<Bounds>,
    /// The key whose value is the maximum for this one.
    pub(super) within: Option<&'static str>,
    pub(super) place: Place<T>,
}

/// The field of a key.
#[derive(Debug)]
pub(super) struct Place<T: 'static> {
    pub(super) value: fn(&T) -> Option<Value>,
    /// Returns whether the field can have the value.
    pub(super) set: fn(&mut T, &Value) -> bool,
    /// Sets the field of the first table to its value in the second one.
    pub(super) copy: fn(&mut T, &T),
}

/// The valid range of a key's value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) unit: Unit,
    pub(super) min: u64,
    pub(super) max: u64,
}

/// What a number counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Count,
    Bytes,
    BytesPerSecond,
}

/// A flag that sets a key.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The name, `--threads`.
    pub name: &'static str,
    /// What follows it.
    pub kind: FlagKind,
    /// The line of the help. The default value is appended if the key has one.
    pub help: &'static str,
    /// Whether the commands that run handlers without a server have it.
    pub is_for_trials: bool,
}

/// The form of a flag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagKind {
    /// None: the flag sets `true`.
    On,
    /// None: the flag sets `false`.
    Off,
    /// A count.
    Count,
    /// A count that is compared with the bounds as soon as it is parsed.
    BoundedCount,
    /// A duration, in seconds without a unit.
    Seconds,
    /// A size, in KiB without a unit.
    Kibibytes,
    /// A size, in MiB without a unit.
    Mebibytes,
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A listening address.
    Addr,
    /// A level of the log.
    Level,
    /// A format of the logs.
    Format,
    /// A network. The flag can be repeated.
    Networks,
}

/// Refers to a field: `place!(Config, limits.connections_count)`.
macro_rules! place {
    ($table:ty, $($field:ident).+) => {
        Place {
            value: |table: &$table| Field::value(&table.$($field).+),
            set: |table: &mut $table, value| {
                let value = Field::from_value(value);
                value.map(|value| table.$($field).+ = value).is_some()
            },
            copy: |to: &mut $table, from| to.$($field).+.clone_from(&from.$($field).+),
        }
    };
}
pub(super) use place;

/// Begins a key, which is live and has neither bounds nor a flag.
pub(super) const fn key<T>(name: &'static str, place: Place<T>) -> Key<T> {
    Key {
        name,
        flag: None,
        is_live: true,
        unset: None,
        doc: "",
        bounds: None,
        within: None,
        place,
    }
}

impl<T> Key<T> {
    /// The value is only read at startup.
    pub(super) const fn restart(mut self) -> Self {
        self.is_live = false;
        self
    }

    pub(super) const fn unset(mut self, unset: &'static str) -> Self {
        self.unset = Some(unset);
        self
    }

    pub(super) const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    pub(super) const fn count(self, min: u64, max: u64) -> Self {
        self.bounds(Unit::Count, min, max)
    }

    pub(super) const fn size(self, min: u64, max: u64) -> Self {
        self.bounds(Unit::Bytes, min, max)
    }

    pub(super) const fn rate(self, min: u64, max: u64) -> Self {
        self.bounds(Unit::BytesPerSecond, min, max)
    }

    const fn bounds(mut self, unit: Unit, min: u64, max: u64) -> Self {
        self.bounds = Some(Bounds { unit, min, max });
        self
    }

    /// The value has no effect beyond that of the key `whole`.
    pub(super) const fn within(mut self, whole: &'static str) -> Self {
        self.within = Some(whole);
        self
    }

    pub(super) const fn flag(
        mut self,
        name: &'static str,
        kind: FlagKind,
        help: &'static str,
    ) -> Self {
        self.flag = Some(Flag {
            name,
            kind,
            help,
            is_for_trials: false,
        });
        self
    }

    /// The commands that run handlers without a server have the flag, too.
    pub(super) const fn for_trials(mut self) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.is_for_trials = true;
        }
        self
    }

    /// Returns the section of the key.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// Returns the value in a table, if it is set and a flag could set it or bounds apply to it.
    pub fn value(&self, table: &T) -> Option<Value> {
        (self.place.value)(table)
    }

    /// Returns the bounds of a count: all counts, if it has none.
    pub fn count_bounds(&self) -> (u64, u64) {
        self.bounds
            .map_or((0, u64::MAX), |bounds| (bounds.min, bounds.max))
    }

    /// Returns a number that comparisons use: a duration is in milliseconds.
    pub(super) fn number(&self, table: &T) -> Option<u64> {
        number(&self.value(table)?)
    }

    /// Returns what is wrong with a value that is out of bounds. `max` replaces the upper bound.
    pub(super) fn out_of_bounds(&self, table: &T, max: Option<u64>) -> Option<String> {
        let bounds = self.bounds?;
        let max = max.unwrap_or(bounds.max);
        let found = self.number(table)?;
        if (bounds.min..=max).contains(&found) {
            return None;
        }
        let [min, max, found] = [bounds.min, max, found].map(|number| bounds.unit.show(number));
        Some(format!("expected {min} to {max}, found {found}"))
    }

    /// Formats the value of a table as the file writes it.
    pub(super) fn shown(&self, table: &T) -> String {
        match (self.value(table), self.bounds) {
            (Some(Value::Time(time)), _) => duration::show(time),
            (Some(Value::Count(count)), Some(bounds)) => bounds.unit.show(count),
            (Some(Value::Count(count)), None) => count.to_string(),
            _ => String::new(),
        }
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Count(count) => Some(*count),
        Value::Time(time) => Some(milliseconds(*time)),
        _ => None,
    }
}

/// Returns a duration in whole milliseconds, the resolution of configuration files.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Unit {
    pub(super) fn show(self, number: u64) -> String {
        match self {
            Self::Count => number.to_string(),
            Self::Bytes => size::show(number),
            Self::BytesPerSecond => format!("{}/s", size::show(number)),
        }
    }
}
