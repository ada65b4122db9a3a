//! Opening a path that may not be a file.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Opens a file for reading, without blocking if it is not a file.
pub(super) fn open(path: &Path) -> rustix::io::Result<File> {
    // Without NONBLOCK, opening a FIFO would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from)
}
