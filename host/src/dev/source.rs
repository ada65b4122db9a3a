//! The place in a handler's source that a message names: `File "app.py", line 7` of a Python
//! traceback, or `src/lib.rs:7:5` of compilers and other languages.
//!
//! A message comes from a guest, so it can name any file. Only files below the folder of handlers
//! are read.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

/// The number of lines that are shown before and after the line of a message.
const CONTEXT_LINES: usize = 4;

/// The maximum length of a source file that is read, in bytes.
const MAX_SOURCE_BYTES: u64 = 1 << 20;

/// The maximum length of a line that is shown, in characters.
const MAX_LINE_CHARS: usize = 300;

/// The maximum number of places in a message that are tried.
const MAX_PLACES: usize = 50;

/// The name of the text in messages of the parser of WebAssembly's text format.
const UNNAMED: &str = "<anon>";

/// The lines around a place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Excerpt {
    /// The file, relative to the folder of handlers.
    file: String,
    /// The line of the message, from 1.
    pub(super) line: usize,
    /// The number of the first line in `lines`.
    first: usize,
    lines: Vec<String>,
}

/// A place that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The file, absolute.
    pub(super) path: PathBuf,
    /// The column of the message, from 1.
    pub(super) column: usize,
    pub(super) excerpt: Excerpt,
}

/// A place that a message names.
#[derive(Debug, PartialEq, Eq)]
struct Place<'m> {
    file: &'m str,
    line: usize,
    column: usize,
}

/// Finds the place that a message of a handler is about: the last frame of a traceback that is in
/// the handler's own files, or the first other place.
pub(super) fn find(handlers: &Path, name: &str, file: &str, message: &str) -> Option<Found> {
    let root = handlers.canonicalize().ok()?;
    let own = handlers.join(file);
    let mut folders = vec![handlers.join(name), handlers.to_owned()];
    if own.is_dir() {
        folders.insert(0, own.clone());
    } else if let Some(parent) = own.parent() {
        folders.insert(1, parent.to_owned());
    }
    let resolve = |place: &Place<'_>| {
        let named = Path::new(place.file);
        let is_own = place.file == UNNAMED || named.file_name() == own.file_name();
        if !own.is_dir() && is_own {
            return Some(own.clone());
        }
        let parts: Vec<_> = named
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        // A guest's path has other folders in front.
        (0..parts.len()).find_map(|skipped| {
            let rest: PathBuf = parts.iter().skip(skipped).collect();
            folders
                .iter()
                .map(|folder| folder.join(&rest))
                .find(|path| path.is_file())
        })
    };
    let frames: Vec<_> = python(message).collect();
    let frames = frames.iter().rev().chain([]);
    let others: Vec<_> = general(message).collect();
    for place in frames.chain(&others).take(MAX_PLACES) {
        let Some(path) = resolve(place) else { continue };
        let Ok(path) = path.canonicalize() else {
            continue;
        };
        let Ok(relative) = path.strip_prefix(&root) else {
            continue;
        };
        if let Some(excerpt) = excerpt(&path, relative, place.line) {
            return Some(Found {
                column: place.column,
                excerpt,
                path,
            });
        }
    }
    None
}

/// Returns the frames of Python's tracebacks.
fn python(message: &str) -> impl Iterator<Item = Place<'_>> {
    message.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("File \"")?;
        let (file, rest) = rest.split_once("\", line ")?;
        let (line, _) = number(rest)?;
        Some(Place {
            file,
            line,
            column: 1,
        })
    })
}

/// Returns the places in the form `file:line` or `file:line:column`.
fn general(message: &str) -> impl Iterator<Item = Place<'_>> {
    let is_outside = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '\'' | '`' | ',');
    message.split(is_outside).filter_map(|word| {
        let (at, _) = word.match_indices(':').find(|(at, _)| {
            word.get(at + 1..)
                .is_some_and(|rest| number(rest).is_some())
        })?;
        let file = word.get(..at)?;
        let (line, rest) = number(word.get(at + 1..)?)?;
        let column = rest.strip_prefix(':').and_then(number);
        (!file.is_empty()).then_some(Place {
            file,
            line,
            column: column.map_or(1, |(column, _)| column),
        })
    })
}

/// Parses the number at the start of a text. Returns the rest as well.
fn number(text: &str) -> Option<(usize, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text.get(..length)?.parse().ok()?;
    (number > 0).then_some((number, text.get(length..)?))
}

fn excerpt(path: &Path, relative: &Path, line: usize) -> Option<Excerpt> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(MAX_SOURCE_BYTES).read_to_end(&mut bytes).ok()?;
    // A binary has no lines to show.
    if bytes.contains(&0) {
        return None;
    }
    let text = String::from_utf8_lossy(&bytes);
    let first = line.saturating_sub(CONTEXT_LINES).max(1);
    let lines: Vec<String> = text
        .lines()
        .skip(first - 1)
        .take(line - first + 1 + CONTEXT_LINES)
        .map(|line| {
            let shown: String = line.chars().take(MAX_LINE_CHARS).collect();
            crate::printable::block(&shown.replace('\t', "    ")).to_string()
        })
        .collect();
    (lines.len() > line - first).then(|| Excerpt {
        file: crate::printable::line_of_bytes(relative.as_os_str().as_encoded_bytes()).to_string(),
        line,
        first,
        lines,
    })
}

impl Excerpt {
    /// Returns the lines, with their numbers, as they follow a message in a log: each indented on a
    /// line of its own.
    pub(super) fn indented(&self) -> String {
        let lines = self.text();
        lines
            .lines()
            .map(|line| format!("\n      {line}"))
            .collect()
    }

    /// Returns the lines with their numbers.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}:{}\n", self.file, self.line);
        for (number, line) in (self.first..).zip(&self.lines) {
            let mark = if number == self.line { '>' } else { ' ' };
            text.push_str(&format!("{mark} {number:>5}  {line}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn site() -> tempfile::TempDir {
        let site = tempfile::tempdir().expect("a folder");
        let folder = site.path().join("handlers");
        fs::create_dir_all(folder.join("shop/lib")).expect("made");
        let lines: String = (1..=20).map(|line| format!("line {line}\n")).collect();
        for file in ["hello.py", "shop/app.py", "shop/lib/cart.py"] {
            fs::write(folder.join(file), &lines).expect("written");
        }
        fs::write(site.path().join("secret.txt"), &lines).expect("written");
        site
    }

    fn found(site: &tempfile::TempDir, name: &str, file: &str, message: &str) -> Option<String> {
        let found = find(&site.path().join("handlers"), name, file, message)?;
        Some(format!("{}:{}", found.excerpt.file, found.excerpt.line))
    }

    #[test]
    fn the_last_own_frame_of_a_traceback_is_shown() {
        let site = site();
        let message = "ValueError: no\n  File \"/app/app.py\", line 3, in application\n  \
                       File \"/app/lib/cart.py\", line 7, in add\n  \
                       File \"/lib/python3.14/json/decoder.py\", line 99, in decode\n";
        let place = found(&site, "shop", "shop", message);
        assert_eq!(place.as_deref(), Some("shop/lib/cart.py:7"));
        let place = found(
            &site,
            "hello",
            "hello.py",
            "File \"hello.py\", line 20, in f",
        );
        assert_eq!(place.as_deref(), Some("hello.py:20"));
    }

    #[test]
    fn the_first_place_of_a_compiler_is_shown() {
        let site = site();
        let message = "error[E0308]: mismatched\n --> lib/cart.py:12:5\n  ::: app.py:1:1";
        let found = find(&site.path().join("handlers"), "shop", "shop", message).expect("found");
        assert_eq!((found.excerpt.line, found.column), (12, 5));
        assert_eq!(found.excerpt.first, 8);
        assert_eq!(found.excerpt.lines.len(), 9);
        assert!(found.excerpt.text().contains(">    12  line 12\n"));
    }

    #[test]
    fn a_text_without_a_name_is_the_file_of_the_handler() {
        let site = site();
        let place = found(
            &site,
            "hello",
            "hello.py",
            "unknown operator --> <anon>:3:5 | 3 |",
        );
        assert_eq!(place.as_deref(), Some("hello.py:3"));
        assert_eq!(found(&site, "shop", "shop", "--> <anon>:3:5"), None);
    }

    #[test]
    fn no_file_outside_the_folder_is_read() {
        let site = site();
        let secret = site.path().join("secret.txt");
        std::os::unix::fs::symlink(&secret, site.path().join("handlers/shop/link.txt"))
            .expect("linked");
        for file in [
            "../secret.txt",
            "../../secret.txt",
            "/etc/passwd",
            "link.txt",
            secret.to_str().expect("a name"),
        ] {
            let message = format!("File \"{file}\", line 1, in f\n{file}:1:1");
            assert_eq!(found(&site, "shop", "shop", &message), None, "{file}");
        }
    }

    #[test]
    fn lines_that_do_not_exist_and_binaries_are_not_shown() {
        let site = site();
        fs::write(site.path().join("handlers/hello.wasm"), b"\0asm\n\n").expect("written");
        for message in [
            "hello.py:21",
            "hello.py:0",
            "hello.py:99999999999999999999",
            ":1",
            "a:b:1",
        ] {
            assert_eq!(
                found(&site, "hello", "hello.py", message),
                None,
                "{message}"
            );
        }
        assert_eq!(found(&site, "hello", "hello.wasm", "hello.wasm:1"), None);
    }
}
