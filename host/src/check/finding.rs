//! One problem of a handler.

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The handler breaks a rule: the server rejects its output, truncates it or responds with an
    /// error instead.
    Error,
    /// The server accepts or corrects the output, but other servers may not.
    Warning,
}

/// One problem of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The severity.
    pub level: Level,
    /// The number of the rule in `docs/contract.md`, or `load`, `budget` or `failure` for problems
    /// that no rule covers.
    pub rule: &'static str,
    /// The problem.
    pub what: String,
    /// How to fix the problem.
    pub fix: String,
}

impl Level {
    /// Returns the level's name in a report.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Finding {
    /// Creates a finding for a broken rule.
    pub(super) fn error(
        rule: &'static str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Error,
            rule,
            what: what.into(),
            fix: fix.into(),
        }
    }

    /// Creates a finding for questionable but valid output.
    pub(super) fn warning(
        rule: &'static str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warning,
            ..Self::error(rule, what, fix)
        }
    }
}
