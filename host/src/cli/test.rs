//! The arguments of `wasgi test`.

use std::path::PathBuf;

use clap::Args;

use super::Trial;

/// `wasgi test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Test files, or folders with *.hurl files [default: SITE/tests]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A variable of the test files; repeatable
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// The site and the limits.
    #[command(flatten)]
    pub trial: Trial,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
