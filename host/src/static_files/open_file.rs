//! A page's file while it is read: open, and known by what it was like when it was found.

use std::fs::File;

use rustix::fs::Stat;

/// A regular file, open for reading. Where it stands doesn't matter, and it is not moved.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    /// Its length in bytes, and when its content was changed last, in seconds and nanoseconds since
    /// 1970. Another file that is put in its place by `rename` changes neither.
    was: (i64, (i64, i64)),
}

impl OpenFile {
    /// A file in the state that `stat` says.
    pub(crate) fn new(file: File, stat: &Stat) -> Self {
        Self {
            file,
            was: state(stat),
        }
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether what was read up to now is of one version: nothing has been written over it. Where
    /// the file has only become longer it is taken for one that is appended to, as logs are, and
    /// what it had before is still there.
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

    /// Longer than the steps in which the kernel tells the time of a change.
    const A_TICK: Duration = Duration::from_millis(20);

    #[test]
    fn what_is_written_over_shows_and_what_is_appended_does_not() {
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
