//! One thing that a handler does wrong.

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A rule is broken: the server refuses it, cuts it or answers with an error instead.
    Error,
    /// The server lets it pass or mends it, and others may not.
    Warning,
}

/// One thing that a handler does wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The rule, as `docs/contract.md` numbers it; `load`, `budget` or `failure` for what is before
    /// or beside these.
    pub rule: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl Level {
    /// In a report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Finding {
    /// A broken rule.
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

    /// A doubtful habit.
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
