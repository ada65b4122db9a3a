//! Reading a path that an argument or a file names, which may turn out not to be a file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Why a file can't be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It is a folder, a device, a socket or a FIFO.
    NotRegular,
    /// It is larger than this limit, in bytes.
    TooLarge(u64),
    /// The system can't open or read it.
    Io(io::Error),
}

/// Opens a path for reading. Doesn't wait: opening a FIFO would otherwise wait for a writer.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    Ok(File::from(file))
}

/// Reads a regular file of at most `max_bytes` bytes.
///
/// # Errors
///
/// Fails if the path is not a regular file, if it is larger, or if it can't be read.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ReadError::NotRegular);
    }
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 > max_bytes {
        true => Err(ReadError::TooLarge(max_bytes)),
        false => Ok(bytes),
    }
}

/// Reads a regular file of at most `max_bytes` bytes as text.
///
/// # Errors
///
/// Fails as [`read`] does, or if the content is not UTF-8.
pub(crate) fn read_text(path: &Path, max_bytes: u64) -> Result<String, ReadError> {
    let bytes = read(path, max_bytes)?;
    String::from_utf8(bytes).map_err(|_| {
        let why = "not UTF-8";
        ReadError::Io(io::Error::new(io::ErrorKind::InvalidData, why))
    })
}

impl ReadError {
    /// Returns whether there is no such file.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegular => f.write_str("not a regular file"),
            Self::TooLarge(limit) if limit % (1 << 20) == 0 => {
                write!(f, "larger than {} MiB", limit >> 20)
            }
            Self::TooLarge(limit) => write!(f, "larger than {} KiB", limit >> 10),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_regular_file_within_the_limit_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "1234").expect("written");
        assert_eq!(read(&file, 4).expect("it fits"), b"1234");
        assert!(matches!(read(&file, 3), Err(ReadError::TooLarge(3))));
        let none = read(&folder.path().join("none"), 4).expect_err("it is missing");
        assert!(none.is_not_found());
        fs::write(&file, b"\xff").expect("written");
        let text = read_text(&file, 4).expect_err("it is no text");
        assert_eq!(text.to_string(), "not UTF-8");
    }

    #[test]
    fn a_fifo_a_device_and_a_folder_are_rejected_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR).expect("made");
        for path in [&*fifo, Path::new("/dev/zero"), folder.path()] {
            assert!(matches!(read(path, 10), Err(ReadError::NotRegular)));
        }
    }
}
