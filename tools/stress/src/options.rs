//! The options of the tests.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// The parameters of a run, and its limits.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    /// The number of files, or of folders.
    pub(crate) count: usize,
    /// The interval between two files, or two reloads.
    pub(crate) interval: Duration,
    /// The seed of the files.
    pub(crate) seed: u64,
    /// The time limit for a page.
    pub(crate) within: Duration,
    /// The duration of a soak, or of all phases.
    pub(crate) time: Duration,
    /// A server that has already been built.
    pub(crate) server: Option<PathBuf>,
    /// Whether results replace those in `docs/`.
    pub(crate) write: bool,
    /// Additional flags for the server.
    pub(crate) flags: Vec<OsString>,
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
            write: false,
            flags: Vec::new(),
        }
    }
}

impl Options {
    /// Parses the arguments; `self` has the defaults.
    ///
    /// # Errors
    ///
    /// Fails for an invalid argument.
    pub(crate) fn with(self, arguments: &[OsString]) -> Result<Self> {
        let mut options = self;
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{} needs a value", word.display()))
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
                Some("--write") => options.write = true,
                Some("--server") => options.server = Some(value()?.into()),
                Some("--") => options.flags = words.by_ref().cloned().collect(),
                _ => bail!(
                    "unknown option {}; --help lists the options",
                    word.display()
                ),
            }
        }
        ensure!(options.count > 0, "--count must be greater than zero");
        Ok(options)
    }
}

fn number<T: FromStr>(word: &OsString) -> Result<T> {
    let number = word.to_str().and_then(|word| word.parse().ok());
    number.ok_or_else(|| anyhow!("{} is not a valid number", word.display()))
}

/// Returns the usage of a test with these defaults.
pub(crate) fn usage(test: &str, defaults: &Options) -> String {
    let Options {
        count,
        interval,
        seed,
        within,
        time,
        ..
    } = defaults;
    format!(
        "Usage: cargo xtask {test} [OPTIONS] [-- FLAGS]\n\n\
         \x20 --count N        the number of files, folders or requests [default: {count}]\n\
         \x20 --every-ms N     the interval of files, reloads or upgrades, in ms [default: {}]\n\
         \x20 --seed N         the seed of the hostile files [default: {seed}]\n\
         \x20 --within-ms N    the time limit of a page, in ms [default: {}]\n\
         \x20 --minutes N      the duration of the load [default: {}]\n\
         \x20 --server FILE    a server that is already built, instead of this tree's\n\
         \x20 --write          replace the plot in docs/images by that of this run (soak only)\n\
         \x20 FLAGS            additional flags for the server\n",
        interval.as_millis(),
        within.as_millis(),
        time.as_secs_f64() / 60.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options> {
        let words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
        Options::default().with(&words)
    }

    #[test]
    fn options_are_read() {
        assert_eq!(parse("").expect("none"), Options::default());
        let options =
            parse("--count 7 --minutes 0.5 --seed 3 --write -- --threads 1").expect("good");
        assert_eq!((options.count, options.seed), (7, 3));
        assert_eq!(options.time, Duration::from_secs(30));
        assert!(options.write);
        assert_eq!(options.flags, ["--threads", "1"]);
        for bad in ["--count", "--count x", "--count 0", "--minutes -1", "more"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
