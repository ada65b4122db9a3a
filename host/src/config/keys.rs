//! The names of a section's keys, obtained from the type itself: exactly those that serde accepts.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

/// Returns the keys of the section `T`, in the order of its fields. Empty if the type is not a
/// struct or has flattened fields.
pub(super) fn keys<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // Always fails, since the deserializer has no data.
    let _ = T::deserialize(Probe(&mut keys));
    keys
}

/// A deserializer that records the fields it is asked for and provides no data.
struct Probe<'k>(&'k mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("only the names were wanted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_names_that_serde_knows() {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Section {
            _two_words: u8,
            #[serde(rename = "short")]
            _quite_long: u8,
        }
        assert_eq!(keys::<Section>(), ["-two-words", "short"]);
        assert!(keys::<u8>().is_empty());
    }
}
