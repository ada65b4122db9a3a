//! The values that flags give to keys, and that are compared with other values.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::hosts::{Changed, Hosts};
use crate::acme::ChallengeChoice;
use crate::admin::AdminAddr;
use crate::confinement::ConfineMode;
use crate::grants::{BucketOptions, FolderOptions, HostOptions, SecretSource};
use crate::log::{AccessTarget, LogFormat, Verbosity};
use crate::policy::Handlers;
use crate::server::proxy::{self, Network};
use crate::static_files::Rule;
use crate::units::Share;

/// A key's value, without the type of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Yes or no.
    Switch(bool),
    /// A count, a size in bytes, or a rate in bytes per second.
    Count(u64),
    /// A duration.
    Time(Duration),
    /// A file or a folder.
    Path(PathBuf),
    /// A listening address.
    Addr(SocketAddr),
    /// A level of the log.
    Level(Verbosity),
    /// A format of the logs.
    Format(LogFormat),
    /// Addresses and networks.
    Networks(Vec<Network>),
}

/// The type of a key's field.
pub(super) trait Field: Clone {
    /// Returns the value, if it is set and [`Value`] has a form for it.
    fn value(&self) -> Option<Value>;

    /// Converts a value. A number beyond the type's range becomes the nearest one in the range,
    /// which the key's bounds don't contain. Returns `None` for a value of another form.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn value(&self) -> Option<Value> {
                Some(Value::Count(u64::try_from(*self).unwrap_or(u64::MAX)))
            }

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Count(count) => Some((*count).try_into().unwrap_or(Self::MAX)),
                    _ => None,
                }
            }
        }
    )*};
}

numbers!(u16, u32, u64, usize);

macro_rules! forms {
    ($($form:ident: $of:ty),*) => {$(
        impl Field for $of {
            fn value(&self) -> Option<Value> {
                Some(Value::$form(self.clone()))
            }

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$form(value) => Some(value.clone()),
                    _ => None,
                }
            }
        }
    )*};
}

forms!(Switch: bool, Time: Duration, Path: PathBuf, Addr: SocketAddr, Level: Verbosity);
forms!(Format: LogFormat);
forms!(Networks: Vec<Network>);

/// Implements [`Field`] for types whose keys have no flag and no bounds.
macro_rules! only_in_files {
    ($($of:ty),*) => {$(
        impl Field for $of {
            fn value(&self) -> Option<Value> {
                None
            }

            fn from_value(_: &Value) -> Option<Self> {
                None
            }
        }
    )*};
}

only_in_files!(String, proxy::Fields, Vec<Rule>, Handlers);
only_in_files!(BTreeMap<String, String>, BTreeMap<String, SecretSource>, Vec<FolderOptions>);
only_in_files!(Vec<HostOptions>);
only_in_files!(AdminAddr, Hosts, Changed, Vec<String>);
only_in_files!(Vec<BucketOptions>);
only_in_files!(ConfineMode, ChallengeChoice);

impl Field for AccessTarget {
    /// Returns a switch. A path is not compared.
    fn value(&self) -> Option<Value> {
        match self {
            Self::Off => Some(Value::Switch(false)),
            Self::Stdout => Some(Value::Switch(true)),
            Self::File(_) => None,
        }
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Switch(false) => Some(Self::Off),
            Value::Switch(true) => Some(Self::Stdout),
            _ => None,
        }
    }
}

impl Field for Share {
    /// Returns a size. A percentage is not compared.
    fn value(&self) -> Option<Value> {
        match self {
            Self::Percent(_) => None,
            Self::Bytes(bytes) => Some(Value::Count(*bytes)),
        }
    }

    fn from_value(_: &Value) -> Option<Self> {
        None
    }
}

impl<T: Field> Field for Option<T> {
    fn value(&self) -> Option<Value> {
        self.as_ref().and_then(T::value)
    }

    fn from_value(value: &Value) -> Option<Self> {
        T::from_value(value).map(Some)
    }
}
