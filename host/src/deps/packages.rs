//! Installed packages in a folder: their limits, and their compiled modules.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::printable;

/// The maximum number of files and folders: Django with ten large packages has 20,000.
const MAX_NAMES: usize = 50_000;

/// The maximum total size of the files, in bytes: what an application's own files may have, twice.
const MAX_BYTES: u64 = 512 << 20;

/// The maximum nesting of folders.
const MAX_DEPTH: usize = 40;

/// The maximum size of a package's list of files, in bytes. The list of 20,000 files has 2 MiB.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// The extensions of compiled modules.
const COMPILED: [&str; 3] = ["so", "pyd", "dylib"];

/// The packages in a folder.
#[derive(Debug)]
pub(super) struct Packages {
    folder: PathBuf,
    /// The packages with their compiled files and top-level modules.
    found: Vec<Package>,
}

/// An installed package.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    /// The compiled files, relative to the folder.
    pub(super) compiled: Vec<String>,
    /// The names of its top-level modules.
    pub(super) modules: Vec<String>,
}

impl Packages {
    /// Inspects a folder into which packages were installed.
    ///
    /// # Errors
    ///
    /// Fails if it exceeds a limit, or if it contains something that is neither a file nor a
    /// folder.
    pub(super) fn inspect(folder: &Path) -> anyhow::Result<Self> {
        let files = files(folder)?;
        let is_compiled = |name: &&String| {
            let extension = Path::new(name).extension().and_then(|it| it.to_str());
            extension.is_some_and(|extension| COMPILED.contains(&extension))
        };
        // Without an owner until a package's list has it.
        let mut compiled: BTreeMap<&str, bool> = files
            .iter()
            .filter(is_compiled)
            .map(|name| (&**name, false))
            .collect();
        let mut found = Vec::new();
        for record in files
            .iter()
            .filter(|name| name.ends_with(".dist-info/RECORD"))
        {
            let Some((info, _)) = record.split_once(".dist-info/") else {
                continue;
            };
            let text = read(&folder.join(record)).with_context(|| record.clone())?;
            let mut package = Package {
                name: info.split('-').next().unwrap_or(info).to_owned(),
                compiled: Vec::new(),
                modules: Vec::new(),
            };
            for line in text.lines() {
                let file = line.split(',').next().unwrap_or_default();
                if let Some(is_owned) = compiled.get_mut(file) {
                    *is_owned = true;
                    package.compiled.push(file.to_owned());
                } else if let Some(module) = top_level_module(file)
                    && !package.modules.iter().any(|known| known == module)
                {
                    package.modules.push(module.to_owned());
                }
            }
            found.push(package);
        }
        if let Some((file, _)) = compiled.iter().find(|(_, is_owned)| !**is_owned) {
            bail!(
                "{}: a compiled file of no package",
                printable::one_line(file)
            );
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self {
            folder: folder.to_owned(),
            found,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    pub(super) fn has_compiled(&self) -> bool {
        self.with_compiled().next().is_some()
    }

    /// Returns the packages that have compiled files.
    pub(super) fn with_compiled(&self) -> impl Iterator<Item = &Package> {
        self.found
            .iter()
            .filter(|package| !package.compiled.is_empty())
    }

    /// Returns the names of the packages that have compiled files, each with one of the files.
    pub(super) fn compiled(&self) -> Vec<(String, String)> {
        self.with_compiled()
            .map(|package| (package.name.clone(), package.compiled[0].clone()))
            .collect()
    }

    /// Empties the compiled files, which the sandbox can't load. The names remain, so that a failed
    /// import can be explained.
    pub(super) fn empty_compiled_modules(&self) -> anyhow::Result<()> {
        for file in self.found.iter().flat_map(|package| &package.compiled) {
            File::create(self.folder.join(file))
                .with_context(|| format!("{file}: can't be emptied"))?;
        }
        Ok(())
    }
}

/// Returns the names of all files in a folder and below, relative to it.
fn files(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let (mut names, mut bytes) = (0, 0_u64);
    let mut folders = vec![(String::new(), 0)];
    while let Some((below, depth)) = folders.pop() {
        for entry in fs::read_dir(folder.join(&below)).context("can't be read")? {
            let entry = entry.context("can't be read")?;
            names += 1;
            ensure!(
                names <= MAX_NAMES,
                "has more than {MAX_NAMES} files and folders"
            );
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                bail!("{}: a name that is not UTF-8", name.display());
            };
            let name = match &*below {
                "" => name.to_owned(),
                _ => format!("{below}/{name}"),
            };
            // Doesn't follow links.
            let metadata = entry.metadata().context("can't be read")?;
            if metadata.is_dir() {
                ensure!(
                    depth < MAX_DEPTH,
                    "has more than {MAX_DEPTH} folders in each other"
                );
                folders.push((name, depth + 1));
            } else if metadata.is_file() {
                bytes = bytes.saturating_add(metadata.len());
                ensure!(
                    bytes <= MAX_BYTES,
                    "has more than {} MiB of files",
                    MAX_BYTES >> 20
                );
                found.push(name);
            } else {
                bail!(
                    "{}: neither a file nor a folder",
                    printable::one_line(&name)
                );
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the top-level module that a file of a package belongs to, if it is a Python file.
fn top_level_module(file: &str) -> Option<&str> {
    let module = match file.split_once('/') {
        Some((folder, rest)) if rest.ends_with(".py") => folder,
        Some(_) => return None,
        None => file.strip_suffix(".py")?,
    };
    let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_name(module) && !module.is_empty()).then_some(module)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = Vec::new();
    File::open(file)?
        .take(MAX_RECORD_BYTES + 1)
        .read_to_end(&mut text)?;
    ensure!(
        text.len() as u64 <= MAX_RECORD_BYTES,
        "larger than {} MiB",
        MAX_RECORD_BYTES >> 20
    );
    String::from_utf8(text).context("not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        folder
    }

    #[test]
    fn compiled_modules_belong_to_packages_and_are_emptied() {
        let record = "markupsafe/__init__.py,sha256=a,1\nmarkupsafe/_speedups.x.so,,\n\
                      six.py,,\nbin/tool,,\na-b/c.py,,\n";
        let folder = folder(&[
            ("markupsafe/__init__.py", ""),
            ("markupsafe/_speedups.x.so", "machine code"),
            ("six.py", ""),
            ("MarkupSafe-3.0.4.dist-info/RECORD", record),
            ("other-1.dist-info/RECORD", "other/__init__.py,,\n"),
        ]);
        let packages = Packages::inspect(folder.path()).expect("fine");
        assert_eq!(packages.count(), 2);
        let compiled = "markupsafe/_speedups.x.so".to_owned();
        assert_eq!(
            packages.compiled(),
            [("MarkupSafe".to_owned(), compiled.clone())]
        );
        assert_eq!(packages.found[0].modules, ["markupsafe", "six"]);
        packages.empty_compiled_modules().expect("emptied");
        assert_eq!(fs::read(folder.path().join(compiled)).expect("there"), b"");
    }

    #[test]
    fn what_no_package_has_is_refused() {
        let told = |folder: &tempfile::TempDir| {
            Packages::inspect(folder.path())
                .expect_err("refused")
                .to_string()
        };
        let links = folder(&[("a.py", "")]);
        std::os::unix::fs::symlink("/etc", links.path().join("etc")).expect("made");
        assert_eq!(told(&links), "etc: neither a file nor a folder");
        let stray = folder(&[("a.so", "")]);
        assert_eq!(told(&stray), "a.so: a compiled file of no package");
        let large = folder(&[("a.py", "")]);
        let file = File::create(large.path().join("b.py")).expect("created");
        file.set_len(MAX_BYTES + 1).expect("sized");
        assert_eq!(told(&large), "has more than 512 MiB of files");
    }
}
