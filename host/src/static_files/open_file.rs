//! An open file of a page, with the state in which it was found.

use std::fs::File;

use rustix::fs::Stat;

/// A regular file, open for reading. Its file position is not used or changed.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    /// The length in bytes and the time of the last change to the content, in seconds and
    /// nanoseconds since 1970. Replacing the file by `rename` changes neither.
    was: (i64, (i64, i64)),
}

impl OpenFile {
    /// Creates an open file in the state described by `stat`.
    pub(crate) fn new(file: File, stat: &Stat) -> Self {
        Self {
            file,
            was: state(stat),
        }
    }

    /// Returns the file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reports whether all data read so far is of one version, so that the file was not
    /// overwritten. A file that has only become longer is assumed to be appended to, as logs are,
    /// so that its previous content is intact.
    pub fn is_one_version(&self) -> bool {
        let Ok(stat) = rustix::fs::fstat(&self.file) else {
            return false;
        };
        let (length, modified) = state(&stat);
        modified == self.was.1 || length > self.was.0
    }
}

fn state(stat: &Stat) -> (i64, (i64, i64)) {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    (stat.st_size, (stat.st_mtime, nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    use super::*;

    /// Longer than the resolution of the kernel's change times.
    const A_TICK: Duration = Duration::from_millis(20);

    #[test]
    fn overwriting_is_detected_and_appending_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = folder.path().join("page");
        std::fs::write(&name, "0123456789").expect("written");
        let open = || {
            std::thread::sleep(A_TICK);
            let file = File::open(&name).expect("it is there");
            let stat = rustix::fs::fstat(&file).expect("a state");
            OpenFile::new(file, &stat)
        };
        let writer = File::options().write(true).open(&name).expect("writable");

        let page = open();
        assert!(page.is_one_version());
        let mut log = File::options().append(true).open(&name).expect("writable");
        log.write_all(b"and on").expect("written");
        assert!(page.is_one_version());

        let page = open();
        writer.write_all_at(b"X", 3).expect("written");
        assert!(!page.is_one_version());

        let page = open();
        writer.set_len(3).expect("shorter");
        assert!(!page.is_one_version());

        let page = open();
        std::fs::write(folder.path().join("new"), "other").expect("written");
        std::fs::rename(folder.path().join("new"), &name).expect("replaced");
        assert!(page.is_one_version());
    }
}
