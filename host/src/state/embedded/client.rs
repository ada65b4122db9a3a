//! The client of another process that owns the database.

use std::collections::HashMap;
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::state::frame::{self, Message};
use crate::state::operation::Failure;
use crate::state::queue::{Job, Queue, Which};

/// How long the owner may take to accept a request. It accepts while its disk works, and stops
/// accepting while its own queue is full.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a new owner may take to greet.
const GREETING_PATIENCE: Duration = Duration::from_secs(5);

/// The size of the buffers, in bytes: that of a pipe.
const BUFFER_BYTES: usize = 64 << 10;

/// What a connection has sent.
#[derive(Default)]
struct Sent {
    /// Requests without a reply.
    jobs: Mutex<HashMap<u64, Job>>,
    is_over: AtomicBool,
    /// The owner has said that it executes no more of them.
    has_goodbye: AtomicBool,
}

/// Exchanges the first messages with an owner. Returns false if it has ended.
///
/// # Errors
///
/// Fails with one line if it is of another version.
pub(in crate::state) fn greet(stream: &UnixStream) -> Result<bool, String> {
    let exchange = || {
        stream.set_read_timeout(Some(GREETING_PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut both = stream;
        frame::write(&mut both, 0, &Message::hello())?;
        let reply = frame::read(&mut both)?;
        stream.set_read_timeout(None)?;
        Ok::<_, io::Error>(reply)
    };
    match exchange() {
        Ok(Some((_, message))) if message == Message::hello() => Ok(true),
        Ok(Some((_, Message::Reply(Err(failure))))) => Err(failure.0),
        Ok(_) | Err(_) => Ok(false),
    }
}

/// Sends the operations of a queue to the owner, until either ends.
///
/// # Errors
///
/// Fails with one line if the owner is of another version.
pub(super) fn run(stream: &UnixStream, queue: &Queue) -> Result<(), String> {
    if !greet(stream)? {
        return Ok(());
    }
    let sent = Sent::default();
    thread::scope(|scope| {
        let receiver = thread::Builder::new()
            .name("wasgi-state-reply".into())
            .spawn_scoped(scope, || {
                receive(stream, &sent);
                sent.is_over.store(true, Ordering::Release);
                queue.wake();
            });
        match receiver {
            Ok(_) => {
                let _ = stream.shutdown(match send(stream, queue, &sent) {
                    // Replies to what was sent still arrive.
                    Ok(()) => Shutdown::Write,
                    // The owner executes what it has received, says goodbye and closes.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => Shutdown::Write,
                    // It hangs.
                    Err(_) => Shutdown::Both,
                });
                Ok(())
            }
            Err(error) => {
                let _ = stream.shutdown(Shutdown::Both);
                Err(format!("no thread for the store: {error}"))
            }
        }
    })?;
    sent.settle(queue);
    Ok(())
}

/// Sends operations until the queue is closed or the connection ends.
fn send(stream: &UnixStream, queue: &Queue, sent: &Sent) -> io::Result<()> {
    let mut stream = BufWriter::with_capacity(BUFFER_BYTES, stream);
    let mut id = 0;
    loop {
        let is_over = |is_closed| is_closed || sent.is_over.load(Ordering::Acquire);
        let jobs = queue.take(Which::All, None, is_over);
        if jobs.is_empty() {
            return Ok(());
        }
        // From here on, the owner may execute them.
        let mut messages = Vec::with_capacity(jobs.len());
        {
            let mut waiting = sent.lock();
            for job in jobs {
                id += 1;
                messages.push((id, Message::Request(job.request.clone())));
                waiting.insert(id, job);
            }
        }
        for (id, message) in &messages {
            frame::write(&mut stream, *id, message)?;
        }
        stream.flush()?;
    }
}

/// Passes on replies until the connection ends.
fn receive(stream: &UnixStream, sent: &Sent) {
    let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
    while let Ok(Some((id, message))) = frame::read(&mut stream) {
        match message {
            Message::Reply(result) => {
                let job = sent.lock().remove(&id);
                if let Some(job) = job {
                    (job.sink)(result);
                }
            }
            Message::Goodbye => {
                sent.has_goodbye.store(true, Ordering::Release);
                return;
            }
            _ => return,
        }
    }
}

impl Sent {
    /// Repeats what can be repeated without a reply, and fails the rest.
    fn settle(&self, queue: &Queue) {
        let jobs = std::mem::take(&mut *self.lock());
        let was_not_executed = self.has_goodbye.load(Ordering::Acquire);
        let (again, lost): (Vec<Job>, Vec<Job>) = jobs
            .into_values()
            .partition(|job| was_not_executed || job.request.operation.is_read());
        queue.put_back(again);
        for job in lost {
            (job.sink)(Err(Failure::new(
                "the store has ended during the operation: it may have been executed or not",
            )));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
