//! The findings, for people and for programs.

use std::fmt;

use serde_json::{Value, json};

use super::finding::{Finding, Level};
use crate::printable;

/// The maximum number of requests that the text of a finding names. The others are only counted.
const NAMES_COUNT: usize = 3;

/// The findings of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileReport {
    /// The file, as given on the command line. Contains no control characters.
    pub file: String,
    /// The kind of handler, if it loaded.
    pub kind: Option<String>,
    /// The number of requests sent to it.
    pub requests_count: usize,
    /// Whether the remaining requests were skipped because one request used up its budget.
    pub is_cut_short: bool,
    /// The findings, each once, the most severe first, with the requests that triggered them.
    pub findings: Vec<(Finding, Vec<&'static str>)>,
}

/// The findings of all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// One report per file, in the order of the command line.
    pub files: Vec<FileReport>,
}

impl FileReport {
    /// Creates a report without findings.
    pub(super) fn new(file: String) -> Self {
        Self {
            file,
            kind: None,
            requests_count: 0,
            is_cut_short: false,
            findings: Vec::new(),
        }
    }

    /// Adds the findings of a request. The name is empty for findings that no request triggered.
    pub(super) fn add(&mut self, request: &'static str, findings: Vec<Finding>) {
        for finding in findings {
            let at = self
                .findings
                .iter()
                .position(|(known, _)| *known == finding);
            let names = match at.and_then(|at| self.findings.get_mut(at)) {
                Some((_, names)) => names,
                None => {
                    self.findings.push((finding, Vec::new()));
                    let Some((_, names)) = self.findings.last_mut() else {
                        continue;
                    };
                    names
                }
            };
            if !request.is_empty() && names.last() != Some(&request) {
                names.push(request);
            }
        }
        self.findings.sort_by_key(|(finding, _)| finding.level);
    }

    /// Reports whether the handler breaks a rule.
    pub(crate) fn has_errors(&self) -> bool {
        self.count(Level::Error) > 0
    }

    fn count(&self, level: Level) -> usize {
        let findings = self.findings.iter();
        findings
            .filter(|(finding, _)| finding.level == level)
            .count()
    }

    fn json(&self) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|(finding, requests)| {
                json!({
                    "level": finding.level.as_str(),
                    "rule": finding.rule,
                    "what": finding.what,
                    "fix": finding.fix,
                    "requests": requests,
                })
            })
            .collect();
        json!({
            "file": self.file,
            "kind": self.kind,
            "requests": self.requests_count,
            "ok": !self.has_errors(),
            "findings": findings,
        })
    }
}

impl Report {
    /// Reports whether any of the handlers breaks a rule.
    pub(crate) fn has_errors(&self) -> bool {
        self.files.iter().any(FileReport::has_errors)
    }

    /// Returns the report as JSON: `{"ok": …, "files": [{"file", "kind", "requests", "ok",
    /// "findings"}]}`.
    pub(crate) fn json(&self) -> Value {
        let files: Vec<Value> = self.files.iter().map(FileReport::json).collect();
        json!({ "ok": !self.has_errors(), "files": files })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.iter().try_for_each(|file| write!(f, "{file}"))
    }
}

/// One line for the file, then a few lines for each finding.
impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warning));
        let summary = match (errors, warnings) {
            (0, 0) => "no problems".to_owned(),
            (errors, 0) => count(errors, "error"),
            (0, warnings) => count(warnings, "warning"),
            (errors, warnings) => {
                format!("{}, {}", count(errors, "error"), count(warnings, "warning"))
            }
        };
        write!(f, "{}: {summary}", self.file)?;
        if self.requests_count > 0 {
            write!(f, " in {}", count(self.requests_count, "request"))?;
        }
        if self.is_cut_short {
            f.write_str(" (stopped after one that exceeded its budget)")?;
        }
        writeln!(f)?;
        for (finding, requests) in &self.findings {
            show(finding, requests, f)?;
        }
        Ok(())
    }
}

fn show(finding: &Finding, requests: &[&str], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let level = finding.level.as_str();
    let what = printable::indented(&finding.what);
    writeln!(f, "  {level} {}: {what}", finding.rule)?;
    if let Some(named) = requests.get(..NAMES_COUNT.min(requests.len()))
        && !named.is_empty()
    {
        let others = requests.len() - named.len();
        write!(f, "    seen in: {}", named.join("; "))?;
        match others {
            0 => writeln!(f)?,
            others => writeln!(f, "; and {others} more")?,
        }
    }
    if !finding.fix.is_empty() {
        writeln!(f, "    do: {}", printable::indented(&finding.fix))?;
    }
    Ok(())
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_listed_once_the_most_severe_first() {
        let mut report = FileReport::new("a.wasm".into());
        report.requests_count = 5;
        let warning = || Finding::warning("R1", "odd", "");
        for request in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            report.add(request, vec![warning(), warning()]);
        }
        report.add("GET", vec![Finding::error("R3", "called\ntwice", "once")]);
        assert_eq!(
            report.to_string(),
            "\
a.wasm: 1 error, 1 warning in 5 requests
  error R3: called
    twice
    seen in: GET
    do: once
  warning R1: odd
    seen in: GET; HEAD; PUT; and 2 more
"
        );
        assert!(report.has_errors());
    }

    #[test]
    fn warnings_are_not_errors_and_json_has_all_findings() {
        let mut report = FileReport::new("a.wasm".into());
        report.add("GET", vec![Finding::warning("R1", "odd", "fix")]);
        let report = Report {
            files: vec![report],
        };
        let json = report.json();
        assert_eq!(json["ok"], true);
        assert_eq!(json["files"][0]["findings"][0]["rule"], "R1");
        assert_eq!(json["files"][0]["findings"][0]["requests"][0], "GET");
    }
}
