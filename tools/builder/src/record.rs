//! The list of files that `cargo xtask build` wrote to `handlers/`, with the folders of their
//! sources. It identifies handlers whose sources have been removed, which would otherwise be served
//! forever without a known origin.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::HANDLERS;

/// The name of the list. It starts with a dot, so the server ignores it.
const NAME: &str = ".built";

/// Each file in `handlers/` that was built, with the folder of its sources. Both are paths relative
/// to the repository's root.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Record(BTreeMap<String, String>);

impl Record {
    /// Reads the list, which is empty if the file doesn't exist.
    ///
    /// # Errors
    ///
    /// Fails if the file exists and can't be read.
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

    /// Records a file and the folder of its sources.
    pub(crate) fn note(&mut self, built: &Path, source: &Path) {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        self.0.insert(text(built), text(source));
    }

    /// Returns the recorded files that exist but are no longer built by their sources, because the
    /// sources were removed or have another route. Removes files that don't exist from the list.
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
    /// Fails if it can't be written.
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
