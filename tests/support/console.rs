//! The console blocks of a document: commands, and the output that the document shows for them.
//!
//! `cargo xtask docs` and the test suite use the same rules: a line that begins with `$ ` is a
//! command, the lines below it are its output, and `…` stands for any text.

/// A command of a console block.
#[derive(Debug, PartialEq)]
pub(crate) struct Example {
    pub(crate) command: String,
    /// The lines below the command.
    pub(crate) expected: Vec<String>,
}

/// Returns the commands of a console block.
pub(crate) fn examples(block: &[&str]) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for line in block {
        if let Some(command) = line.strip_prefix("$ ") {
            examples.push(Example {
                command: command.to_owned(),
                expected: Vec::new(),
            });
        } else if let Some(example) = examples.last_mut() {
            example.expected.push((*line).to_owned());
        }
    }
    examples
}

/// Returns whether an output contains all lines that a document shows, in order.
pub(crate) fn is_as_shown(output: &str, expected: &[String]) -> bool {
    let mut lines = output.lines();
    expected.iter().all(|wanted| {
        let parts: Vec<&str> = wanted.split('…').collect();
        wanted == "…" || lines.any(|line| matches(line, &parts))
    })
}

/// Returns whether a line consists of these parts, with any text between them.
fn matches(line: &str, parts: &[&str]) -> bool {
    let [first, between @ .., last] = parts else {
        return parts == [line];
    };
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
