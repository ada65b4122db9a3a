//! The requirements of an application, from `requirements.txt` or `pyproject.toml`.
//!
//! Only names of packages are accepted, with versions and markers. A path, a URL or a repository
//! could make the installer run a build on this machine, outside the sandbox.

use std::path::{Component, Path};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::printable;
use crate::regular_file;

/// The file that pip's users write.
const FILE: &str = "requirements.txt";

/// The project's file (PEP 621).
const PROJECT: &str = "pyproject.toml";

/// The maximum size of each file, in bytes. A file with a thousand pinned packages and their hashes
/// has 200 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The maximum number of requirements: several times that of large applications.
const MAX_REQUIREMENTS: usize = 2_000;

/// The maximum number of files that are included, by each other or several times.
const MAX_INCLUDED: usize = 50;

/// The maximum length of a line in a message, in bytes.
const SHOWN_BYTES: usize = 80;

/// The checked requirements of an application.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Requirements {
    lines: Vec<String>,
    included: usize,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProjectFile {
    project: Project,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Project {
    dependencies: Vec<String>,
}

impl Requirements {
    /// Returns the requirements of an application, if it has any: those of `requirements.txt`, or
    /// otherwise `project.dependencies` of `pyproject.toml`.
    ///
    /// # Errors
    ///
    /// Fails with file and line if one of them is not accepted, or if a file can't be read.
    pub(super) fn from_application(application: &Path) -> anyhow::Result<Option<Self>> {
        let mut found = Self::default();
        if let Some(text) = read(application, FILE)? {
            found.add_file(application, FILE, &text)?;
        } else if let Some(text) = read(application, PROJECT)? {
            let file: ProjectFile = toml::from_str(&text).map_err(|error| {
                anyhow::anyhow!("{PROJECT}: {}", printable::one_line(error.message()))
            })?;
            for (index, requirement) in file.project.dependencies.iter().enumerate() {
                let place = format!("{PROJECT}: project.dependencies[{index}]");
                found.add(requirement, &place)?;
            }
        }
        Ok(Some(found).filter(|found| !found.lines.is_empty()))
    }

    /// Returns the text of a file with them, for an installer.
    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn add_file(&mut self, application: &Path, name: &str, text: &str) -> anyhow::Result<()> {
        for (number, line) in logical_lines(text) {
            let place = format!("{name}:{number}");
            let included = ["--requirement", "-r"]
                .iter()
                .find_map(|option| line.strip_prefix(option));
            let Some(included) = included else {
                self.add(&line, &place)?;
                continue;
            };
            let included = included.trim_start_matches('=').trim();
            let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
            let is_within = Path::new(included).components().all(is_plain);
            ensure!(
                is_within && !included.is_empty(),
                "{place}: {included:?} is not in the application's folder"
            );
            self.included += 1;
            ensure!(
                self.included <= MAX_INCLUDED,
                "{place}: more than {MAX_INCLUDED} files are included"
            );
            let text = read(application, included)?
                .with_context(|| format!("{place}: there is no file {included:?}"))?;
            self.add_file(application, included, &text)?;
        }
        Ok(())
    }

    fn add(&mut self, line: &str, place: &str) -> anyhow::Result<()> {
        let line = line.trim();
        if !is_requirement(line) {
            let shown = printable::front(line, SHOWN_BYTES);
            bail!(
                "{place}: {shown:?} is not accepted: only names of packages are, with versions and \
                 markers, because a path, a URL or an option could run code on this machine"
            );
        }
        ensure!(
            self.lines.len() < MAX_REQUIREMENTS,
            "{place}: more than {MAX_REQUIREMENTS} requirements"
        );
        self.lines.push(line.to_owned());
        Ok(())
    }
}

/// Returns the lines with their numbers, without comments and empty lines, and with continued lines
/// joined.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        let line = match line.find(" #") {
            _ if is_comment => "",
            Some(at) => &line[..at],
            None => line,
        };
        let (number, mut whole) = pending.take().unwrap_or((index + 1, String::new()));
        if let Some(front) = line.strip_suffix('\\') {
            whole.push_str(front);
            pending = Some((number, whole));
            continue;
        }
        whole.push_str(line);
        found.push((number, whole));
    }
    // No line continues the last one: the backslash stays, and is rejected with the line.
    found.extend(pending.map(|(number, line)| (number, line + "\\")));
    found.retain_mut(|(_, line)| {
        *line = line.trim().to_owned();
        !line.is_empty()
    });
    found
}

/// Returns whether a line is a name with optional extras, versions, marker (PEP 508) and hashes.
fn is_requirement(line: &str) -> bool {
    let (line, hashes) = match line.find(" --hash") {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let (front, marker) = line.split_once(';').unwrap_or((line, ""));
    let is_hash = |word: &str| {
        let hash = word
            .strip_prefix("--hash=")
            .and_then(|it| it.split_once(':'));
        hash.is_some_and(|(name, digest)| {
            let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            is_plain(name) && is_plain(digest)
        })
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let name_bytes = front.bytes().take_while(|byte| is_name(*byte)).count();
    let rest = front[name_bytes..].bytes();
    // pip takes the first word that starts with a hyphen for an option, wherever it is.
    !line.contains(" -")
        && front.starts_with(|first: char| first.is_ascii_alphanumeric())
        && rest
            .into_iter()
            .all(|byte| is_name(byte) || b"[],<>=!~*+() ".contains(&byte))
        && marker
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\')
        && hashes.split_whitespace().all(is_hash)
}

/// Reads a file of an application. `None` if it doesn't exist.
fn read(application: &Path, name: &str) -> anyhow::Result<Option<String>> {
    let path = application.join(name);
    let text = match regular_file::read_text(&path, MAX_FILE_BYTES) {
        Ok(text) => text,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => bail!("{name}: {error}"),
    };
    Ok(Some(text.trim_start_matches('\u{feff}').to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn lines_of(files: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        Ok(Requirements::from_application(folder.path())?.map_or(Vec::new(), |found| found.lines))
    }

    #[test]
    fn names_with_versions_extras_markers_and_hashes_are_accepted() {
        let text = "\u{feff}# a comment\nflask[async]>=3,<4  # why\n\nDjango == 5.2.*\n\
                    tzdata; sys_platform == \"win32\"\na.b_c-d~=1.0 (>=1)\n\
                    x==1 \\\n    --hash=sha256:ab12 \\\n    --hash=sha256:cd\n-r more/base.txt\n";
        let found =
            lines_of(&[("requirements.txt", text), ("more/base.txt", "y\n")]).expect("accepted");
        assert_eq!(found.len(), 6, "{found:?}");
        assert_eq!(found[0], "flask[async]>=3,<4");
        assert!(found[4].starts_with("x==1 ") && found[4].ends_with("--hash=sha256:cd"));
        assert_eq!(found[5], "y");
        let project = "[project]\nname = \"a\"\ndependencies = [\"flask\", \"jinja2>3\"]\n";
        assert_eq!(
            lines_of(&[("pyproject.toml", project)])
                .expect("accepted")
                .len(),
            2
        );
        for files in [
            &[][..],
            &[("requirements.txt", "# nothing\n")],
            &[("pyproject.toml", "[tool.wasgi]\n")],
        ] {
            assert!(lines_of(files).expect("accepted").is_empty());
        }
    }

    #[test]
    fn what_could_run_code_here_is_refused_with_its_line() {
        for line in [
            "-e .",
            "--editable=.",
            ".",
            "./evil",
            "/evil",
            "evil/",
            "git+https://example.org/evil",
            "evil @ file:///evil",
            "evil @ https://example.org/evil.tar.gz",
            "https://example.org/evil.tar.gz",
            "--index-url https://example.org/",
            "--no-binary :all:",
            "-c constraints.txt",
            "a --global-option=x",
            "a; python_version > '3' --global-option=x",
            "a --hash=sha256:a --config-settings=x",
            "a==1; x\\",
            "a\u{7f}",
            "-r ../other.txt",
            "-r /etc/passwd",
            "-r requirements.txt",
            "-r missing.txt",
            "-r",
        ] {
            let error = lines_of(&[("requirements.txt", &format!("flask\n{line}\n"))]);
            let told = format!("{:#}", error.expect_err(line));
            assert!(told.starts_with("requirements.txt:"), "{line}: {told}");
            assert!(!told.contains('\n'), "{line}: {told}");
        }
        let project = "[project]\ndependencies = [\"a\\n--no-binary=:all:\"]\n";
        let told = lines_of(&[("pyproject.toml", project)])
            .expect_err("an option")
            .to_string();
        assert!(
            told.starts_with("pyproject.toml: project.dependencies[0]"),
            "{told}"
        );
        let many = "a\n".repeat(MAX_REQUIREMENTS + 1);
        assert!(lines_of(&[("requirements.txt", &many)]).is_err());
        let large = "#".repeat(MAX_FILE_BYTES as usize + 1);
        assert!(lines_of(&[("requirements.txt", &large)]).is_err());
    }
}
