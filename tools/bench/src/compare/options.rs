//! The arguments of `cargo xtask bench`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::case::CASES;

/// The default number of rounds: enough for a median even if one or two are disturbed.
const ROUNDS: usize = 7;

/// How long a server is measured in a round.
const ROUND_TIME: Duration = Duration::from_secs(3);

/// The values for a quick test: it shows whether everything works, but gives no reliable rates.
const QUICK_ROUNDS: usize = 2;
const QUICK_ROUND_TIME: Duration = Duration::from_millis(700);

/// The cases, the precision, and the output.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(super) rounds: usize,
    pub(super) round_time: Duration,
    pub(super) quick: bool,
    /// The only case to measure.
    pub(super) only: Option<String>,
    pub(super) write: bool,
    /// A server that has already been built.
    pub(super) server: Option<PathBuf>,
}

impl Options {
    /// Parses the arguments.
    ///
    /// # Errors
    ///
    /// Fails for an invalid argument, and lists the valid ones.
    pub(super) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            rounds: ROUNDS,
            round_time: ROUND_TIME,
            quick: false,
            only: None,
            write: false,
            server: None,
        };
        let mut rounds = None;
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--quick" => options.quick = true,
                "--write" => options.write = true,
                "--rounds" => {
                    let count = value()?;
                    let parsed = count.parse::<usize>();
                    rounds = Some(parsed.with_context(|| format!("--rounds {count}"))?);
                }
                "--only" => options.only = Some(value()?.clone()),
                "--server" => options.server = Some(value()?.into()),
                _ => bail!("unknown option {word}\n\n{}", usage()),
            }
        }
        if options.quick {
            options.rounds = QUICK_ROUNDS;
            options.round_time = QUICK_ROUND_TIME;
        }
        options.rounds = rounds.unwrap_or(options.rounds);
        ensure!(options.rounds > 0, "--rounds must be greater than zero");
        ensure!(
            !(options.write && options.only.is_some()),
            "--write writes all cases, and can't be combined with --only"
        );
        if let Some(only) = &options.only {
            let known = CASES.iter().any(|case| case.name == only);
            ensure!(known, "unknown case {only}\n\n{}", usage());
        }
        Ok(options)
    }

    /// Returns whether a case is to be measured.
    pub(super) fn includes(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }
}

/// Returns the usage of the options.
pub(super) fn usage() -> String {
    let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
    format!(
        "Usage: cargo xtask bench [OPTIONS]\n\n\
         \x20 --write          write docs/benchmarks.md and its plot, not only to the terminal\n\
         \x20 --rounds N       rounds of each comparison [default: {ROUNDS}]\n\
         \x20 --quick          two short rounds, to check that everything works\n\
         \x20 --only CASE      one case: {}\n\
         \x20 --server FILE    a server that is already built, instead of this tree's",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn options_are_read() {
        let options = parse("--quick --rounds 3 --only hello --server a/b").expect("all known");
        assert_eq!((options.rounds, options.round_time), (3, QUICK_ROUND_TIME));
        assert!(options.includes("hello") && !options.includes("idle"));
        assert_eq!(options.server, Some("a/b".into()));
        assert!(parse("--write").expect("known").includes("idle"));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for wrong in [
            "--fast",
            "--rounds",
            "--rounds x",
            "--rounds 0",
            "--only nothing",
            "--only hello --write",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
