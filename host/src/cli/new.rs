//! The arguments of `wasgi new`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `wasgi new`.
#[derive(Debug, Args)]
pub struct New {
    /// The folder of the new site
    #[arg(value_name = "SITE", required_unless_present = "handler")]
    pub site: Option<PathBuf>,
    /// The name of a new handler.
    #[arg(
        long,
        value_name = "NAME",
        help = "Add a handler to the site (in SITE, or in the current folder): hello, api/users/[id]"
    )]
    pub handler: Option<String>,
    /// The handler's language
    #[arg(
        long,
        value_name = "LANGUAGE",
        default_value = "python",
        requires = "handler"
    )]
    pub lang: Language,
}

/// The language of a new handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// A script in Python, with WSGI
    Python,
    /// A script in JavaScript, with fetch
    #[value(alias = "js")]
    Javascript,
    /// A package in Rust, with the SDK
    #[value(alias = "rs")]
    Rust,
    /// A CGI program in Go
    Go,
    /// A CGI program in C
    C,
    /// A CGI program in WebAssembly's text format
    Wat,
}
