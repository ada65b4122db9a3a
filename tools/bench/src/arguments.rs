//! The arguments of a command: `--name value` pairs, and the words after `--`.
//!
//! Supports only the needs of this program, which only `xtask` and this program start.

use std::ffi::OsString;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};

/// The words that have not been consumed.
#[derive(Debug)]
pub(crate) struct Arguments {
    words: Vec<String>,
    rest: Vec<String>,
}

impl Arguments {
    /// Splits the words at the first `--`.
    ///
    /// # Errors
    ///
    /// Fails if a word is not UTF-8.
    pub(crate) fn new(words: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut words = words
            .map(OsString::into_string)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|word| anyhow!("{} is not UTF-8", word.display()))?;
        let rest = match words.iter().position(|word| word == "--") {
            Some(at) => words.split_off(at).split_off(1),
            None => Vec::new(),
        };
        Ok(Self { words, rest })
    }

    /// Consumes a required value.
    pub(crate) fn need<T: FromStr>(&mut self, name: &str) -> Result<T> {
        self.take(name)?
            .with_context(|| format!("{name} is missing"))
    }

    /// Consumes an optional value.
    pub(crate) fn take<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(at) = self.words.iter().position(|word| word == name) else {
            return Ok(None);
        };
        self.words.remove(at);
        if at == self.words.len() {
            bail!("{name} needs a value");
        }
        let value = self.words.remove(at);
        let value = value.parse();
        value
            .map(Some)
            .map_err(|_| anyhow!("{name} has an invalid value"))
    }

    /// Consumes a flag, and returns whether it was present.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let at = self.words.iter().position(|word| word == name);
        at.is_some_and(|at| self.words.remove(at) == name)
    }

    /// Consumes the words after `--`.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::mem::take(&mut self.rest)
    }

    /// Fails if any words are left.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.words.iter().chain(&self.rest).next() {
            Some(word) => bail!("unexpected argument {word}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Arguments {
        Arguments::new(text.split_whitespace().map(OsString::from)).expect("it is UTF-8")
    }

    #[test]
    fn each_word_is_taken_once() {
        let mut words = arguments("--path /x --once --rate 7.5 -- a --b");
        assert_eq!(words.need::<String>("--path").expect("there"), "/x");
        assert_eq!(words.take::<f64>("--rate").expect("a number"), Some(7.5));
        assert_eq!(words.take::<f64>("--rate").expect("gone"), None);
        assert!(words.flag("--once"));
        assert!(!words.flag("--once"));
        assert_eq!(words.rest(), ["a", "--b"]);
        words.finish().expect("nothing is left");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        assert!(arguments("").need::<u64>("--n").is_err());
        assert!(arguments("--n").need::<u64>("--n").is_err());
        assert!(arguments("--n x").need::<u64>("--n").is_err());
        assert!(arguments("--n 1").finish().is_err());
    }
}
