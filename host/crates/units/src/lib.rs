//! Durations, sizes and rates in configuration syntax: `"30s"`, `"64MiB"`, `"500B/s"`.
//!
//! Each type is a module for serde's `with` attribute, with `parse` and `show`. `parse` reads the
//! output of `show` as the same value. A number without a unit is an error: a reader can't tell
//! seconds from milliseconds, or bytes from mebibytes.

/// Durations: `"250ms"`, `"30s"`, `"5m"`, `"1.5h"`, with a resolution of a millisecond.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    /// The minimum duration.
    pub const MIN: Duration = Duration::from_millis(1);

    /// The maximum duration: a day. Anything longer needs no limit.
    pub const MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// Units and their length in milliseconds, longest first.
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

    /// Parses a duration.
    ///
    /// # Errors
    ///
    /// Fails if the text has no number or no unit, or the value is not between [`MIN`] and
    /// [`MAX`]; the error text says which.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let (number, unit) = super::split(text);
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        let (Some((_, milliseconds)), Ok(number)) = (unit, number.parse::<f64>()) else {
            return Err(format!(
                "expected a duration with a unit, such as \"30s\" (ms, s, m, h), found {text:?}"
            ));
        };
        let milliseconds = (number * *milliseconds as f64).round();
        if (MIN.as_millis() as f64..=MAX.as_millis() as f64).contains(&milliseconds) {
            Ok(Duration::from_millis(milliseconds as u64))
        } else {
            Err(format!(
                "expected a duration from {} to {}, found {text:?}",
                show(MIN),
                show(MAX)
            ))
        }
    }

    /// Formats a duration with the longest unit that makes it a whole number.
    pub fn show(duration: Duration) -> String {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        super::whole(milliseconds, &UNITS)
    }

    /// Serializes a duration, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the serializer fails.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&show(*duration))
    }

    /// Deserializes a duration, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the value isn't text or [`parse`] rejects it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        super::deserialize(from, "a duration with a unit, such as \"30s\"", parse)
    }

    /// Optional durations. Pair with `skip_serializing_if`.
    pub mod optional {
        use std::time::Duration;

        use serde::{Deserializer, Serializer};

        /// Serializes an optional duration, for serde.
        ///
        /// # Errors
        ///
        /// Fails if the serializer fails.
        pub fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, to),
                None => to.serialize_none(),
            }
        }

        /// Deserializes an optional duration, for serde.
        ///
        /// # Errors
        ///
        /// Fails if the value isn't a duration.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Duration>, D::Error> {
            super::deserialize(from).map(Some)
        }
    }
}

/// Sizes: `"512B"`, `"64KiB"`, `"1GiB"`, into any integer type.
pub mod size {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    /// Units and their size in bytes, largest first.
    pub(super) const UNITS: [(&str, u64); 4] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("B", 1),
    ];

    /// The maximum size: 1,024 GiB, more than any single limit needs.
    pub const MAX_BYTES: u64 = 1 << 40;

    /// Parses a size, in bytes.
    ///
    /// # Errors
    ///
    /// Fails if the text isn't a whole number with a unit, or exceeds [`MAX_BYTES`]; the error text
    /// says which.
    pub fn parse(text: &str) -> Result<u64, String> {
        let (number, unit) = super::split(text);
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        let (Some((_, bytes)), Ok(number)) = (unit, number.parse::<u64>()) else {
            return Err(format!(
                "expected a size with a unit, such as \"64MiB\" (B, KiB, MiB, GiB), found {text:?}"
            ));
        };
        match number.checked_mul(*bytes) {
            Some(bytes) if bytes <= MAX_BYTES => Ok(bytes),
            _ => Err(format!(
                "expected a size of {} at most, found {text:?}",
                show(MAX_BYTES)
            )),
        }
    }

    /// Formats a size with the largest unit that makes it a whole number.
    pub fn show(bytes: u64) -> String {
        super::whole(bytes, &UNITS)
    }

    /// Serializes a size, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the serializer fails.
    pub fn serialize<T, S>(bytes: &T, to: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + TryInto<u64>,
        S: Serializer,
    {
        to.serialize_str(&show((*bytes).try_into().unwrap_or(u64::MAX)))
    }

    /// Deserializes a size, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the value isn't text, [`parse`] rejects it, or it doesn't fit into `T`.
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: TryFrom<u64>,
        D: Deserializer<'de>,
    {
        let bytes = super::deserialize(from, "a size with a unit, such as \"64MiB\"", parse)?;
        T::try_from(bytes).map_err(|_| D::Error::custom("this size does not fit"))
    }
}

/// Rates: `"500B/s"`, `"2MiB/s"`.
pub mod rate {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    /// Parses a rate, in bytes per second.
    ///
    /// # Errors
    ///
    /// Fails if the text isn't a size followed by `/s`; the error text says so.
    pub fn parse(text: &str) -> Result<u64, String> {
        let bytes = text.trim_end().strip_suffix("/s").map(super::size::parse);
        match bytes {
            Some(Ok(bytes)) => Ok(bytes),
            _ => Err(format!(
                "expected a rate, such as \"500B/s\", found {text:?}"
            )),
        }
    }

    /// Formats a rate with the largest unit that makes it a whole number.
    pub fn show(bytes_per_second: u32) -> String {
        format!("{}/s", super::size::show(u64::from(bytes_per_second)))
    }

    /// Serializes a rate, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the serializer fails.
    pub fn serialize<S: Serializer>(bytes_per_second: &u32, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&show(*bytes_per_second))
    }

    /// Deserializes a rate, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the value isn't text, [`parse`] rejects it, or it is 4 GiB per second or more.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        let rate = super::deserialize(from, "a rate, such as \"500B/s\"", parse)?;
        u32::try_from(rate).map_err(|_| D::Error::custom("expected a rate below \"4GiB/s\""))
    }
}

/// A share of the machine's memory, or a size: `"50%"`, `"2GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// A percentage of the machine's memory.
    Percent(u32),
    /// A size in bytes.
    Bytes(u64),
}

impl Share {
    /// The maximum percentage: ten times the machine's memory.
    pub const MAX_PERCENT: u32 = 1000;

    /// Parses a share.
    ///
    /// # Errors
    ///
    /// Fails if the text is neither a size nor a whole percentage from 1 to [`Self::MAX_PERCENT`];
    /// the error text says so.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(number) = text.trim_end().strip_suffix('%') else {
            return size::parse(text).map(Self::Bytes).map_err(|_| {
                format!(
                    "expected a size with a unit or a share of the machine's memory, such as \
                     \"2GiB\" or \"50%\", found {text:?}"
                )
            });
        };
        match number.trim().parse() {
            Ok(percent) if (1..=Self::MAX_PERCENT).contains(&percent) => Ok(Self::Percent(percent)),
            _ => Err(format!(
                "expected a share from 1% to {}%, found {text:?}",
                Self::MAX_PERCENT
            )),
        }
    }

    /// Returns the share of `whole`, in bytes.
    pub fn apply_to(self, whole: u64) -> u64 {
        match self {
            Self::Percent(percent) => {
                let share = u128::from(whole) * u128::from(percent) / 100;
                u64::try_from(share).unwrap_or(u64::MAX)
            }
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => f.write_str(&size::show(*bytes)),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let expected = "a size or a share of the machine's memory, such as \"50%\"";
        deserialize(from, expected, Self::parse)
    }
}

/// Optional durations. Pair with `skip_serializing_if`.
pub mod optional_duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    /// Serializes an optional duration, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the serializer fails.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::duration::serialize(duration, to),
            None => to.serialize_none(),
        }
    }

    /// Deserializes an optional duration, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the value isn't a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        super::duration::deserialize(from).map(Some)
    }
}

/// Optional sizes. Pair with `skip_serializing_if`.
pub mod optional_size {
    use serde::{Deserializer, Serializer};

    /// Serializes an optional size, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the serializer fails.
    pub fn serialize<S: Serializer>(bytes: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::size::serialize(bytes, to),
            None => to.serialize_none(),
        }
    }

    /// Deserializes an optional size, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the value isn't a size.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        super::size::deserialize(from).map(Some)
    }
}

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Splits a text into its leading number and the unit after it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|one: char| !one.is_ascii_digit() && one != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// Formats a count in the first unit that makes it a whole number.
fn whole(count: u64, units: &[(&str, u64)]) -> String {
    let fits = |unit: &&(&str, u64)| count != 0 && count.is_multiple_of(unit.1);
    match units.iter().find(fits).or(units.last()) {
        Some((name, size)) => format!("{}{name}", count / size),
        None => count.to_string(),
    }
}

/// Deserializes text and parses it. An error for another type names the expected value.
fn deserialize<'de, T, D>(
    from: D,
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

    impl<T> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).map_err(E::custom)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            Err(E::invalid_value(Unexpected::Signed(number), &self))
        }
    }

    from.deserialize_str(Text(expected, parse))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, milliseconds) in [
            ("1ms", 1),
            ("30s", 30_000),
            ("0.3s", 300),
            ("5m", 300_000),
            ("1.5h", 5_400_000),
            (" 2 s ", 2_000),
        ] {
            let duration = duration::parse(text).expect(text);
            assert_eq!(duration, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(duration::parse(&duration::show(duration)), Ok(duration));
        }
        for text in [
            "", "30", "s", "-1s", "1e3s", "0s", "25h", "1d", "NaNs", "1.2.3s", "1 s s",
        ] {
            assert!(duration::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0B", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("1024GiB", 1 << 40),
        ] {
            assert_eq!(size::parse(text), Ok(bytes), "{text}");
            assert_eq!(size::parse(&size::show(bytes)), Ok(bytes));
        }
        for text in [
            "",
            "64",
            "MiB",
            "-1B",
            "1.5MiB",
            "64MB",
            "64mib",
            "1025GiB",
            "99999999999GiB",
        ] {
            assert!(size::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_largest_unit_is_shown_in_which_it_is_whole() {
        assert_eq!(size::show(1 << 20), "1MiB");
        assert_eq!(size::show((1 << 20) + 1024), "1025KiB");
        assert_eq!(size::show(0), "0B");
        assert_eq!(duration::show(Duration::from_secs(90)), "90s");
        assert_eq!(duration::show(Duration::from_secs(7200)), "2h");
    }

    #[test]
    fn a_share_is_of_a_whole_or_a_size() {
        assert_eq!(
            Share::parse("50%").map(|share| share.apply_to(1001)),
            Ok(500)
        );
        assert_eq!(
            Share::parse("400 %").map(|share| share.apply_to(u64::MAX)),
            Ok(u64::MAX)
        );
        assert_eq!(Share::parse("2MiB"), Ok(Share::Bytes(2 << 20)));
        for share in [Share::Percent(7), Share::Bytes(1 << 30)] {
            assert_eq!(Share::parse(&share.to_string()), Ok(share));
        }
        for text in ["", "%", "0%", "1001%", "-5%", "1.5%", "50", "MiB"] {
            assert!(Share::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn rates_are_sizes_per_second() {
        assert_eq!(rate::parse("500B/s"), Ok(500));
        assert_eq!(rate::parse("2KiB/s"), Ok(2048));
        for text in ["500", "500B", "500B/m", "/s"] {
            assert!(rate::parse(text).is_err(), "{text:?}");
        }
    }
}
