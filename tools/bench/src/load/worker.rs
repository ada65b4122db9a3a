//! A thread of the load generator, with its connections and its own epoll.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::response::{Response, Unreadable, Verdict};
use super::{Options, Outcome, PATIENCE, Plan};

/// The maximum number of events per wait.
const EVENTS: usize = 256;

/// The size of the read buffer: large, so that large bodies need few calls.
const READ_BYTES: usize = 256 * 1024;

/// The maximum time of a wait, after which the clock is checked.
const WAIT: Duration = Duration::from_millis(5);

/// The time before a request is due in which the thread stays awake: a kernel timer may be late by
/// 50 µs.
const SPIN: Duration = Duration::from_micros(60);

/// The number of failures after which a thread gives up: a server that rejects everything would be
/// called in a tight loop.
const FAILURE_LIMIT: u64 = 1000;

/// A thread's part of the load.
#[derive(Debug)]
pub(super) struct Worker {
    address: SocketAddr,
    request: Vec<u8>,
    plan: Plan,
    /// The thread's fraction of the rate.
    part: f64,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Connections without a request, if there is a rate.
    free: Vec<usize>,
    /// The due times of requests that wait for a free connection.
    waiting: VecDeque<Instant>,
    outcome: Outcome,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    response: Response,
    /// When its request was sent or due. None if it has none.
    since: Option<Instant>,
}

/// The times that define a plan.
#[derive(Clone, Copy, Debug)]
struct Times {
    begin: Instant,
    end: Instant,
    give_up: Instant,
}

impl Times {
    fn new(plan: Plan, start: Instant) -> Self {
        let (begin, end) = match plan {
            Plan::Once => (start, start),
            Plan::Closed { warm_up, time } | Plan::Paced { warm_up, time, .. } => {
                (start + warm_up, start + warm_up + time)
            }
        };
        Self {
            begin,
            end,
            give_up: end + PATIENCE,
        }
    }
}

impl Worker {
    /// Opens the connections.
    pub(super) fn connect(options: &Options, count: usize) -> Result<Self> {
        let mut worker = Self {
            address: options.address,
            request: options.request(),
            plan: options.plan,
            part: count as f64 / options.connections as f64,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::with_capacity(count),
            free: Vec::new(),
            waiting: VecDeque::new(),
            outcome: Outcome::new()?,
        };
        for index in 0..count {
            let stream = worker.open(index)?;
            worker.connections.push(Connection {
                stream,
                response: Response::new(),
                since: None,
            });
        }
        Ok(worker)
    }

    fn open(&self, index: usize) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address)
            .with_context(|| format!("can't connect to {}", self.address))?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let data = EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &stream, data, EventFlags::IN)?;
        Ok(stream)
    }

    /// Executes the plan.
    pub(super) fn run(mut self, start: Instant) -> Result<Outcome> {
        let times = Times::new(self.plan, start);
        let mut due = match self.plan {
            Plan::Paced { per_second, .. } => {
                self.free = (0..self.connections.len()).collect();
                Some(Due::new(start, per_second * self.part))
            }
            Plan::Once | Plan::Closed { .. } => {
                for index in 0..self.connections.len() {
                    self.send(index, Instant::now())?;
                }
                None
            }
        };
        let mut buffer = vec![0; READ_BYTES];
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = Instant::now();
            if let Some(due) = &mut due {
                self.send_due(due, now.min(times.end), times)?;
            }
            if now >= times.give_up || (now >= times.end && self.is_done(now, times)) {
                break;
            }
            let wait = self.wait(due.as_ref().filter(|_| now < times.end), now);
            let wait = Timespec::try_from(wait).context("a wait is short")?;
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            for event in &events {
                self.turn(event.data.u64() as usize, &mut buffer, times)?;
            }
        }
        Ok(self.finish(times))
    }

    /// Returns how long there is nothing to do unless a response arrives.
    fn wait(&self, due: Option<&Due>, now: Instant) -> Duration {
        match due {
            // While requests wait for a connection, only a response allows progress.
            Some(due) if self.waiting.is_empty() => {
                let until = due.next().saturating_duration_since(now);
                until.saturating_sub(SPIN).min(WAIT)
            }
            Some(_) | None => WAIT,
        }
    }

    /// Returns whether nothing more is expected that counts.
    fn is_done(&self, now: Instant, times: Times) -> bool {
        match self.plan {
            Plan::Closed { .. } => now >= times.end,
            Plan::Once | Plan::Paced { .. } => {
                self.waiting.is_empty() && self.connections.iter().all(|c| c.since.is_none())
            }
        }
    }

    fn finish(mut self, times: Times) -> Outcome {
        if let Plan::Closed { time, .. } | Plan::Paced { time, .. } = self.plan {
            self.outcome.measured = time;
        }
        if !matches!(self.plan, Plan::Closed { .. }) {
            // A missing response counts as the slowest, rather than as none.
            let unanswered = self.connections.iter().filter_map(|c| c.since);
            for since in unanswered.chain(self.waiting.drain(..)) {
                self.outcome.failed += 1;
                self.outcome.times.add(times.give_up - since);
            }
        }
        self.outcome
    }

    fn send_due(&mut self, due: &mut Due, now: Instant, times: Times) -> Result<()> {
        while let Some(moment) = due.next_until(now) {
            if moment >= times.begin {
                self.outcome.late.add(now - moment);
            }
            self.waiting.push_back(moment);
        }
        while !self.waiting.is_empty()
            && let Some(index) = self.free.pop()
        {
            let moment = self.waiting.pop_front().unwrap_or(now);
            self.send(index, moment)?;
        }
        Ok(())
    }

    /// Sends a request; `since` is when it was due.
    fn send(&mut self, index: usize, since: Instant) -> Result<()> {
        let connection = &mut self.connections[index];
        connection.since = Some(since);
        // The socket's buffer is empty and larger than a request.
        match (&connection.stream).write(&self.request) {
            Ok(written) if written == self.request.len() => Ok(()),
            _ => self.replace(index, true),
        }
    }

    /// Reads the received bytes of a connection.
    fn turn(&mut self, index: usize, buffer: &mut [u8], times: Times) -> Result<()> {
        let connection = &mut self.connections[index];
        let taken = match (&connection.stream).read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Ok(read) if read > 0 => connection.response.take(&buffer[..read]),
            Ok(_) | Err(_) => Err(Unreadable),
        };
        match taken {
            Ok(None) => Ok(()),
            Ok(Some(verdict)) => self.answered(index, verdict, times),
            // A server may close an idle connection.
            Err(Unreadable) => {
                let failed = self.connections[index].since.is_some();
                self.replace(index, failed)
            }
        }
    }

    fn answered(&mut self, index: usize, verdict: Verdict, times: Times) -> Result<()> {
        let now = Instant::now();
        let since = self.connections[index].since.take();
        if verdict.good {
            self.outcome.all += 1;
            self.count(since.unwrap_or(now), now, times);
        } else {
            self.outcome.failed += 1;
            self.check_patience()?;
        }
        if verdict.closes {
            return self.replace(index, false);
        }
        self.go_on(index, now, times.end)
    }

    /// Counts a good response if it is within the measured time.
    fn count(&mut self, since: Instant, now: Instant, times: Times) {
        let counts = match self.plan {
            Plan::Once => true,
            Plan::Closed { .. } => now >= times.begin && now < times.end,
            Plan::Paced { .. } => since >= times.begin,
        };
        if counts {
            self.outcome.answered += 1;
            self.outcome.times.add(now - since);
        }
        if matches!(self.plan, Plan::Once) {
            self.outcome.measured = now - times.begin;
        }
    }

    /// Decides what a connection does when it is free again.
    fn go_on(&mut self, index: usize, now: Instant, end: Instant) -> Result<()> {
        match self.plan {
            Plan::Once => Ok(()),
            Plan::Closed { .. } if now < end => self.send(index, now),
            Plan::Closed { .. } => Ok(()),
            Plan::Paced { .. } => {
                match self.waiting.pop_front() {
                    Some(due) => self.send(index, due)?,
                    None => self.free.push(index),
                }
                Ok(())
            }
        }
    }

    /// Opens a new connection to replace one that has ended.
    fn replace(&mut self, index: usize, failed: bool) -> Result<()> {
        if failed {
            self.outcome.failed += 1;
            self.check_patience()?;
        }
        let had_request = self.connections[index].since.is_some();
        let stream = self.open(index)?;
        self.connections[index] = Connection {
            stream,
            response: Response::new(),
            since: None,
        };
        match self.plan {
            Plan::Once => Ok(()),
            Plan::Closed { .. } => self.send(index, Instant::now()),
            Plan::Paced { .. } => {
                if had_request || !self.free.contains(&index) {
                    self.free.push(index);
                }
                Ok(())
            }
        }
    }

    fn check_patience(&self) -> Result<()> {
        anyhow::ensure!(
            self.outcome.failed < FAILURE_LIMIT,
            "{FAILURE_LIMIT} requests failed, and {} succeeded",
            self.outcome.all
        );
        Ok(())
    }
}

/// The times at which requests are due.
#[derive(Debug)]
struct Due {
    start: Instant,
    per_second: f64,
    count: u64,
}

impl Due {
    fn new(start: Instant, per_second: f64) -> Self {
        Self {
            start,
            per_second,
            count: 0,
        }
    }

    fn next(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.count as f64 / self.per_second)
    }

    /// Returns the next time, if it is not after `now`.
    fn next_until(&mut self, now: Instant) -> Option<Instant> {
        let moment = self.next();
        if moment > now {
            return None;
        }
        self.count += 1;
        Some(moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fall_due_at_even_distances() {
        let start = Instant::now();
        let mut due = Due::new(start, 1000.0);
        let until = start + Duration::from_micros(2500);
        let moments: Vec<_> = std::iter::from_fn(|| due.next_until(until)).collect();
        let micros: Vec<_> = moments.iter().map(|m| (*m - start).as_micros()).collect();
        assert_eq!(micros, [0, 1000, 2000]);
        assert_eq!(due.next_until(until), None);
    }
}
