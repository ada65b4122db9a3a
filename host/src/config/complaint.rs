//! An error in a configuration, in one line.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::grants::GrantError;

/// An error in a configuration: its location, the key and the reason. Displayed as one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaint {
    /// The file, if the error is in a file.
    pub file: Option<PathBuf>,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The flag, if the error is in a flag.
    pub flag: Option<&'static str>,
    /// The key, `section.key`. Empty if the error concerns no key.
    pub key: String,
    /// The reason.
    pub why: String,
}

impl Complaint {
    /// Creates an error about a key.
    pub(super) fn new(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            why: why.into(),
            ..Self::default()
        }
    }

    /// Creates an error about a grant that is wrong or not available.
    pub(super) fn of_grant(table: &str, error: &GrantError) -> Self {
        let GrantError { key, why } = error;
        Self::new(format!("handlers.{table}"), format!("{key}: {why}"))
    }

    /// Makes it an error in the table of a virtual host.
    pub(super) fn of_host(mut self, name: &str) -> Self {
        self.key = format!("hosts.{name}.{}", self.key);
        self
    }

    pub(super) fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    pub(super) fn in_file(mut self, path: &Path) -> Self {
        self.file = Some(path.into());
        self
    }

    pub(super) fn by(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }
}

impl std::error::Error for Complaint {}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
        }
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if self.file.is_some() || self.line.is_some() {
            f.write_str(" ")?;
        }
        if let Some(flag) = self.flag {
            write!(f, "{flag}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        // A parser's message can have several lines; a log message has one.
        let mut lines = self
            .why
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        f.write_str(lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| write!(f, "; {line}"))
    }
}
