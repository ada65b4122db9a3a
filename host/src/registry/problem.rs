//! What is wrong with a file, in one line that says what to do about it.

use std::fmt;
use std::path::Path;

use super::handler::Version;
use crate::printable;
use crate::router::Route;

/// Characters of an error's text that are kept. A parser's complaint fits; a whole source line of
/// minified text that it quotes does not.
const MAX_REASON_CHARS: usize = 600;

/// Something that keeps a file from being served, or from being seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where: the file with the folder as it was given, `handlers/notes.txt`. Free of control
    /// characters.
    pub file: String,
    /// Which sort of problem, for programs.
    pub kind: ProblemKind,
    /// What is wrong and what to do, for people. One line, free of control characters.
    pub text: String,
}

/// The sorts of [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// The file is not called `.wasm` or `.wat`.
    NotAHandler,
    /// The file's path makes no route.
    BadRoute,
    /// Another file makes the same route, and that one is served.
    Conflict,
    /// The file or folder could not be read.
    Unreadable,
    /// The file's content is no handler that runs here.
    Broken {
        /// The content that was tried.
        version: Version,
        /// The content that is served instead, if an earlier one loaded.
        serving: Option<Version>,
    },
    /// A handler hides a page.
    ShadowedPage,
}

impl Problem {
    /// A problem with the given text, whose line ends and hidden characters are replaced.
    pub fn new(file: String, kind: ProblemKind, text: &str) -> Problem {
        Problem {
            file,
            kind,
            text: one_line(text),
        }
    }

    /// `file` makes a route that `winner` makes too.
    pub(crate) fn conflict(file: String, route: &Route, winner: &str) -> Problem {
        let text =
            format!("{route} is served by {winner} already: rename or remove one of the two");
        Problem::new(file, ProblemKind::Conflict, &text)
    }

    /// The content of `file` does not load.
    pub(crate) fn broken(
        file: String,
        route: &Route,
        version: Version,
        serving: Option<Version>,
        error: &anyhow::Error,
    ) -> Problem {
        let error = one_line(&format!("{error:#}"));
        let text = match serving {
            Some(_) => format!("{error}; the version before it serves {route} on"),
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
    /// Whether it is of a file that can't be loaded or read.
    pub(crate) fn keeps_from_loading(&self) -> bool {
        matches!(
            self.kind,
            ProblemKind::Broken { .. } | ProblemKind::Unreadable
        )
    }

    /// The route that would be served if the file loaded, for a file in `folder` that does not,
    /// where no earlier content of it is served.
    pub(super) fn broken_route(&self, folder: &Path) -> Option<Route> {
        let ProblemKind::Broken { serving: None, .. } = self.kind else {
            return None;
        };
        Route::parse(self.name(folder)?).ok()
    }

    /// What the handler would be called whose file in `folder` it is: `users/[id]`.
    pub(super) fn name(&self, folder: &Path) -> Option<&str> {
        let folder = label(folder, Path::new(""));
        let file = self.file.strip_prefix(&folder)?.trim_start_matches('/');
        file.rsplit_once('.').map(|(stem, _)| stem)
    }
}

impl ProblemKind {
    /// In a word, for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotAHandler => "not-a-handler",
            Self::BadRoute => "bad-route",
            Self::Conflict => "conflict",
            Self::Unreadable => "unreadable",
            Self::Broken { .. } => "broken",
            Self::ShadowedPage => "shadowed-page",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.text)
    }
}

/// How a file in a folder is named to people. A file's name is the word of whoever made the file:
/// what is hidden in it must not reach a terminal or begin a new line in the log.
pub(crate) fn label(folder: &Path, file: &Path) -> String {
    let path = folder.join(file);
    printable::line_of_bytes(path.as_os_str().as_encoded_bytes()).to_string()
}

/// `text` with every run of white space and control characters as one space, other hidden
/// characters by their escapes, and cut where it gets too long.
fn one_line(text: &str) -> String {
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
            Version::of(b""),
            None,
            &error,
        );
        assert_eq!(
            problem.to_string(),
            "handlers/he\\nllo.wat: hello.wat: expected `)` --> 3:5 [31mred; /hello is not served"
        );
    }

    #[test]
    fn a_name_cant_turn_its_line_around() {
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
