//! The flags that set configuration keys, from the table in `config`.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{RangedU64ValueParser, ValueParser};
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, ValueEnum, value_parser,
};

use crate::config::{Config, Draft, Flag, FlagKind, Key, Value, all_keys};
use crate::log::{LogFormat, Verbosity};
use crate::server::addr;
use crate::server::proxy::Network;
use crate::units::{duration, size};

/// The help heading of the limits.
const LIMITS_HEADING: &str = "Limits (more in wasgi.toml)";

/// Which flags a command has.
pub(super) trait Selection {
    /// Reports whether a command has the flag of a key.
    fn has(section: &str, flag: &Flag) -> bool;
}

macro_rules! selections {
    ($($(#[$doc:meta])* $name:ident: |$section:pat_param, $flag:ident| $has:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $name;

        impl Selection for $name {
            fn has($section: &str, $flag: &Flag) -> bool {
                $has
            }
        }
    )*};
}

selections! {
    /// The flags for a site's folders.
    OfSite: |section, _flag| section == "site";
    /// The flags for the folders that handlers need without a server.
    OfFolders: |section, flag| section == "site" && flag.is_for_trials;
    /// The flags for how to serve.
    OfServer: |section, _flag| section == "server";
    /// The flags for TLS and proxies.
    OfClients: |section, _flag| matches!(section, "tls" | "proxy");
    /// The flags for the limits of a request.
    OfBudget: |section, _flag| section == "budget";
    /// The flags for the limits of a connection.
    OfLimits: |section, _flag| section == "limits";
    /// The flags for handlers that run without a server.
    OfTrial: |_section, flag| flag.is_for_trials;
}

/// The values of flags that were given.
#[derive(Clone, Debug)]
pub(super) struct Flags<S> {
    given: Vec<(&'static Key<Config>, Value)>,
    selection: PhantomData<S>,
}

impl<S: Selection> Flags<S> {
    /// Overrides the file's values with the flags that were given.
    pub(super) fn set(&self, draft: &mut Draft) {
        for (key, value) in &self.given {
            draft.flag(key, value);
        }
    }

    /// Returns the keys whose flags were given.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static Key<Config>> {
        self.given.iter().map(|(key, _)| *key)
    }

    fn all() -> impl Iterator<Item = (&'static Key<Config>, Flag)> {
        let flags = all_keys().filter_map(|key| Some((key, key.flag?)));
        flags.filter(|(key, flag)| S::has(key.section(), flag))
    }
}

impl<S: Selection> Args for Flags<S> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::all().map(|(key, flag)| argument(key, flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Selection> FromArgMatches for Flags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given =
            Self::all().filter_map(|(key, flag)| Some((key, value(matches, key.name, flag.kind)?)));
        Ok(Self {
            given: given.collect(),
            selection: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(key: &'static Key<Config>, flag: Flag) -> Arg {
    let argument = Arg::new(key.name).long(flag.name.trim_start_matches('-'));
    let argument = match default(key, flag.kind) {
        Some(default) => argument.help(format!("{} [default: {default}]", flag.help)),
        None => argument.help(flag.help),
    };
    let argument = match key.section() {
        "limits" | "budget" => argument.help_heading(LIMITS_HEADING),
        _ => argument,
    };
    let (name, parser): (_, ValueParser) = match flag.kind {
        FlagKind::On | FlagKind::Off => return argument.action(ArgAction::SetTrue),
        FlagKind::Count => ("N", value_parser!(u64).into()),
        FlagKind::BoundedCount => {
            let (min, max) = key.count_bounds();
            (
                "N",
                RangedU64ValueParser::<u64>::new().range(min..=max).into(),
            )
        }
        FlagKind::Seconds => ("SECONDS", ValueParser::new(seconds)),
        FlagKind::Kibibytes => ("KIB", ValueParser::new(|text: &str| bytes(text, "KiB"))),
        FlagKind::Mebibytes => ("MIB", ValueParser::new(|text: &str| bytes(text, "MiB"))),
        FlagKind::File => ("FILE", value_parser!(PathBuf)),
        FlagKind::Folder => ("FOLDER", value_parser!(PathBuf)),
        FlagKind::Addr => ("HOST:PORT", ValueParser::new(addr::parse)),
        FlagKind::Level => ("LEVEL", value_parser!(Verbosity).into()),
        FlagKind::Format => ("FORMAT", value_parser!(LogFormat).into()),
        FlagKind::Networks => ("NETWORK", value_parser!(Network).into()),
    };
    let action = match flag.kind {
        FlagKind::Networks => ArgAction::Append,
        _ => ArgAction::Set,
    };
    argument
        .value_name(name)
        .value_parser(parser)
        .action(action)
}

/// Returns the default value of a key as its flag writes it.
fn default(key: &Key<Config>, kind: FlagKind) -> Option<String> {
    match (kind, key.value(&Config::default())?) {
        (FlagKind::Kibibytes, Value::Count(bytes)) => Some((bytes >> 10).to_string()),
        (FlagKind::Mebibytes, Value::Count(bytes)) => Some((bytes >> 20).to_string()),
        (_, Value::Count(count)) => Some(count.to_string()),
        (_, Value::Time(time)) => Some(time.as_secs_f64().to_string()),
        (_, Value::Addr(addr)) => Some(addr.to_string()),
        (_, Value::Level(level)) => Some(level.to_possible_value()?.get_name().to_owned()),
        (_, Value::Format(format)) => Some(format.to_possible_value()?.get_name().to_owned()),
        _ => None,
    }
}

/// Returns the value of a flag that was given.
fn value(matches: &ArgMatches, id: &str, kind: FlagKind) -> Option<Value> {
    match kind {
        FlagKind::On => matches.get_flag(id).then_some(Value::Switch(true)),
        FlagKind::Off => matches.get_flag(id).then_some(Value::Switch(false)),
        FlagKind::Count | FlagKind::BoundedCount | FlagKind::Kibibytes | FlagKind::Mebibytes => {
            matches.get_one(id).copied().map(Value::Count)
        }
        FlagKind::Seconds => matches.get_one(id).copied().map(Value::Time),
        FlagKind::File | FlagKind::Folder => matches.get_one(id).cloned().map(Value::Path),
        FlagKind::Addr => matches.get_one::<SocketAddr>(id).copied().map(Value::Addr),
        FlagKind::Level => matches.get_one(id).copied().map(Value::Level),
        FlagKind::Format => matches.get_one(id).copied().map(Value::Format),
        FlagKind::Networks => {
            let networks = matches.get_many::<Network>(id)?;
            Some(Value::Networks(networks.copied().collect()))
        }
    }
}

/// Parses a duration: a number of seconds, fractions allowed, or with a unit as in the file.
fn seconds(text: &str) -> Result<Duration, String> {
    if text.ends_with(|last: char| last.is_ascii_digit()) {
        duration::parse(&format!("{text}s"))
            .map_err(|_| "expected seconds, from 0.001 to 86400".into())
    } else {
        duration::parse(text)
    }
}

/// Parses a size. A number without a unit is in `unit`.
fn bytes(text: &str, unit: &str) -> Result<u64, String> {
    let bytes = if text.ends_with(|last: char| last.is_ascii_digit()) {
        size::parse(&format!("{text}{unit}"))?
    } else {
        size::parse(text)?
    };
    match bytes {
        0 => Err("must be greater than zero".into()),
        _ => Ok(bytes),
    }
}
