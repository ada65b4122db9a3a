//! Blocking access to a store for the command line, while a server runs or not.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::bucket::BucketId;
use super::embedded::{self, Database, OpenError, failed};
use super::frame::{self, Message};
use super::operation::{Entry, Failure, Operation, Reply, Request};
use super::options::{Limits, StateOptions};
use super::queue::Job;
use super::redis::Connection;
use super::store::Place;

/// How long another process may take to listen after it has opened the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Blocking access to the store of a site.
#[derive(Debug)]
pub struct Admin {
    access: Access,
    limits: Limits,
}

#[derive(Debug)]
enum Access {
    /// This process has the database open. A server that starts now waits.
    Owner(Database),
    /// Another process has it open.
    Peer(UnixStream),
    Redis(Box<Connection>),
}

impl Admin {
    /// Opens the store of a site. Returns `None` if no handler has stored anything and `creates` is
    /// false.
    ///
    /// # Errors
    ///
    /// Fails with one line if the store is not available.
    pub fn open(
        options: &StateOptions,
        limits: Limits,
        creates: bool,
    ) -> Result<Option<Self>, Failure> {
        let access = match Place::new(options) {
            Place::Folder(folder) if !creates && !embedded::exists(&folder) => return Ok(None),
            Place::Folder(folder) => Access::open(&folder)?,
            Place::Redis { url, prefix } => {
                Access::Redis(Box::new(Connection::open(&url, &prefix)?))
            }
        };
        Ok(Some(Self { access, limits }))
    }

    /// Executes an operation.
    ///
    /// # Errors
    ///
    /// Fails if a limit is exceeded, the store is not available, or the value is not a number.
    pub fn call(&mut self, bucket: BucketId, operation: Operation) -> Result<Reply, Failure> {
        operation.check(&self.limits)?;
        let request = Request {
            bucket,
            keys_count: self.limits.keys_count,
            bucket_bytes: self.limits.bucket_bytes,
            total_bytes: self.limits.total_bytes,
            operation,
        };
        match &mut self.access {
            Access::Owner(database) => {
                if request.operation.is_read() {
                    return database
                        .read(&request)
                        .unwrap_or_else(|error| Err(failed(&error)));
                }
                let (sender, result) = mpsc::channel();
                let sink = move |result| drop(sender.send(result));
                let written = database.write(vec![Job::new(request, Box::new(sink))]);
                written.map_err(|error| failed(&error))?;
                let ended = || Failure::new("the store has ended during the operation");
                result.recv().unwrap_or_else(|_| Err(ended()))
            }
            Access::Peer(stream) => {
                frame::write(stream, 1, &Message::Request(request)).map_err(gone)?;
                match frame::read(stream).map_err(gone)? {
                    Some((_, Message::Reply(result))) => result,
                    _ => Err(Failure::new("the store has ended during the operation")),
                }
            }
            Access::Redis(connection) => connection.call(&request),
        }
    }

    /// Calls `each` with all keys and values of one bucket or of all, sorted by bucket and key. The
    /// embedded store shows all of them as they were at one time.
    ///
    /// # Errors
    ///
    /// Fails if the store is not available, or with the first error of `each`.
    pub fn export(
        &mut self,
        bucket: Option<&BucketId>,
        mut each: impl FnMut(Entry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let bucket = bucket.map(BucketId::as_str);
        match &mut self.access {
            Access::Owner(database) => database.export(bucket, each),
            Access::Peer(stream) => {
                let request = Message::Export(bucket.map(str::to_owned));
                frame::write(stream, 1, &request).map_err(gone)?;
                loop {
                    match frame::read(stream).map_err(gone)? {
                        Some((_, Message::Entry(entry))) => each(entry)?,
                        Some((_, Message::Reply(result))) => return result.map(drop),
                        _ => return Err(Failure::new("the store has ended during the export")),
                    }
                }
            }
            Access::Redis(connection) => connection.export(bucket, each),
        }
    }
}

impl Access {
    fn open(folder: &Path) -> Result<Self, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            match Database::open(folder) {
                Ok(database) => return Ok(Self::Owner(database)),
                Err(OpenError::Failed(why)) => return Err(Failure(why)),
                Err(OpenError::Locked) => {}
            }
            if let Some(stream) = embedded::connect(folder).map_err(Failure)? {
                return Ok(Self::Peer(stream));
            }
            if Instant::now() >= until {
                return Err(Failure(format!(
                    "{}: the store is open in another process that doesn't answer",
                    folder.display()
                )));
            }
            thread::sleep(PAUSE);
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn gone(error: std::io::Error) -> Failure {
    Failure(format!("the store's owner doesn't answer: {error}"))
}
