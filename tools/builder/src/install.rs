//! Installs a built file where a server may be reading the old one.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

/// Copies a file by renaming a draft, so that a watcher never sees a partial file. Does nothing if
/// the destination already has the same content. Returns whether it wrote.
pub(crate) fn install(file: &Path, place: &Path) -> Result<bool> {
    let content = fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
    match fs::read(place) {
        Ok(present) if present == content => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("can't read {}", place.display())),
    }
    write_by_rename(&content, place).with_context(|| format!("can't write {}", place.display()))?;
    Ok(true)
}

/// Copies all files of a folder and of its subfolders with `install`. Keeps other files that the
/// destination has. Does nothing if the folder doesn't exist.
///
/// # Errors
///
/// Fails if a file or folder can't be read or written.
pub fn install_folder(folder: &Path, place: &Path) -> Result<()> {
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("can't read {}", folder.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("can't read {}", folder.display()))?;
        let (from, to) = (entry.path(), place.join(entry.file_name()));
        match from.is_dir() {
            true => install_folder(&from, &to)?,
            false => install(&from, &to).map(drop)?,
        }
    }
    Ok(())
}

fn write_by_rename(content: &[u8], place: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(folder)?;
    // In the same folder, because a rename can't cross file systems; with a leading dot, because
    // the server ignores such files.
    let draft = folder.join(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let written = fs::write(&draft, content).and_then(|()| fs::rename(&draft, place));
    if written.is_err() {
        // The first failure is the one to report.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_once_and_leaves_no_draft() {
        let folder = tempfile::tempdir().expect("a folder");
        let built = folder.path().join("built");
        let place = folder.path().join("handlers/users/[id].wasm");
        fs::write(&built, "one").expect("written");

        assert!(install(&built, &place).expect("installed"), "it is new");
        let first = fs::metadata(&place)
            .expect("it is there")
            .modified()
            .expect("a time");
        assert!(
            !install(&built, &place).expect("installed"),
            "it is the same"
        );
        let second = fs::metadata(&place)
            .expect("it is there")
            .modified()
            .expect("a time");
        assert_eq!(first, second, "the same content is not written again");

        fs::write(&built, "two").expect("written");
        assert!(
            install(&built, &place).expect("installed"),
            "it has changed"
        );
        assert_eq!(fs::read(&place).expect("readable"), b"two");
        let files = place
            .parent()
            .expect("a folder")
            .read_dir()
            .expect("readable")
            .count();
        assert_eq!(files, 1, "the draft is gone");
    }

    #[test]
    fn a_folder_is_copied_with_its_subfolders_and_one_that_is_not_there_is_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (built, place) = (folder.path().join("built"), folder.path().join("installed"));
        install_folder(&built, &place).expect("nothing to do");
        assert!(!place.exists());

        fs::create_dir_all(built.join("python/lib")).expect("made");
        fs::write(built.join("python/lib/os.py"), "new").expect("written");
        fs::create_dir_all(place.join("python/lib")).expect("made");
        fs::write(place.join("python/lib/os.py"), "old").expect("written");
        install_folder(&built, &place).expect("installed");
        let installed = fs::read(place.join("python/lib/os.py")).expect("it is there");
        assert_eq!(installed, b"new");
    }

    #[test]
    fn a_reader_that_has_the_old_file_open_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("a.wasm");
        write_by_rename(b"old", &place).expect("written");
        let open = fs::File::open(&place).expect("open");
        write_by_rename(b"new and longer", &place).expect("written");
        assert_eq!(io::read_to_string(open).expect("readable"), "old");
    }

    #[test]
    fn a_place_that_is_a_folder_is_an_error_without_a_draft() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("a.wasm");
        fs::create_dir(&place).expect("made");
        assert!(write_by_rename(b"x", &place).is_err());
        assert_eq!(folder.path().read_dir().expect("readable").count(), 1);
    }
}
