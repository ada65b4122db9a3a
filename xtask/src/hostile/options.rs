//! The arguments of `cargo xtask hostile`, `cargo xtask soak` and `cargo xtask churn`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// The parameters of a run, and its limits.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    /// The number of files, or of folders.
    pub(super) count: usize,
    /// The interval between two files, or two reloads.
    pub(super) interval: Duration,
    /// The seed of the files.
    pub(super) seed: u64,
    /// The time limit for a page.
    pub(super) within: Duration,
    /// The duration of a soak, or of all phases.
    pub(super) time: Duration,
    /// A server that has already been built.
    pub(super) server: Option<PathBuf>,
    /// Additional flags for the server.
    pub(super) flags: Vec<OsString>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            count: 300,
            interval: Duration::from_millis(200),
            seed: 1,
            within: Duration::from_millis(100),
            time: Duration::from_secs(600),
            server: None,
            flags: Vec::new(),
        }
    }
}

impl Options {
    /// Parses the arguments.
    ///
    /// # Errors
    ///
    /// Fails for an invalid argument.
    pub(super) fn parse(arguments: &[OsString]) -> Result<Self> {
        Self::default().with(arguments)
    }

    /// Parses the arguments; `self` has the defaults.
    ///
    /// # Errors
    ///
    /// Fails for an invalid argument.
    pub(super) fn with(self, arguments: &[OsString]) -> Result<Self> {
        let mut options = self;
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{} has no value", word.display()))
            };
            match word.to_str() {
                Some("--count") => options.count = number(value()?)?,
                Some("--every-ms") => options.interval = Duration::from_millis(number(value()?)?),
                Some("--seed") => options.seed = number(value()?)?,
                Some("--within-ms") => options.within = Duration::from_millis(number(value()?)?),
                Some("--minutes") => {
                    let minutes: f64 = number(value()?)?;
                    options.time = Duration::try_from_secs_f64(minutes * 60.0)?;
                }
                Some("--server") => options.server = Some(value()?.into()),
                Some("--") => options.flags = words.by_ref().cloned().collect(),
                _ => bail!(
                    "{} means nothing here: there are --count N, --every-ms N, --seed N, \
                     --within-ms N, --minutes N, --server FILE, and -- before the server's flags",
                    word.display()
                ),
            }
        }
        ensure!(options.count > 0, "no file is too few");
        Ok(options)
    }
}

fn number<T: FromStr>(word: &OsString) -> Result<T> {
    let number = word.to_str().and_then(|word| word.parse().ok());
    number.ok_or_else(|| anyhow!("{} is no number", word.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options> {
        let words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
        Options::parse(&words)
    }

    #[test]
    fn options_are_read() {
        assert_eq!(parse("").expect("none"), Options::default());
        let options = parse("--count 7 --minutes 0.5 --seed 3 -- --threads 1").expect("good");
        assert_eq!((options.count, options.seed), (7, 3));
        assert_eq!(options.time, Duration::from_secs(30));
        assert_eq!(options.flags, ["--threads", "1"]);
        for bad in ["--count", "--count x", "--count 0", "--minutes -1", "more"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
