//! The owner of a database: executes the operations of its own process and of others.
//!
//! One thread writes: it takes all operations that wait and commits them together, so that the
//! number of writes to the disk doesn't grow with the number of clients. Another one reads, and
//! doesn't wait for the disk's writes. Each connection of another process has two: one that reads
//! requests, one that writes replies.

use std::collections::HashMap;
use std::io::{BufReader, BufWriter, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::database::{Database, failed};
use super::socket;
use crate::state::frame::{self, Message};
use crate::state::operation::{Failure, Reply};
use crate::state::queue::{Job, Queue, Which, stopping};

/// The maximum number of connections: more than the processes of a server and a few commands.
const MAX_CONNECTIONS: usize = 1100;

/// How long a process may not read its replies, before its connection is closed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause after a connection could not be accepted, for a lack of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often an owner that stops looks whether its connections have ended.
const STOP_POLL: Duration = Duration::from_millis(5);

/// The size of the buffers of a connection, in bytes: that of a pipe.
const BUFFER_BYTES: usize = 64 << 10;

/// The failure of operations after which the owner ends.
const PANICKED: &str = "the store has panicked: is its database damaged?";

/// The owner's threads.
struct Owner<'o> {
    database: &'o Database,
    queue: &'o Queue,
    /// The threads that read and write must end.
    is_over: AtomicBool,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    /// The connections whose requests are being received.
    open: HashMap<u64, UnixStream>,
    last: u64,
    /// No more connections are served.
    is_stopped: bool,
}

/// Serves until the queue is closed or the database must be opened again.
///
/// # Errors
///
/// Fails if the socket can't be bound, or the disk has failed.
pub(super) fn run(database: &Database, folder: &Path, queue: &Queue) -> Result<(), String> {
    let listener = socket::bind(folder).map_err(|error| {
        let path = folder.join(socket::SOCKET_NAME);
        format!("{}: {error}", path.display())
    })?;
    let no_thread = |error| format!("no thread for the store: {error}");
    let owner = Owner {
        database,
        queue,
        is_over: AtomicBool::new(false),
        connections: Mutex::default(),
    };
    thread::scope(|scope| {
        let (owner, listener) = (&owner, &listener);
        let accept = move || {
            while !owner.lock().is_stopped {
                match listener.accept() {
                    Ok((stream, _)) => {
                        // Without a thread, the connection is closed.
                        let _ = thread::Builder::new()
                            .name("wasgi-state-peer".into())
                            .spawn_scoped(scope, move || owner.serve(&stream));
                    }
                    Err(_) => thread::sleep(ACCEPT_PAUSE),
                }
            }
        };
        let started = thread::Builder::new()
            .name("wasgi-state-accept".into())
            .spawn_scoped(scope, accept)
            .and_then(|_| {
                thread::Builder::new()
                    .name("wasgi-state-read".into())
                    .spawn_scoped(scope, || owner.read())
            });
        let written = started.map_err(no_thread).and_then(|_| owner.write());
        owner.stop(listener);
        written
    })
}

impl Owner<'_> {
    /// Executes operations that write, until the queue is closed and empty, another process is to
    /// open the database, or the disk fails.
    fn write(&self) -> Result<(), String> {
        loop {
            let is_over = |is_closed| {
                is_closed || self.queue.is_released() || self.is_over.load(Ordering::Acquire)
            };
            let jobs = self.queue.take(Which::Writes, None, is_over);
            if jobs.is_empty() {
                return Ok(());
            }
            self.commit(jobs)?;
        }
    }

    /// Executes operations that write. A panic, in a damaged database for instance, must end the
    /// owner and not leave its other threads without it.
    fn commit(&self, jobs: Vec<Job>) -> Result<(), String> {
        match catch_unwind(AssertUnwindSafe(|| self.database.write(jobs))) {
            Ok(written) => written.map_err(|error| failed(&error).0),
            Err(_) => Err(PANICKED.into()),
        }
    }

    /// Executes operations that read, until the owner stops.
    fn read(&self) {
        loop {
            let is_over = |_| self.is_over.load(Ordering::Acquire);
            let jobs = self.queue.take(Which::Reads, None, is_over);
            if jobs.is_empty() {
                return;
            }
            jobs.into_iter().for_each(|job| self.answer(job));
        }
    }

    /// Executes an operation that reads. If the disk fails, the owner stops, and the database is
    /// opened again.
    fn answer(&self, job: Job) {
        let read = catch_unwind(AssertUnwindSafe(|| self.database.read(&job.request)));
        let read = match read {
            Ok(read) => read.map_err(|error| failed(&error)),
            Err(_) => Err(Failure::new(PANICKED)),
        };
        let answer = read.unwrap_or_else(|failure| {
            tracing::error!("state: {failure}");
            self.is_over.store(true, Ordering::Release);
            self.queue.wake();
            Err(failure)
        });
        (job.sink)(answer);
    }

    /// Ends all threads but this one. Operations that were received are still executed: when a
    /// connection ends with a goodbye, those without a reply were not.
    fn stop(&self, listener: &UnixListener) {
        {
            let mut connections = self.lock();
            connections.is_stopped = true;
            for connection in connections.open.values() {
                let _ = connection.shutdown(Shutdown::Read);
            }
        }
        let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Read);
        loop {
            // In this order: a connection ends after its last operation is in the queue.
            let have_ended = self.lock().open.is_empty();
            let jobs = self.queue.take(Which::All, Some(STOP_POLL), |_| have_ended);
            if jobs.is_empty() && have_ended {
                break;
            }
            let (reads, writes) = jobs
                .into_iter()
                .partition(|job| job.request.operation.is_read());
            let _ = self.commit(writes);
            let reads: Vec<Job> = reads;
            reads.into_iter().for_each(|job| self.answer(job));
        }
        self.is_over.store(true, Ordering::Release);
        self.queue.wake();
    }

    /// Serves a connection until either side ends it.
    fn serve(&self, stream: &UnixStream) {
        let Some(number) = self.register(stream) else {
            return;
        };
        let (sender, replies) = mpsc::channel();
        thread::scope(|scope| {
            let writer = thread::Builder::new()
                .name("wasgi-state-reply".into())
                .spawn_scoped(scope, move || {
                    if send(stream, &replies).is_err() {
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                });
            if writer.is_ok() {
                self.receive(stream, &sender);
            }
            // The last reply ends the other thread.
            drop(sender);
            self.lock().open.remove(&number);
        });
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// Registers a connection, unless the owner stops or has too many.
    fn register(&self, stream: &UnixStream) -> Option<u64> {
        let clone = stream.try_clone().ok()?;
        let mut connections = self.lock();
        if connections.is_stopped || connections.open.len() >= MAX_CONNECTIONS {
            return None;
        }
        connections.last += 1;
        let number = connections.last;
        connections.open.insert(number, clone);
        Some(number)
    }

    /// Puts the requests of a connection into the queue.
    fn receive(&self, stream: &UnixStream, replies: &Sender<(u64, Message)>) {
        let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
        match frame::read(&mut stream) {
            Ok(Some((id, hello))) if hello == Message::hello() => {
                let _ = replies.send((id, hello));
            }
            Ok(Some((id, _))) => {
                let why = "the store is open in a program of another version";
                let _ = replies.send((id, Message::Reply(Err(Failure::new(why)))));
                return;
            }
            Ok(None) | Err(_) => return,
        }
        // A damaged message ends the connection, too.
        while let Ok(Some((id, message))) = frame::read(&mut stream) {
            let to_peer = replies.clone();
            match message {
                Message::Request(request) => {
                    let sink = move |result| {
                        let _ = to_peer.send((id, Message::Reply(result)));
                    };
                    self.queue.push_waiting(Job::new(request, Box::new(sink)));
                }
                Message::Export(bucket) => {
                    let exported = self.export(stream.get_ref(), id, bucket.as_deref());
                    let reply = exported.map(|()| Reply::Done);
                    let _ = replies.send((id, Message::Reply(reply)));
                }
                _ => return,
            }
        }
    }

    /// Sends all entries. The peer must not have requests without a reply.
    fn export(&self, stream: &UnixStream, id: u64, bucket: Option<&str>) -> Result<(), Failure> {
        let mut stream = BufWriter::with_capacity(BUFFER_BYTES, stream);
        let gone = |error| Failure(format!("the reader of the export is gone: {error}"));
        self.database.export(bucket, |entry| {
            if self.lock().is_stopped {
                return Err(stopping());
            }
            frame::write(&mut stream, id, &Message::Entry(entry)).map_err(gone)
        })?;
        stream.flush().map_err(gone)
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends replies as long as there can be more, and then the end.
fn send(stream: &UnixStream, replies: &Receiver<(u64, Message)>) -> std::io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut stream = BufWriter::with_capacity(BUFFER_BYTES, stream);
    while let Ok((id, message)) = replies.recv() {
        frame::write(&mut stream, id, &message)?;
        while let Ok((id, message)) = replies.try_recv() {
            frame::write(&mut stream, id, &message)?;
        }
        stream.flush()?;
    }
    frame::write(&mut stream, 0, &Message::Goodbye)?;
    stream.flush()
}
