//! The queued lines of a log: bounded in bytes, and fair between their sources.
//!
//! Each source has an account. A handler's account is a token bucket (with a rate and a burst),
//! which keeps the handler from filling the disk. The queue's space is shared by dynamic
//! thresholds: a source can occupy at most a fixed multiple of the free space. So one source that
//! writes without end gets a third of the queue, two get a quarter each, and a line of any other
//! source still fits.
//!
//! The account counts dropped lines, and reports them when the output accepts lines again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::Limits;
use crate::metrics::Counter;
use crate::units::{rate, size};

/// The overhead of a queued line beside its text, in bytes: its queue entry and the allocator's
/// overhead.
const OVERHEAD_BYTES: usize = 64;

/// The minimum time between two reports of dropped lines of one source.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The size of one write, in bytes: the capacity of a pipe.
const BATCH_BYTES: usize = 64 * 1024;

/// The number of accounts from which unused ones are removed before a new one is opened. More than
/// a site has handlers.
const ACCOUNTS_COUNT: usize = 1024;

/// The source of a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The server itself.
    Server,
    /// The server's messages about a handler: failures of its requests.
    Handler(Arc<str>),
    /// A handler's output: `wsgi.errors`, standard output and standard error.
    Output(Arc<str>),
    /// A worker process, whose lines its supervisor forwards.
    Worker(u32),
}

/// The queued lines.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    lines: VecDeque<Line>,
    /// The size of all lines, with [`OVERHEAD_BYTES`] for each.
    bytes: usize,
    accounts: Slab<Account>,
    numbers: HashMap<Source, usize>,
    /// Whether any account has a pending report.
    has_dropped: bool,
}

#[derive(Debug)]
struct Line {
    account: usize,
    text: Vec<u8>,
}

/// Lines taken from the queue to be written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Reports of dropped lines, followed by the queued lines.
    pub(super) text: Vec<u8>,
    /// The size of the reports at the start of `text`, in bytes.
    reports_bytes: usize,
    /// The accounts and counts that the reports cover.
    told: Vec<(usize, Dropped)>,
    /// The account and length of each line after the reports.
    parts: Vec<(usize, usize)>,
    /// Reports of dropped lines for another log.
    pub(super) messages: Vec<String>,
}

impl Batch {
    /// Returns the number of lines that are not reports.
    pub(super) fn lines(&self) -> u64 {
        let text = self.text.get(self.reports_bytes..).unwrap_or_default();
        memchr::memchr_iter(b'\n', text).count() as u64
    }
}

#[derive(Debug)]
struct Account {
    source: Source,
    /// The size of its queued lines, with [`OVERHEAD_BYTES`] for each.
    bytes: usize,
    /// The number of its lines that are being written.
    writing: usize,
    /// The tokens left, in bytes, at the time `filled`.
    tokens: u64,
    filled: Instant,
    dropped: Dropped,
    /// When its dropped lines are due to be reported.
    report_at: Option<Instant>,
}

/// The dropped lines of one source, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Dropped {
    /// The source exceeded its rate.
    rate: Count,
    /// The queue was full.
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

    /// Reports whether the queue has no lines.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Reports whether dropped lines have not been reported yet.
    pub(super) fn has_dropped(&self) -> bool {
        self.has_dropped
    }

    /// Reports whether `bytes` more of `source` fit in the queue now. Ignores the rate, which may
    /// still drop the lines.
    pub(super) fn has_room(&mut self, source: &Source, bytes: usize, now: Instant) -> bool {
        let number = self.account(source, now);
        self.fits(number, bytes + OVERHEAD_BYTES)
    }

    /// Queues whole lines of one source, or drops and counts them.
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

    /// Takes lines to write together, the oldest first, preceded by the reports that are due, or by
    /// all reports if `all` is set. `line` formats a report as a line.
    pub(super) fn take(&mut self, now: Instant, all: bool, line: impl Fn(&str) -> String) -> Batch {
        let mut batch = Batch::default();
        for (number, dropped, report) in self.reports(now, all) {
            batch.text.extend_from_slice(line(&report).as_bytes());
            batch.told.push((number, dropped));
        }
        batch.reports_bytes = batch.text.len();
        self.take_lines(&mut batch);
        batch
    }

    /// Takes lines to write together, the oldest first. If `reports` is set, also takes the reports
    /// that are due, or all reports if `all` is set, as messages for another log.
    pub(super) fn take_apart(&mut self, now: Instant, all: bool, reports: bool) -> Batch {
        let mut batch = Batch::default();
        if reports {
            for (number, _, report) in self.reports(now, all) {
                if let Some(account) = self.accounts.get_mut(number) {
                    account.writing = account.writing.saturating_sub(1);
                }
                batch.messages.push(report);
            }
        }
        self.take_lines(&mut batch);
        batch
    }

    /// Returns the number of lines in the queue.
    pub(super) fn lines(&self) -> u64 {
        let ends = |line: &Line| memchr::memchr_iter(b'\n', &line.text).count() as u64;
        self.lines.iter().map(ends).sum()
    }

    fn take_lines(&mut self, batch: &mut Batch) {
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
    }

    /// Completes a batch: it was written, or its output failed permanently after `written` bytes.
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

    /// Returns when the next report is due.
    pub(super) fn next_report(&self) -> Option<Instant> {
        if !self.has_dropped {
            return None;
        }
        let times = self.accounts.iter();
        times.filter_map(|(_, account)| account.report_at).min()
    }

    /// Returns the reports of dropped lines of each account whose report is due, or of all accounts
    /// if `all` is set.
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
            // The server's own lines are few and report faults, so they get two thirds.
            Some(account) if account.source == Source::Server => (account.bytes, free * 2),
            Some(account) => (account.bytes, free / 2),
            None => return false,
        };
        // The first line of a source is accepted whenever it fits at all.
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
    /// Charges a line to the source's tokens. Returns `false` if there are not enough. A line
    /// longer than the whole burst is accepted if the bucket is full.
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

    /// Reports whether closing the account would lose any state.
    fn is_used(&mut self, limits: &Limits, now: Instant) -> bool {
        self.fill(limits, now);
        self.bytes > 0
            || self.writing > 0
            || self.report_at.is_some()
            || self.tokens < limits.burst_bytes as u64
    }
}

impl Count {
    /// Counts dropped text: whole lines.
    fn add(&mut self, text: &[u8]) {
        let ends = memchr::memchr_iter(b'\n', text).count();
        self.lines += ends.max(1) as u64;
        Counter::DroppedLogLines.add(ends.max(1) as u64);
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

    /// Describes the dropped lines in one line.
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

/// Formats a number with its digits in groups of three: `12,345`.
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

/// Formats a size for people: `1.2 MB`.
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
