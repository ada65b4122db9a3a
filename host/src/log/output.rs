//! A log's output and the thread that writes to it.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, SystemTime};

use super::shared::Shared;
use super::timestamp;
use crate::printable;

/// The pause before retrying an output that would block, such as a terminal that another process
/// has made non-blocking.
const BLOCKED_PAUSE: Duration = Duration::from_millis(10);

/// The pause before retrying an output that failed. A full disk stays full until space is freed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Writes the queued lines to the output of the log called `name`, until the log's last handle is
/// dropped.
pub(super) fn write_all(name: &str, mut output: impl Write, shared: &Shared) {
    let mut has_failed = false;
    while let Some(batch) = shared.take(report) {
        let mut written = 0;
        while let Err(error) = write(&mut output, &batch.text, &mut written) {
            if !std::mem::replace(&mut has_failed, true) {
                tracing::error!(
                    "the {name} log can't be written: {error}; up to limits.log-queue of lines \
                     are queued, and the rest is dropped"
                );
            }
            // The reader is gone, so the rest is discarded. A named pipe may get another reader for
            // later lines.
            if error.kind() == ErrorKind::BrokenPipe || !shared.pause(FAILED_PAUSE) {
                break;
            }
        }
        if written >= batch.text.len() && std::mem::take(&mut has_failed) {
            tracing::info!("the {name} log can be written again");
        }
        shared.finish(&batch, written);
    }
}

/// Writes the rest of `text` after its first `written` bytes, and updates the count.
fn write(output: &mut impl Write, text: &[u8], written: &mut usize) -> io::Result<()> {
    loop {
        let rest = text.get(*written..).unwrap_or_default();
        let result = if rest.is_empty() {
            match output.flush() {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            }
        } else {
            output.write(rest)
        };
        match result {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => *written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(BLOCKED_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Formats a report of dropped lines as a separate log line.
fn report(text: &str) -> String {
    let time = timestamp::micros(SystemTime::now());
    format!("{time}  WARN {}\n", printable::block(text))
}
