//! Where the access log goes: standard output, or a file that can be opened again.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use rustix::fs::{Mode, OFlags};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::format::LogFormat;
use super::handle::Log;
use super::limits::Limits;
use crate::published::Published;

/// The key that names the destination.
const KEY: &str = "server.access-log";

/// The destination of the access log: `server.access-log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessTarget {
    /// Requests are not logged.
    Off,
    /// Standard output.
    #[default]
    Stdout,
    /// A file, to which lines are appended.
    File(PathBuf),
}

/// The access log of a process. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    out: Log,
    current: Arc<Published<Log>>,
    file: Mutex<Option<OpenFile>>,
}

/// The file that is being written.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    log: Log,
}

impl AccessTarget {
    /// Opens the destination if it is a file, for [`AccessLog::with_file`].
    ///
    /// # Errors
    ///
    /// Fails if the path can't be opened for writing, or is not a regular file.
    pub(crate) fn open(&self) -> anyhow::Result<Option<File>> {
        match self {
            Self::File(path) => append(path).map(Some),
            Self::Off | Self::Stdout => Ok(None),
        }
    }
}

impl AccessLog {
    /// Opens the destination. `out` is the log of standard output.
    ///
    /// # Errors
    ///
    /// Fails if the path can't be opened for writing, or is not a regular file.
    pub(crate) fn open(out: Log, target: &AccessTarget, limits: &Limits) -> anyhow::Result<Self> {
        Self::with_file(out, target, limits, target.open()?)
    }

    /// Uses a destination that [`AccessTarget::open`] has opened as `file`.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a thread.
    pub(crate) fn with_file(
        out: Log,
        target: &AccessTarget,
        limits: &Limits,
        file: Option<File>,
    ) -> anyhow::Result<Self> {
        let log = Self(Arc::new(Inner {
            current: Arc::new(Published::new(out.clone())),
            out,
            file: Mutex::new(None),
        }));
        if let (AccessTarget::File(path), Some(file)) = (target, file) {
            log.use_file(&mut log.file(), path, file, limits)?;
        }
        Ok(log)
    }

    /// Returns the log that lines are sent to: the current one, and those that replace it.
    pub(crate) fn current(&self) -> Arc<Published<Log>> {
        self.0.current.clone()
    }

    /// Changes the destination. A file that stays the same is not opened again.
    ///
    /// # Errors
    ///
    /// Fails as [`AccessLog::open`] does. The previous destination then stays in use.
    pub(crate) fn set_target(&self, target: &AccessTarget, limits: &Limits) -> anyhow::Result<()> {
        let mut file = self.file();
        let AccessTarget::File(path) = target else {
            if file.take().is_some() {
                self.0.current.publish(self.0.out.clone());
            }
            return Ok(());
        };
        if file.as_ref().is_some_and(|open| open.path == *path) {
            return Ok(());
        }
        self.use_file(&mut file, path, append(path)?, limits)
    }

    fn use_file(
        &self,
        current: &mut Option<OpenFile>,
        path: &Path,
        file: File,
        limits: &Limits,
    ) -> anyhow::Result<()> {
        let log = Log::start_for_access("access", file, limits)?;
        log.set_format(self.0.out.format());
        self.0.current.publish(log.clone());
        *current = Some(OpenFile {
            path: path.to_owned(),
            log,
        });
        Ok(())
    }

    /// Opens the file again under its path, after it was renamed. Lines that are being written are
    /// completed first. Logs an error and continues with the open file if that fails.
    pub(crate) fn reopen(&self) {
        let file = self.file();
        let Some(OpenFile { path, log }) = &*file else {
            tracing::info!("the access log is not a file: there is nothing to reopen");
            return;
        };
        match append(path) {
            Ok(file) => log.replace(Box::new(file), format!("{}", Shown(path))),
            Err(error) => tracing::error!("{error:#}; the open file is used on"),
        }
    }

    /// Applies new limits.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        self.0.out.set_limits(limits);
        if let Some(file) = &*self.file() {
            file.log.set_limits(limits);
        }
    }

    /// Sets the format of messages.
    pub(crate) fn set_format(&self, format: LogFormat) {
        self.0.out.set_format(format);
        if let Some(file) = &*self.file() {
            file.log.set_format(format);
        }
    }

    /// Waits until all lines are written; see [`Log::flush`].
    pub(crate) fn flush(&self) {
        let file = self.file().as_ref().map(|file| file.log.clone());
        if let Some(log) = file {
            log.flush();
        }
        self.0.out.flush();
    }

    /// Locks the file. A panic while the lock is held leaves the file usable.
    fn file(&self) -> MutexGuard<'_, Option<OpenFile>> {
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a regular file for appending, or creates it, readable by its owner and group.
fn append(path: &Path) -> anyhow::Result<File> {
    let shown = Shown(path);
    // Without waiting: a FIFO that no process reads fails instead.
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let open = || -> io::Result<File> {
        let file = File::from(rustix::fs::open(path, flags, mode)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("not a regular file")),
        }
    };
    open().with_context(|| format!("{KEY}: could not write to {shown}"))
}

/// Formats a path on one line.
struct Shown<'p>(&'p Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.as_os_str().as_encoded_bytes();
        crate::printable::line_of_bytes(path).fmt(f)
    }
}

impl Serialize for AccessTarget {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => to.serialize_bool(false),
            Self::Stdout => to.serialize_bool(true),
            Self::File(path) => path.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for AccessTarget {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Target;

        impl Visitor<'_> for Target {
            type Value = AccessTarget;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a file's path in quotes")
            }

            fn visit_bool<E: Error>(self, is_on: bool) -> Result<AccessTarget, E> {
                Ok(match is_on {
                    true => AccessTarget::Stdout,
                    false => AccessTarget::Off,
                })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AccessTarget, E> {
                let is_switch = ["true", "false", "yes", "no", "on", "off"]
                    .iter()
                    .any(|word| text.eq_ignore_ascii_case(word));
                if is_switch {
                    return Err(E::invalid_type(Unexpected::Str(text), &"a boolean"));
                }
                if text.is_empty() || text.contains('\0') {
                    return Err(E::invalid_value(Unexpected::Str(text), &self));
                }
                Ok(AccessTarget::File(text.into()))
            }
        }

        from.deserialize_any(Target)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).expect("made");
        for path in [&*fifo, Path::new("/dev/full"), folder.path()] {
            let error = append(path).expect_err("it is not a file");
            let line = format!("{error:#}");
            assert!(
                line.starts_with("server.access-log: could not write to "),
                "{line}"
            );
        }
        let file = folder.path().join("a.log");
        fs::write(&file, "before\n").expect("written");
        io::Write::write_all(&mut append(&file).expect("a file"), b"after\n").expect("written");
        assert_eq!(fs::read_to_string(&file).expect("read"), "before\nafter\n");
    }
}
