//! Opening a file that may be none.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Opens a file to read it, without waiting where it is none.
pub(super) fn open(path: &Path) -> rustix::io::Result<File> {
    // Without NONBLOCK, opening a FIFO would wait for somebody to write into it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from)
}
