//! A Redis server as the store: the same semantics as the embedded one.
//!
//! One thread has one connection. It takes all operations that wait and sends them together
//! (pipelining), so that one round trip serves many clients. Each operation is one command or one
//! script, and is atomic. Durability is the server's: `appendonly yes` with `appendfsync always`
//! keeps every acknowledged write.
//!
//! A bucket has three keys, which begin with a prefix and its identifier: a hash of its values; a
//! sorted set of its keys (`:keys`), which gives the same order and cursors as the embedded store;
//! and its size (`:bytes`). A set, `PREFIXbuckets`, has the identifiers of all buckets. A bucket's
//! name has no colon, so that no bucket has another one's keys.

mod command;

use std::time::Duration;

use redis::{Client, ConnectionAddr, ConnectionLike, RedisError, Value};

use super::bucket::BucketId;
use super::operation::{BucketStatistics, Entry, Failure, Operation, Reply, Request};
use super::queue::{Job, Queue, Which};
use command::{Scripts, parse};

/// How long a connection may take to open.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// How long the server may take for a reply.
const REPLY_PATIENCE: Duration = Duration::from_secs(5);

/// The pause before the first further attempt to connect.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// The maximum pause between attempts: a server that is back is used after that.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How often a waiting thread checks that its server is still there, to connect again early.
const IDLE: Duration = Duration::from_secs(30);

/// Serves a queue until it is closed.
pub(super) fn run(url: &str, prefix: &str, queue: &Queue) {
    let mut pause = MIN_PAUSE;
    let mut is_away = false;
    loop {
        let failure = match Connection::open(url, prefix) {
            Ok(connection) => {
                if is_away {
                    tracing::info!("state: {} is available again", connection.shown);
                }
                (pause, is_away) = (MIN_PAUSE, false);
                match serve(connection, queue) {
                    Ok(()) => return,
                    Err(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        if !is_away {
            tracing::error!("state: {failure}");
            is_away = true;
        }
        // Meanwhile, operations fail at once.
        let until = std::time::Instant::now() + pause;
        loop {
            let rest = until.saturating_duration_since(std::time::Instant::now());
            let jobs = queue.take(Which::All, Some(rest), |is_closed| is_closed);
            for job in jobs {
                (job.sink)(Err(Failure::unavailable()));
            }
            if queue.is_closed() {
                return;
            }
            if rest.is_zero() {
                break;
            }
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Serves a queue until it is closed.
///
/// # Errors
///
/// Fails when the connection ends. Operations without a reply have failed.
fn serve(mut connection: Connection, queue: &Queue) -> Result<(), Failure> {
    loop {
        let jobs = queue.take(Which::All, Some(IDLE), |is_closed| is_closed);
        if jobs.is_empty() {
            if queue.is_closed() {
                return Ok(());
            }
            connection.check()?;
            continue;
        }
        connection.execute(jobs)?;
    }
}

/// A connection.
pub(super) struct Connection {
    connection: redis::Connection,
    scripts: Scripts,
    prefix: String,
    /// The server's address, without a password.
    shown: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// Fails with one line, without a password.
    pub(super) fn open(url: &str, prefix: &str) -> Result<Self, Failure> {
        let client =
            Client::open(url).map_err(|error| Failure(format!("state.url: {}", reason(&error))))?;
        let shown = format!("Redis at {}", client.get_connection_info().addr());
        let failed =
            |error: RedisError| Failure(format!("{shown} is not available: {}", reason(&error)));
        let mut connection = client
            .get_connection_with_timeout(CONNECT_PATIENCE)
            .map_err(failed)?;
        let patience = Some(REPLY_PATIENCE);
        connection
            .set_read_timeout(patience)
            .and_then(|()| connection.set_write_timeout(patience))
            .map_err(failed)?;
        let scripts = Scripts::load(&mut connection).map_err(failed)?;
        Ok(Self {
            connection,
            scripts,
            prefix: prefix.to_owned(),
            shown,
        })
    }

    /// Checks that the server answers.
    fn check(&mut self) -> Result<(), Failure> {
        let ping = redis::cmd("PING").get_packed_command();
        match self.connection.req_packed_command(&ping) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Executes operations and passes on their results.
    ///
    /// # Errors
    ///
    /// Fails if the connection has ended: the rest of the operations has failed.
    fn execute(&mut self, jobs: Vec<Job>) -> Result<(), Failure> {
        let requests: Vec<&Request> = jobs.iter().map(|job| &job.request).collect();
        match self.pipeline(&requests) {
            Ok(answers) => {
                for (job, answer) in jobs.into_iter().zip(answers) {
                    (job.sink)(answer);
                }
                Ok(())
            }
            Err(failure) => {
                for job in jobs {
                    let is_read = job.request.operation.is_read();
                    (job.sink)(Err(match is_read {
                        true => Failure::unavailable(),
                        false => Failure(format!(
                            "{}; the operation may have been executed or not",
                            Failure::unavailable()
                        )),
                    }));
                }
                Err(failure)
            }
        }
    }

    /// Executes one operation.
    pub(super) fn call(&mut self, request: &Request) -> Result<Reply, Failure> {
        let mut answers = self.pipeline(&[request])?;
        let none = || Failure::new("Redis has sent no reply");
        answers.pop().ok_or_else(none)?
    }

    /// Executes operations with at most two round trips.
    fn pipeline(&mut self, requests: &[&Request]) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        let current = self.current_values(requests)?;
        let mut packed = Vec::new();
        let mut current = current.into_iter();
        let mut is_sent = Vec::with_capacity(requests.len());
        for request in requests {
            let command = match &request.operation {
                Operation::Swap(_, expected, _) => {
                    let found = current.next().flatten();
                    let digest = found.as_ref().map(|found| *blake3::hash(found).as_bytes());
                    (digest == *expected).then(|| self.command(request, found.as_deref()))
                }
                Operation::Buckets => None,
                _ => Some(self.command(request, None)),
            };
            is_sent.push(command.is_some());
            if let Some(command) = command {
                packed.extend(command.get_packed_command());
            }
        }
        let mut values = self.send(&packed, is_sent.iter().filter(|sent| **sent).count())?;
        values.reverse();
        let mut answers = Vec::with_capacity(requests.len());
        for (request, is_sent) in requests.iter().zip(is_sent) {
            answers.push(match (is_sent, &request.operation) {
                (true, _) => parse(request, values.pop().unwrap_or_default()),
                (false, Operation::Buckets) => self.buckets(),
                (false, _) => Ok(Reply::Flag(false)),
            });
        }
        Ok(answers)
    }

    /// Returns the current value for each swap.
    fn current_values(&mut self, requests: &[&Request]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let mut packed = Vec::new();
        let mut count = 0;
        for request in requests {
            if let Operation::Swap(key, ..) = &request.operation {
                let name = self.name(&request.bucket);
                packed.extend(redis::cmd("HGET").arg(name).arg(key).get_packed_command());
                count += 1;
            }
        }
        let values = self.send(&packed, count)?;
        let bytes = |value| match value {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        };
        Ok(values.into_iter().map(bytes).collect())
    }

    fn name(&self, bucket: &BucketId) -> String {
        format!("{}{bucket}", self.prefix)
    }

    fn command(&self, request: &Request, current: Option<&[u8]>) -> redis::Cmd {
        self.scripts.command(&self.prefix, request, current)
    }

    /// Sends commands and returns one reply for each.
    fn send(&mut self, packed: &[u8], count: usize) -> Result<Vec<Value>, Failure> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let values = self.connection.req_packed_commands(packed, 0, count);
        let values = values.map_err(|error| self.lost(&error))?;
        let has_no_scripts = |value: &Value| matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT");
        if values.iter().any(has_no_scripts) {
            let shown = &self.shown;
            return Err(Failure(format!("{shown} was emptied of scripts")));
        }
        Ok(values)
    }

    fn lost(&self, error: &RedisError) -> Failure {
        Failure(format!(
            "{} is not available: {}",
            self.shown,
            reason(error)
        ))
    }

    /// Returns all buckets.
    fn buckets(&mut self) -> Result<Reply, Failure> {
        let members = redis::cmd("SMEMBERS")
            .arg(format!("{}buckets", self.prefix))
            .get_packed_command();
        let found = self.send(&members, 1)?;
        let mut names: Vec<String> = command::texts(found);
        names.sort_unstable();
        let mut buckets = Vec::new();
        for name in names {
            let at = format!("{}{name}", self.prefix);
            let mut packed = redis::cmd("HLEN").arg(&at).get_packed_command();
            packed.extend(
                redis::cmd("GET")
                    .arg(format!("{at}:bytes"))
                    .get_packed_command(),
            );
            let sizes = self.send(&packed, 2)?;
            let [keys_count, bytes] = [0, 1].map(|at| sizes.get(at).map_or(0, command::number));
            buckets.push(BucketStatistics {
                bucket: name,
                keys_count,
                bytes,
            });
        }
        Ok(Reply::Buckets(buckets))
    }

    /// Calls `each` with all keys and values of one bucket or of all. Changes during the export may
    /// be part of it or not.
    pub(super) fn export(
        &mut self,
        bucket: Option<&str>,
        mut each: impl FnMut(Entry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let buckets = match bucket {
            Some(bucket) => vec![bucket.to_owned()],
            None => match self.buckets()? {
                Reply::Buckets(buckets) => {
                    buckets.into_iter().map(|bucket| bucket.bucket).collect()
                }
                _ => Vec::new(),
            },
        };
        for bucket in buckets {
            let id = BucketId::parse(&bucket).map_err(Failure)?;
            let request = |operation| Request {
                bucket: id.clone(),
                keys_count: u64::MAX,
                bucket_bytes: u64::MAX,
                total_bytes: u64::MAX,
                operation,
            };
            let mut after = None;
            while let Reply::Keys(keys, has_more) = self.call(&request(Operation::Keys(after)))? {
                for key in &keys {
                    if let Reply::Value(Some(value)) =
                        self.call(&request(Operation::Get(key.clone())))?
                    {
                        each(Entry {
                            bucket: bucket.clone(),
                            key: key.clone(),
                            value,
                        })?;
                    }
                }
                if !has_more {
                    break;
                }
                after = keys.last().cloned();
            }
        }
        Ok(())
    }
}

/// Checks that a URL is one of a Redis server.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    if url.starts_with("rediss:") {
        return Err("TLS is not supported; use a Unix socket or a private network".into());
    }
    match Client::open(url) {
        Ok(_) => Ok(()),
        Err(error) => Err(reason(&error)),
    }
}

/// Returns the TCP port of a server.
pub(super) fn port(url: &str) -> Option<u16> {
    match Client::open(url).ok()?.get_connection_info().addr() {
        ConnectionAddr::Tcp(_, port) | ConnectionAddr::TcpTls { port, .. } => Some(*port),
        _ => None,
    }
}

/// Returns the reason of an error in one line.
fn reason(error: &RedisError) -> String {
    crate::printable::one_line(&error.to_string()).to_string()
}
