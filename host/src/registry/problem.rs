//! A problem with a file, described in one line that says how to fix it.

use std::fmt;
use std::path::Path;

use super::handler::Version;
use crate::host_name;
use crate::printable;
use crate::router::Route;

/// The maximum length of an error's text, in characters. A parser's message fits; a whole line of
/// minified source that it quotes does not.
const MAX_REASON_CHARS: usize = 600;

/// A reason why a file is not served or not visible.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// The file, prefixed with the folder as it was configured: `handlers/notes.txt`. Contains no
    /// control characters.
    pub file: String,
    /// The kind of problem, for programs.
    pub kind: ProblemKind,
    /// The problem and how to fix it, for people. One line without control characters.
    pub text: String,
}

/// The kinds of [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProblemKind {
    /// The file's extension is neither `.wasm` nor `.wat`.
    NotAHandler,
    /// The file's path is not a valid route.
    BadRoute,
    /// Another file has the same route and is served instead.
    Conflict,
    /// The file or folder could not be read.
    Unreadable,
    /// The file's content is not a handler that this server can run.
    Broken {
        /// The content that failed to load.
        version: Version,
        /// The content that is served instead, if an earlier one loaded.
        serving: Option<Version>,
    },
    /// The project could not be built.
    NotBuilt,
    /// A handler hides a page.
    ShadowedPage,
}

impl Problem {
    /// Creates a problem with the given text, with line ends and hidden characters replaced.
    pub(crate) fn new(file: String, kind: ProblemKind, text: &str) -> Problem {
        Problem {
            file,
            kind,
            text: folded_line(text),
        }
    }

    /// Creates a problem for a `file` with the same route as `winner`.
    pub(crate) fn conflict(file: String, route: &Route, winner: &str) -> Problem {
        let text = format!("{winner} already serves {route}: rename or remove one of the two");
        Problem::new(file, ProblemKind::Conflict, &text)
    }

    /// Creates a problem for a `file` whose content does not load.
    pub(crate) fn broken(
        file: String,
        route: &Route,
        version: Version,
        serving: Option<Version>,
        error: &anyhow::Error,
    ) -> Problem {
        let error = folded_line(&format!("{error:#}"));
        let text = match serving {
            Some(_) => format!("{error}; the previous version still serves {route}"),
            None => format!("{error}; {route} is not served"),
        };
        Problem {
            file,
            kind: ProblemKind::Broken { version, serving },
            text,
        }
    }
}

impl Problem {
    /// Adds the virtual host that the file belongs to.
    pub(crate) fn of_host(mut self, host: Option<&str>) -> Problem {
        self.text = host_name::of_host(host, self.text);
        self
    }

    /// Reports whether the file could not be loaded or read.
    pub(crate) fn keeps_from_loading(&self) -> bool {
        matches!(
            self.kind,
            ProblemKind::Broken { .. } | ProblemKind::Unreadable | ProblemKind::NotBuilt
        )
    }

    /// Returns the route of a file in `folder` that does not load. None if an earlier version of
    /// the file is served.
    pub(super) fn broken_route(&self, folder: &Path) -> Option<Route> {
        let ProblemKind::Broken { serving: None, .. } = self.kind else {
            return None;
        };
        Route::parse(self.name(folder)?).ok()
    }

    /// Returns the name of the handler that this file in `folder` defines: `users/[id]`.
    pub(super) fn name(&self, folder: &Path) -> Option<&str> {
        let folder = label(folder, Path::new(""));
        let file = self.file.strip_prefix(&folder)?.trim_start_matches('/');
        file.rsplit_once('.').map(|(stem, _)| stem)
    }
}

impl ProblemKind {
    /// Returns the kind as one word, for programs.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::NotAHandler => "not-a-handler",
            Self::BadRoute => "bad-route",
            Self::Conflict => "conflict",
            Self::Unreadable => "unreadable",
            Self::Broken { .. } => "broken",
            Self::NotBuilt => "not-built",
            Self::ShadowedPage => "shadowed-page",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.text)
    }
}

/// Formats the path of a file in a folder for people. File names are untrusted: hidden characters
/// in them must not reach a terminal or start a new line in the log.
pub(crate) fn label(folder: &Path, file: &Path) -> String {
    let path = match file.to_str() {
        Some(url) if is_url(url) => file.to_owned(),
        _ => folder.join(file),
    };
    printable::line_of_bytes(path.as_os_str().as_encoded_bytes()).to_string()
}

/// Returns whether the file of a handler is not in the folder: it has a URL in place of a path.
pub(crate) fn is_url(file: &str) -> bool {
    // A path in the folder has no empty segment.
    file.contains("://")
}

/// Replaces every run of white space and control characters in `text` with one space and other
/// hidden characters with their escapes, and cuts a text that is too long.
fn folded_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    let shown = match line.char_indices().nth(MAX_REASON_CHARS) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    };
    printable::block(&shown).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line() {
        let error = anyhow::anyhow!("expected `)`\n     --> 3:5\n\x1b[31mred").context("hello.wat");
        let route = Route::parse("hello").expect("a route");
        let problem = Problem::broken(
            label(Path::new("handlers"), Path::new("he\nllo.wat")),
            &route,
            Version::from_content(b""),
            None,
            &error,
        );
        assert_eq!(
            problem.to_string(),
            "handlers/he\\nllo.wat: hello.wat: expected `)` --> 3:5 [31mred; /hello is not served"
        );
    }

    #[test]
    fn a_name_cant_change_the_direction_of_its_line() {
        let file = label(Path::new("handlers"), Path::new("a\u{202e}msaw.b\u{2028}"));
        assert_eq!(file, "handlers/a\\u{202e}msaw.b\\u{2028}");
        let problem = Problem::new(file, ProblemKind::NotAHandler, "x\u{2066}y");
        assert!(problem.to_string().ends_with(": x\\u{2066}y"), "{problem}");
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = "ä".repeat(MAX_REASON_CHARS + 1);
        let problem = Problem::new(String::new(), ProblemKind::Unreadable, &text);
        assert_eq!(problem.text.chars().count(), MAX_REASON_CHARS + 2);
        assert!(problem.text.ends_with("ä …"));
    }
}
