//! Drops files into the folder of handlers.

#[path = "../../../tests/support/generator/mod.rs"]
mod generator;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use self::generator::{Generated, Generator};
use crate::server::Site;

/// A file that has been dropped.
#[derive(Clone, Debug)]
pub(crate) struct Dropped {
    /// The request target of its route.
    pub(crate) target: String,
    pub(crate) path: PathBuf,
}

/// An iterator of hostile files, which writes each when it returns it.
pub(crate) struct Drops {
    generator: Generator,
    handlers: PathBuf,
    aside: PathBuf,
}

impl Drops {
    /// Creates an iterator that generates files from the site's own handlers and from nothing.
    ///
    /// # Errors
    ///
    /// Fails if there are no handlers.
    pub(crate) fn new(site: &Site, seed: u64) -> Result<Self> {
        let mut files: Vec<PathBuf> = fs::read_dir(&site.originals)
            .with_context(|| format!("can't read {}", site.originals.display()))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "wasm"))
            .collect();
        // Sorted, so that a seed gives the same files whatever the order of the folder's entries
        // is.
        files.sort();
        let seeds: Vec<Vec<u8>> = files
            .iter()
            .map(fs::read)
            .collect::<Result<_, _>>()
            .context("can't read a handler")?;
        ensure!(!seeds.is_empty(), "no handler is built");
        Ok(Self {
            generator: Generator::new(seed, seeds),
            handlers: site.handlers(),
            aside: site.aside(),
        })
    }

    /// Returns the number of kinds of files.
    pub(crate) fn kinds() -> usize {
        Generator::kinds()
    }

    fn write(&self, file: &Generated) -> Result<Dropped> {
        let path = self.handlers.join(&file.file);
        fs::write(&self.aside, &file.bytes).context("can't write a file")?;
        fs::rename(&self.aside, &path).context("can't move a file to the handlers")?;
        Ok(Dropped {
            target: format!("/{}", file.route),
            path,
        })
    }
}

impl Iterator for Drops {
    type Item = Result<Dropped>;

    fn next(&mut self) -> Option<Result<Dropped>> {
        let file = self.generator.next()?;
        Some(self.write(&file))
    }
}
