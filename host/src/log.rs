//! Where log lines go: each output has a thread of its own that writes, so that a terminal or a
//! pipe which takes nothing for a while stalls that thread and no request.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tracing_subscriber::fmt::MakeWriter;

/// Pieces of log that may wait for an output that takes nothing. A piece is a line of the error
/// log, or what one turn of a reactor adds to the access log.
const QUEUE_PIECES: usize = 4096;

/// How long the end of the program waits for an output to take the last lines.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// How often it looks whether there is room in the queue by then.
const FLUSH_POLL: Duration = Duration::from_millis(5);

/// A log's way to its output. Clones share it.
#[derive(Clone, Debug)]
pub struct Log {
    queue: SyncSender<Piece>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Piece {
    Text(Vec<u8>),
    /// Answer when everything before this has been written.
    Flush(SyncSender<()>),
}

impl Log {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    ///
    /// Fails when the system gives no thread.
    pub fn start(name: &str, output: impl Write + Send + 'static) -> anyhow::Result<Self> {
        let (queue, pieces) = mpsc::sync_channel(QUEUE_PIECES);
        let dropped = Arc::<AtomicU64>::default();
        thread::Builder::new()
            .name(format!("wasgi-{name}"))
            .spawn({
                let dropped = dropped.clone();
                move || write_all(output, &pieces, &dropped)
            })
            .with_context(|| format!("could not start the thread of the {name} log"))?;
        Ok(Self { queue, dropped })
    }

    /// Hands over text. Never waits: when the output is too slow, the text is dropped, and the log
    /// says later how often that happened.
    pub fn send(&self, text: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Piece::Text(text)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything so far is written, or for two seconds: an output that takes nothing
    /// loses its last lines, and keeps nobody from ending.
    pub fn flush(&self) {
        let until = Instant::now() + FLUSH_PATIENCE;
        let (done, wait) = mpsc::sync_channel(1);
        let mut flush = Piece::Flush(done);
        // Not `send`: a queue that is full may stay so.
        while let Err(TrySendError::Full(back)) = self.queue.try_send(flush) {
            if Instant::now() >= until {
                return;
            }
            flush = back;
            thread::sleep(FLUSH_POLL);
        }
        // Fails when it takes too long, or when the log's thread is gone.
        let _ = wait.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// The error log's thread takes what `tracing` formats.
impl<'a> MakeWriter<'a> for Log {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> LogWriter {
        LogWriter {
            log: self.clone(),
            line: Vec::new(),
        }
    }
}

/// Gathers one event's text and hands it over whole.
#[derive(Debug)]
pub struct LogWriter {
    log: Log,
    line: Vec<u8>,
}

impl Write for LogWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.log.send(std::mem::take(&mut self.line));
    }
}

fn write_all(mut output: impl Write, pieces: &Receiver<Piece>, dropped: &AtomicU64) {
    for piece in pieces {
        let result = match piece {
            Piece::Text(text) => output.write_all(&text).and_then(|()| output.flush()),
            Piece::Flush(done) => {
                // Whoever asked may have given up waiting.
                let _ = done.send(());
                Ok(())
            }
        };
        let missed = dropped.swap(0, Ordering::Relaxed);
        if missed > 0 {
            // An output that is gone for good gets nothing more; the server goes on without it.
            let _ = writeln!(
                output,
                "(the log was too slow: {missed} pieces of it were dropped)"
            );
        }
        let _ = result;
    }
}

/// Sends what `tracing` says to `log`: warnings and errors of the server, and what handlers write.
pub fn install(log: Log, colours: bool) {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_target(false)
        .with_ansi(colours)
        .with_writer(log)
        .init();
}
