//! What `cargo xtask build` has put into `handlers/`, and from which sources: a list beside the
//! files, so that one whose sources are gone can be named. It goes on serving otherwise, and
//! nobody knows where it comes from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::HANDLERS;

/// The list's name. It begins with a dot, so the server takes no notice of it.
const NAME: &str = ".built";

/// Each file in `handlers/` that was built, with the folder of its sources. Both are paths from
/// the repository's top folder.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Record(BTreeMap<String, String>);

impl Record {
    /// Reads the list; an empty one where there is none.
    ///
    /// # Errors
    ///
    /// When it is there and can't be read.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let file = file(root);
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("can't read {}", file.display()))?,
        };
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(Self(
            lines
                .map(|(built, source)| (built.to_owned(), source.to_owned()))
                .collect(),
        ))
    }

    /// Takes note of a file and the folder of its sources.
    pub(crate) fn note(&mut self, built: &Path, source: &Path) {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        self.0.insert(text(built), text(source));
    }

    /// Files that are there and whose sources build them no more, which `built` does: the gone
    /// source, or another route. Files that are gone are forgotten.
    pub(crate) fn orphans(
        &mut self,
        root: &Path,
        builds: impl Fn(&str) -> bool,
    ) -> Vec<(String, String)> {
        self.0.retain(|built, _| root.join(built).is_file());
        self.0
            .iter()
            .filter(|(built, _)| !builds(built))
            .map(|(built, source)| (built.clone(), source.clone()))
            .collect()
    }

    /// Writes the list.
    ///
    /// # Errors
    ///
    /// When it can't be written.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let lines = self.0.iter();
        let text: String = lines
            .map(|(built, source)| format!("{built}\t{source}\n"))
            .collect();
        let file = file(root);
        if fs::read_to_string(&file).is_ok_and(|present| present == text) {
            return Ok(());
        }
        fs::write(&file, text).with_context(|| format!("can't write {}", file.display()))
    }
}

fn file(root: &Path) -> PathBuf {
    root.join(HANDLERS).join(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_sources_build_it_no_more_is_an_orphan() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join(HANDLERS)).expect("made");
        let mut record = Record::read(root.path()).expect("there is none");
        for name in ["kept", "gone", "removed"] {
            let built = format!("{HANDLERS}/{name}.wasm");
            record.note(Path::new(&built), &Path::new(HANDLERS).join(name));
            if name != "removed" {
                fs::write(root.path().join(&built), "").expect("written");
            }
        }
        record.write(root.path()).expect("written");
        let mut record = Record::read(root.path()).expect("it is there");
        let orphans = record.orphans(root.path(), |built| built.contains("kept"));
        let orphan = ("handlers/gone.wasm".to_owned(), "handlers/gone".to_owned());
        assert_eq!(orphans, [orphan]);
        assert_eq!(record.0.len(), 2, "what is gone is forgotten");
    }
}
