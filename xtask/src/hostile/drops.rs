//! Dropping files into the folder of handlers.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::generator::{Generated, Generator};
use super::server::Site;

/// A file that was dropped in.
#[derive(Clone, Debug)]
pub(super) struct Dropped {
    /// What asks for it.
    pub(super) target: String,
    pub(super) path: PathBuf,
}

/// Hostile files, each dropped in when it is taken.
pub(super) struct Drops {
    generator: Generator,
    handlers: PathBuf,
    aside: PathBuf,
}

impl Drops {
    /// Of the site's own handlers, and of nothing.
    ///
    /// # Errors
    ///
    /// When there are no handlers.
    pub(super) fn new(site: &Site, seed: u64) -> Result<Self> {
        let mut files: Vec<PathBuf> = fs::read_dir(&site.originals)
            .with_context(|| format!("can't read {}", site.originals.display()))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "wasm"))
            .collect();
        // The same files for the same seed, in whatever order the folder has them.
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

    fn write(&self, file: &Generated) -> Result<Dropped> {
        let path = self.handlers.join(&file.file);
        fs::write(&self.aside, &file.bytes).context("can't write a file")?;
        fs::rename(&self.aside, &path).context("can't drop a file in")?;
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
