//! A log's output and the thread that writes to it.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, SystemTime};

use super::format::{LogFormat, Subject, json_line};
use super::shared::{Replacement, Shared, Work};
use super::timestamp;
use crate::printable;

/// The pause before retrying an output that would block, such as a terminal that another process
/// has made non-blocking.
const BLOCKED_PAUSE: Duration = Duration::from_millis(10);

/// The pause before retrying an output that failed. A full disk stays full until space is freed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Writes the queued lines to the output of the log called `name`, until the log's last handle is
/// dropped.
pub(super) fn write_all(name: &str, output: Box<dyn Write + Send>, shared: &Shared) {
    let mut writer = Writer {
        name,
        output,
        has_failed: false,
    };
    let report = |text: &str| report(shared.format.get(), text);
    while let Some(work) = shared.take(report) {
        match work {
            Work::Replace(replacement) => writer.replace(replacement),
            Work::Write(batch) => {
                for message in &batch.messages {
                    // The server is the only source of most lines, and goes without saying.
                    let message = message.strip_prefix("wasgi: ").unwrap_or(message);
                    tracing::warn!("the {name} log: {message}");
                }
                let written = writer.write(&batch.text, shared);
                shared.finish(&batch, written);
            }
        }
    }
}

/// The output of a log.
struct Writer<'n> {
    name: &'n str,
    output: Box<dyn Write + Send>,
    has_failed: bool,
}

impl Writer<'_> {
    /// Writes lines. Retries while the output fails, unless its reader is gone or the log is
    /// closed. Returns the number of bytes that were written.
    fn write(&mut self, text: &[u8], shared: &Shared) -> usize {
        let mut written = 0;
        while let Err(error) = write(&mut self.output, text, &mut written) {
            let name = self.name;
            if !std::mem::replace(&mut self.has_failed, true) {
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
            if let Some(replacement) = shared.take_replacement() {
                self.replace(replacement);
                // The new output gets the whole line of which the old one has a part.
                let start = text.get(..written).unwrap_or_default();
                written = memchr::memrchr(b'\n', start).map_or(0, |end| end + 1);
            }
        }
        if written >= text.len() && !text.is_empty() && std::mem::take(&mut self.has_failed) {
            let name = self.name;
            tracing::info!("the {name} log can be written again");
        }
        written
    }

    fn replace(&mut self, replacement: Replacement) {
        self.output = replacement.output;
        let (name, shown) = (self.name, replacement.shown);
        tracing::info!("the {name} log was reopened: {shown}");
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
fn report(format: LogFormat, text: &str) -> String {
    if format == LogFormat::Json {
        return json_line("WARN", Subject::default(), text);
    }
    let time = timestamp::micros(SystemTime::now());
    format!("{time}  WARN {}\n", printable::block(text))
}
