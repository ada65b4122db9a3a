//! What `wasgi doctor` has found.

use std::fmt;

use serde_json::{Value, json};

use crate::terminal::{self, Style};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// No action is needed.
    Ok,
    /// The server works, with a restriction.
    Warn,
    /// Something that the site needs does not work.
    Problem,
}

/// One line of the report.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    group: &'static str,
    name: String,
    pub(super) level: Level,
    what: String,
    /// What to do. Empty if no action is needed.
    advice: String,
}

/// All findings.
#[derive(Debug)]
pub(super) struct Report(pub(super) Vec<Finding>);

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Problem => "problem",
        }
    }
}

impl Finding {
    pub(super) fn ok(group: &'static str, name: &str, what: &str) -> Self {
        Self::new(Level::Ok, group, name, what, "")
    }

    pub(super) fn warn(group: &'static str, name: &str, what: &str, advice: &str) -> Self {
        Self::new(Level::Warn, group, name, what, advice)
    }

    pub(super) fn problem(group: &'static str, name: &str, what: &str, advice: &str) -> Self {
        Self::new(Level::Problem, group, name, what, advice)
    }

    /// Creates a finding: `good` if that is true, else a warning.
    pub(super) fn ok_or_warn(
        group: &'static str,
        name: &str,
        good: (bool, &str),
        bad: (&str, &str),
    ) -> Self {
        match good {
            (true, what) => Self::ok(group, name, what),
            (false, _) => Self::warn(group, name, bad.0, bad.1),
        }
    }

    fn new(level: Level, group: &'static str, name: &str, what: &str, advice: &str) -> Self {
        Self {
            group,
            name: name.to_owned(),
            level,
            what: what.to_owned(),
            advice: advice.to_owned(),
        }
    }
}

impl Report {
    pub(super) fn has_problems(&self) -> bool {
        self.count(Level::Problem) > 0
    }

    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|found| found.level == level).count()
    }

    pub(super) fn json(&self) -> Value {
        let findings = self.0.iter().map(|found| {
            json!({
                "group": found.group,
                "name": found.name,
                "level": found.level.word(),
                "what": found.what,
                "advice": found.advice,
            })
        });
        json!({
            "findings": findings.collect::<Vec<_>>(),
            "problems": self.count(Level::Problem),
            "warnings": self.count(Level::Warn),
        })
    }
}

/// Returns the text of a report with colours, if the standard output shows them.
pub(super) fn painted(report: &str) -> String {
    let styles = [
        (Level::Ok.word(), Style::GREEN),
        (Level::Warn.word(), Style::YELLOW),
        (Level::Problem.word(), Style::RED),
    ];
    match terminal::has_colours(&std::io::stdout()) {
        true => terminal::paint_words(report, &styles),
        false => report.to_owned(),
    }
}

/// Writes a line for each finding, and a line with what to do for each that needs something.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|found| found.name.chars().count()).max();
        let width = width.unwrap_or_default();
        let mut group = "";
        for found in &self.0 {
            if found.group != group {
                group = found.group;
                writeln!(f, "{group}")?;
            }
            let level = found.level.word();
            writeln!(f, "  {level:<7}  {:<width$}  {}", found.name, found.what)?;
            if !found.advice.is_empty() {
                writeln!(f, "           {:<width$}  do: {}", "", found.advice)?;
            }
        }
        let counted = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        writeln!(
            f,
            "{}, {}",
            counted(self.count(Level::Problem), "problem"),
            counted(self.count(Level::Warn), "warning")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_to_do_and_counts() {
        let report = Report(vec![
            Finding::ok("kernel", "openat2", "there"),
            Finding::warn("kernel", "seccomp", "missing", "use another kernel"),
            Finding::problem("site", "cargo", "not installed", "install it"),
        ]);
        assert_eq!(
            report.to_string(),
            "kernel\n  ok       openat2  there\n  warn     seccomp  missing\n                    \
             do: use another kernel\nsite\n  problem  cargo    not installed\n                    \
             do: install it\n1 problem, 1 warning\n"
        );
        assert!(report.has_problems());
        assert_eq!(report.json()["findings"][1]["level"], "warn");
        assert_eq!(report.json()["problems"], 1);
    }
}
