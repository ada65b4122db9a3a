//! The lines that wait for a log's output: bounded in bytes, and fair between those who write them.
//!
//! Each source has an account. A handler's is a token bucket (its rate and burst), which keeps it
//! from filling the disk. The queue itself is shared by dynamic thresholds: a source may have as
//! many bytes in it as a fixed multiple of what is free. So one that writes without end gets a
//! third of the queue, two get a quarter each, and a line of any other source still finds room.
//!
//! What is dropped is counted in the account, and told when the output takes lines again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::Limits;
use crate::units::{rate, size};

/// What a line takes in the queue beside its text, in bytes: its place, and what an allocator adds.
const OVERHEAD_BYTES: usize = 64;

/// How often the lines that were dropped are told of for each source.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What is taken out of the queue for one write, in bytes: what a pipe holds.
const BATCH_BYTES: usize = 64 * 1024;

/// Accounts from which on those without a use are looked for before another is opened. More than a
/// site has handlers.
const ACCOUNTS_COUNT: usize = 1024;

/// Who writes a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The server itself.
    Server,
    /// The server, about a handler: failures of its requests.
    Handler(Arc<str>),
    /// A handler: `wsgi.errors`, standard output and standard error.
    Output(Arc<str>),
    /// A worker process, whose lines its supervisor hands on.
    Worker(u32),
}

/// The lines that wait.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    lines: VecDeque<Line>,
    /// Of all lines, with [`OVERHEAD_BYTES`] for each.
    bytes: usize,
    accounts: Slab<Account>,
    numbers: HashMap<Source, usize>,
    /// Whether an account has something to tell.
    has_dropped: bool,
}

#[derive(Debug)]
struct Line {
    account: usize,
    text: Vec<u8>,
}

/// Lines that were taken out to be written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Reports of dropped lines, then lines.
    pub(super) text: Vec<u8>,
    /// How much of it is reports, in bytes,
    reports_bytes: usize,
    /// what they tell of,
    told: Vec<(usize, Dropped)>,
    /// and the account and length of each piece behind them.
    parts: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct Account {
    source: Source,
    /// Of its lines in the queue, with [`OVERHEAD_BYTES`] for each.
    bytes: usize,
    /// Its lines that are being written.
    writing: usize,
    /// What it may write at once, in bytes, as of `filled`.
    tokens: u64,
    filled: Instant,
    dropped: Dropped,
    /// When its dropped lines are to be told of.
    report_at: Option<Instant>,
}

/// Lines of one source that were dropped, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Dropped {
    /// It wrote more than its rate.
    rate: Count,
    /// There was no room in the queue for it.
    queue: Count,
    /// The output failed.
    output: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    lines: u64,
    bytes: u64,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            lines: VecDeque::new(),
            bytes: 0,
            accounts: Slab::new(),
            numbers: HashMap::new(),
            has_dropped: false,
        }
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether lines wait.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether dropped lines have not been told of.
    pub(super) fn has_dropped(&self) -> bool {
        self.has_dropped
    }

    /// Whether `bytes` more of `source` have room now. What its rate would drop counts as such.
    pub(super) fn has_room(&mut self, source: &Source, bytes: usize, now: Instant) -> bool {
        let number = self.account(source, now);
        self.fits(number, bytes + OVERHEAD_BYTES)
    }

    /// Takes whole lines of one source, or drops and counts them.
    pub(super) fn push(&mut self, source: &Source, text: Vec<u8>, now: Instant) -> bool {
        let number = self.account(source, now);
        let charge = text.len() + OVERHEAD_BYTES;
        let fits = self.fits(number, charge);
        let limits = self.limits;
        let Some(account) = self.accounts.get_mut(number) else {
            return false;
        };
        let place = if !account.pay(text.len(), &limits, now) {
            &mut account.dropped.rate
        } else if !fits {
            &mut account.dropped.queue
        } else {
            account.bytes += charge;
            self.bytes += charge;
            let account = number;
            self.lines.push_back(Line { account, text });
            return true;
        };
        place.add(&text);
        account.report_at.get_or_insert(now + REPORT_INTERVAL);
        self.has_dropped = true;
        false
    }

    /// Takes out lines to write together, the oldest first; before them the reports that are due,
    /// or all reports where `all` says so. A report's line is made by `line`.
    pub(super) fn take(&mut self, now: Instant, all: bool, line: impl Fn(&str) -> String) -> Batch {
        let mut batch = Batch::default();
        for (number, dropped, report) in self.reports(now, all) {
            batch.text.extend_from_slice(line(&report).as_bytes());
            batch.told.push((number, dropped));
        }
        batch.reports_bytes = batch.text.len();
        while batch.text.len() < BATCH_BYTES
            && let Some(Line { account, text }) = self.lines.pop_front()
        {
            let charge = text.len() + OVERHEAD_BYTES;
            self.bytes = self.bytes.saturating_sub(charge);
            if let Some(account) = self.accounts.get_mut(account) {
                account.bytes = account.bytes.saturating_sub(charge);
                account.writing += 1;
            }
            batch.parts.push((account, text.len()));
            batch.text.extend_from_slice(&text);
        }
        batch
    }

    /// A batch has been written, or its output has failed for good after `written` bytes.
    pub(super) fn finish(&mut self, batch: &Batch, written: usize, now: Instant) {
        for (number, dropped) in &batch.told {
            if let Some(account) = self.accounts.get_mut(*number) {
                account.writing = account.writing.saturating_sub(1);
                if written < batch.reports_bytes {
                    account.dropped.add(dropped);
                    account.report_at.get_or_insert(now + REPORT_INTERVAL);
                    self.has_dropped = true;
                }
            }
        }
        let mut start = batch.reports_bytes;
        for (number, length) in &batch.parts {
            let end = start + length;
            if let Some(account) = self.accounts.get_mut(*number) {
                account.writing = account.writing.saturating_sub(1);
                if end > written {
                    let lost = batch.text.get(start..end).unwrap_or_default();
                    account.dropped.output.add(lost);
                    account.report_at.get_or_insert(now + REPORT_INTERVAL);
                    self.has_dropped = true;
                }
            }
            start = end;
        }
    }

    /// When the next dropped lines are to be told of.
    pub(super) fn next_report(&self) -> Option<Instant> {
        if !self.has_dropped {
            return None;
        }
        let times = self.accounts.iter();
        times.filter_map(|(_, account)| account.report_at).min()
    }

    /// Tells of the lines that were dropped, for each account whose time has come; for all of them
    /// where `all` says so.
    fn reports(&mut self, now: Instant, all: bool) -> Vec<(usize, Dropped, String)> {
        if !self.has_dropped {
            return Vec::new();
        }
        let limits = self.limits;
        let mut reports = Vec::new();
        let mut are_left = false;
        for (number, account) in &mut self.accounts {
            match account.report_at {
                Some(at) if all || at <= now => {
                    account.report_at = None;
                    account.writing += 1;
                    let dropped = std::mem::take(&mut account.dropped);
                    reports.push((number, dropped, dropped.tell(&account.source, &limits)));
                }
                Some(_) => are_left = true,
                None => {}
            }
        }
        self.has_dropped = are_left;
        reports
    }

    fn fits(&self, number: usize, charge: usize) -> bool {
        let free = self.limits.queue_bytes.saturating_sub(self.bytes);
        let (own, most) = match self.accounts.get(number) {
            // The server's own lines are few, and tell of what goes wrong: two thirds.
            Some(account) if account.source == Source::Server => (account.bytes, free * 2),
            Some(account) => (account.bytes, free / 2),
            None => return false,
        };
        // The first line of a source has room wherever it fits at all.
        charge <= free && (own + charge <= most || own == 0)
    }

    fn account(&mut self, source: &Source, now: Instant) -> usize {
        if let Some(number) = self.numbers.get(source) {
            return *number;
        }
        if self.accounts.len() >= ACCOUNTS_COUNT {
            let limits = self.limits;
            let numbers = &mut self.numbers;
            self.accounts.retain(|_, account| {
                let is_used = account.is_used(&limits, now);
                if !is_used {
                    numbers.remove(&account.source);
                }
                is_used
            });
        }
        let number = self.accounts.insert(Account {
            source: source.clone(),
            bytes: 0,
            writing: 0,
            tokens: self.limits.burst_bytes as u64,
            filled: now,
            dropped: Dropped::default(),
            report_at: None,
        });
        self.numbers.insert(source.clone(), number);
        number
    }
}

impl Account {
    /// Takes what a line costs from what the source may write at once. `false` if that is not
    /// enough. A line longer than the whole burst passes when the bucket is full.
    fn pay(&mut self, bytes: usize, limits: &Limits, now: Instant) -> bool {
        if matches!(self.source, Source::Server | Source::Worker(_)) {
            return true;
        }
        self.fill(limits, now);
        let cost = (bytes as u64).min(limits.burst_bytes as u64);
        match self.tokens.checked_sub(cost) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    fn fill(&mut self, limits: &Limits, now: Instant) {
        let since = now.saturating_duration_since(self.filled);
        let rate = u128::from(limits.rate_bytes_per_second);
        let more = since.as_nanos() * rate / 1_000_000_000;
        if more > 0 {
            let burst = limits.burst_bytes as u64;
            let tokens = u128::from(self.tokens).saturating_add(more);
            self.tokens = u64::try_from(tokens).unwrap_or(u64::MAX).min(burst);
            self.filled = now;
        }
    }

    /// Whether anything would be lost with it.
    fn is_used(&mut self, limits: &Limits, now: Instant) -> bool {
        self.fill(limits, now);
        self.bytes > 0
            || self.writing > 0
            || self.report_at.is_some()
            || self.tokens < limits.burst_bytes as u64
    }
}

impl Count {
    /// Counts what is dropped: whole lines.
    fn add(&mut self, text: &[u8]) {
        let ends = memchr::memchr_iter(b'\n', text).count();
        self.lines += ends.max(1) as u64;
        self.bytes += text.len() as u64;
    }
}

impl Dropped {
    fn add(&mut self, other: &Self) {
        for (own, other) in [
            (&mut self.rate, other.rate),
            (&mut self.queue, other.queue),
            (&mut self.output, other.output),
        ] {
            own.lines += other.lines;
            own.bytes += other.bytes;
        }
    }

    /// In one line, for people.
    fn tell(&self, source: &Source, limits: &Limits) -> String {
        let who = match source {
            Source::Server => "wasgi".to_owned(),
            Source::Worker(number) => format!("worker {number}"),
            Source::Handler(name) => format!("{name} (the server's messages about it)"),
            Source::Output(name) => name.to_string(),
        };
        let rate = rate::show(limits.rate_bytes_per_second);
        let queue = size::show(limits.queue_bytes as u64);
        let reasons = [
            (
                self.rate,
                format!("it logs more than {rate}; raise limits.log-rate or limits.log-burst"),
            ),
            (
                self.queue,
                format!("the log's output is slower, and limits.log-queue = {queue} was full"),
            ),
            (self.output, "the log's output was closed".to_owned()),
        ];
        let told: Vec<String> = reasons
            .iter()
            .filter(|(count, _)| count.lines > 0)
            .map(|(count, why)| {
                let lines = if count.lines == 1 { "line" } else { "lines" };
                let (number, bytes) = (grouped(count.lines), about(count.bytes));
                format!("{number} {lines} ({bytes}) dropped: {why}")
            })
            .collect();
        format!("{who}: {}", told.join("; "))
    }
}

/// A number with its digits in groups of three: `12,345`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size for people: `1.2 MB`.
fn about(bytes: u64) -> String {
    const UNITS: [(&str, f64); 3] = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let size = bytes as f64;
    match UNITS.iter().find(|(_, unit)| size >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", size / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests;
