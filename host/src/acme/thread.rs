//! The thread that obtains certificates, and renews them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::folder::{Folder, NewFile, Turn};
use super::options::{AcmeOptions, ChallengeChoice};
use super::order::{self, Challenge, Issued, Request};
use super::record::Record;
use super::time::{now, shown};
use super::unstored::Unstored;
use crate::metrics::Counter;
use crate::outbound::{Authorities, own};
use crate::printable;
use crate::regular_file;
use crate::server::tls::{Validity, check_obtained};

/// The pause between two attempts to become the process that asks.
const TURN_PAUSE: Duration = Duration::from_secs(2);

/// The pause between two checks whether a certificate is due. The clock may jump, and an operator
/// may remove a file.
const CHECK_PAUSE: Duration = Duration::from_secs(30);

/// The time for one order. A directory that answers late a hundred times would otherwise keep the
/// others from their turn.
const ORDER_TIME: Duration = Duration::from_secs(10 * 60);

/// The maximum size of the file of certificate authorities, in bytes.
const MAX_CA_BYTES: u64 = 1024 * 1024;

/// The maximum length of a reason in a message, in bytes.
const MAX_REASON_BYTES: usize = 400;

/// A certificate is renewed when this part of its lifetime is over: two thirds, as Let's Encrypt
/// recommends.
const RENEWAL: (u64, u64) = (2, 3);

/// Renewals are up to this part of a lifetime earlier, so that certificates that were obtained
/// together are not all renewed together.
const JITTER_PART: u64 = 30;

/// What the thread works with.
#[derive(Clone, Debug)]
pub(crate) struct AcmeSetup {
    pub(crate) options: AcmeOptions,
    /// Whether there is a listener without TLS, which answers HTTP-01.
    pub(crate) has_plain_listener: bool,
    /// The names of each certificate. The first is that of its files.
    pub(crate) certificates: Vec<Vec<String>>,
}

/// The thread. Dropping it ends it, and an order that is being made.
pub(crate) struct Acme {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Ends an order.
    stop: Notify,
}

struct State {
    certificates: Vec<Vec<String>>,
    is_stopping: bool,
}

/// What the thread knows.
struct Worker {
    options: AcmeOptions,
    challenges: Vec<Challenge>,
    folder: Folder,
    shared: Arc<Shared>,
    turn: Option<Turn>,
    unstored: Unstored,
    /// What was last said about the folder.
    complaint: Option<String>,
}

impl Acme {
    /// Starts the thread, which calls `serve` with the file of a certificate, and the certificate
    /// and its key in PEM, as long as they can't be stored.
    ///
    /// # Errors
    ///
    /// Fails if the system can't create a thread.
    pub(crate) fn start(
        setup: AcmeSetup,
        serve: impl Fn(&Path, &[u8]) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let AcmeSetup {
            options,
            has_plain_listener,
            certificates,
        } = setup;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                certificates,
                is_stopping: false,
            }),
            changed: Condvar::new(),
            stop: Notify::new(),
        });
        let mut worker = Worker {
            challenges: challenges(options.challenge, has_plain_listener),
            folder: Folder::new(options.folder()),
            unstored: Unstored::new(Box::new(serve)),
            options,
            shared: shared.clone(),
            turn: None,
            complaint: None,
        };
        let thread = thread::Builder::new()
            .name("wasgi-acme".into())
            .spawn(move || worker.run())
            .context("could not start the thread that obtains certificates")?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Obtains these certificates from now on: the names of each.
    pub(crate) fn set(&self, certificates: Vec<Vec<String>>) {
        self.shared.lock().certificates = certificates;
        self.shared.changed.notify_all();
    }
}

impl Drop for Acme {
    fn drop(&mut self) {
        self.shared.lock().is_stopping = true;
        self.shared.changed.notify_all();
        self.shared.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // It can only fail by a panic, which was already reported.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acme").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has changed, or for a time.
    fn wait(&self, time: Duration) {
        let state = self.lock();
        if !state.is_stopping {
            // Waking up early has no effect but a check.
            drop(self.changed.wait_timeout(state, time));
        }
    }
}

impl Worker {
    fn run(&mut self) {
        loop {
            // Also before the end: what is in memory is lost then.
            self.unstored.store(&self.folder);
            let (certificates, is_stopping) = {
                let state = self.shared.lock();
                (state.certificates.clone(), state.is_stopping)
            };
            if is_stopping {
                return;
            }
            if !self.has_turn() {
                self.shared.wait(TURN_PAUSE);
                continue;
            }
            for names in &certificates {
                self.check(names);
                if self.shared.lock().is_stopping {
                    break;
                }
            }
            self.shared.wait(CHECK_PAUSE);
        }
    }

    /// Returns whether this process is the one that asks.
    fn has_turn(&mut self) -> bool {
        if self.turn.is_some() {
            return true;
        }
        match self.folder.create().and_then(|()| self.folder.turn()) {
            Ok(turn) => {
                if turn.is_some() {
                    self.folder.remove_leftovers();
                }
                self.turn = turn;
            }
            Err(error) => self.complain(&error.to_string()),
        }
        self.turn.is_some()
    }

    /// Logs that the folder can't be used, unless that was the last message about it.
    fn complain(&mut self, why: &str) {
        if self.complaint.as_deref() != Some(why) {
            tracing::error!(
                "acme.folder: {}: can't be written: {why}; no certificate is obtained or renewed: \
                 give the server's user the right to write there, and free space on the disk",
                self.folder.path().display()
            );
            self.complaint = Some(why.to_owned());
        }
    }

    /// Obtains or renews a certificate if that is due.
    fn check(&mut self, names: &[String]) {
        let Some(name) = names.first() else {
            return;
        };
        let start = now();
        let current = self.current(names);
        let mut record = self.unstored.record(&self.folder, name);
        let is_of_directory =
            record.issued_by.is_empty() || record.issued_by == self.options.directory;
        if let Some((_, renewal)) = &current
            && is_of_directory
            && *renewal > start
        {
            return;
        }
        if record.next(start) > start {
            return;
        }
        let challenge = self.choose(&record);
        record.begin(&self.options.directory, names, start, random());
        // Without the space, a certificate would be issued and lost, which counts for the
        // authority. Without the record, a server that is restarted would ask each time.
        let space = self.folder.reserve(name);
        let recorded = space.and_then(|space| {
            self.folder.set_record(name, &record)?;
            Ok(space)
        });
        let space = match recorded {
            Ok(space) => space,
            Err(error) => return self.complain(&error.to_string()),
        };
        self.complaint = None;
        tracing::info!(
            "acme: {name}: asking {} for a certificate, by {}",
            printable::one_line(&self.options.directory),
            challenge.as_str()
        );
        match self.attempt(names, challenge) {
            Attempt::Stopped => record.stopped(),
            Attempt::Succeeded(issued) => {
                record.succeeded();
                Counter::ObtainedCertificates.increment();
                self.keep(name, issued, space);
            }
            Attempt::Failed { why, pause } => {
                record.failed(&why, pause, now());
                Counter::FailedCertificates.increment();
                self.tell_failure(name, challenge, &record, current.map(|it| it.0));
            }
        }
        self.unstored.set_record(&self.folder, name, record);
    }

    /// Stores a certificate that was issued. One that can't be stored is served from memory.
    fn keep(&mut self, name: &str, issued: Issued, space: NewFile) {
        let until = shown(issued.validity.end);
        match space.store(&issued.pem) {
            Ok(()) => tracing::info!("acme: {name}: obtained a certificate, valid until {until}"),
            Err(error) => {
                tracing::error!(
                    "acme: {name}: obtained a certificate, valid until {until}, which can't be \
                     stored: acme.folder: {}: {error}; this process serves it from memory, and it \
                     is lost if the server ends before it is stored, which is tried each {} s: \
                     give the server's user the right to write there, and free space on the disk",
                    self.folder.path().display(),
                    CHECK_PAUSE.as_secs()
                );
                self.unstored.add(&self.folder, name, issued.pem);
            }
        }
    }

    fn tell_failure(
        &self,
        name: &str,
        challenge: Challenge,
        record: &Record,
        current: Option<Validity>,
    ) {
        let kept = match current {
            Some(validity) => format!("the current one is valid until {}", shown(validity.end)),
            None => "handshakes fail until there is one".to_owned(),
        };
        let port = match challenge {
            Challenge::Http01 => "80 reaches tls.redirect-http",
            Challenge::TlsAlpn01 => "443 reaches server.addr without a proxy that decrypts",
        };
        let why = printable::front(record.reason().unwrap_or_default(), MAX_REASON_BYTES);
        tracing::error!(
            "acme: {name}: no certificate, by {}: {}; {kept}; the next attempt is at {}: check that \
             the names lead to this server and that port {port}",
            challenge.as_str(),
            printable::one_line(why),
            shown(record.next(now()))
        );
    }

    /// Returns when the current certificate is valid, and when it is renewed. `None` if there is
    /// none, or if it is not for all of the names.
    fn current(&self, names: &[String]) -> Option<(Validity, u64)> {
        let pem = self.unstored.certificate(&self.folder, names.first()?)?;
        let validity = check_obtained(&pem, names).ok()?;
        Some((validity, renewal(validity, &pem)))
    }

    /// Returns the challenge of the next attempt: another one after each failure.
    fn choose(&self, record: &Record) -> Challenge {
        let count = u32::try_from(self.challenges.len()).unwrap_or(1).max(1);
        let index = usize::try_from(record.failures % count).unwrap_or(0);
        let chosen = self.challenges.get(index);
        chosen.copied().unwrap_or(Challenge::TlsAlpn01)
    }

    /// Makes an order.
    fn attempt(&self, names: &[String], challenge: Challenge) -> Attempt {
        // An error of the library must not end all later renewals.
        let made = catch_unwind(AssertUnwindSafe(|| self.order(names, challenge)));
        made.unwrap_or_else(|_| Attempt::failed("an error of this program"))
    }

    fn order(&self, names: &[String], challenge: Challenge) -> Attempt {
        let client = self
            .authorities()
            .and_then(|authorities| order::client(&self.options.directory, authorities));
        let (client, runtime) = match (client, own::runtime("wasgi-acme")) {
            (Ok(client), Ok(runtime)) => (client, runtime),
            (Err(error), _) => return Attempt::failed(format!("{error:#}")),
            (_, Err(error)) => return Attempt::failed(error.to_string()),
        };
        let request = Request {
            directory: &self.options.directory,
            email: self.options.email.as_deref(),
            names,
            challenge,
        };
        let ordered = runtime.block_on(async {
            let order = timeout(ORDER_TIME, order::order(&request, &self.folder, &client));
            until(order, self.shared.stop.notified()).await
        });
        // A look-up of a name that hangs is not waited for.
        runtime.shutdown_background();
        let result = match ordered {
            None => return Attempt::Stopped,
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(anyhow!("the directory took too long")),
        };
        match result {
            Ok(issued) => Attempt::Succeeded(issued),
            Err(error) => Attempt::Failed {
                why: format!("{error:#}"),
                pause: client.wanted_pause(),
            },
        }
    }

    /// Loads the authorities that the directory's certificate may be from.
    fn authorities(&self) -> anyhow::Result<Option<Authorities>> {
        let Some(file) = &self.options.ca else {
            return Ok(None);
        };
        let shown = file.display();
        let text = regular_file::read(file, MAX_CA_BYTES);
        let text = text.map_err(|error| anyhow!("acme.ca: {shown}: {error}"))?;
        let authorities = Authorities::from_pem(&text);
        authorities
            .with_context(|| format!("acme.ca: {shown}: no certificate in it (expected PEM)"))
            .map(Some)
    }
}

/// The result of an attempt.
enum Attempt {
    Succeeded(Issued),
    Failed {
        why: String,
        /// How long the directory wants no other attempt.
        pause: Option<Duration>,
    },
    /// The server stops.
    Stopped,
}

impl Attempt {
    fn failed(why: impl Into<String>) -> Self {
        Self::Failed {
            why: why.into(),
            pause: None,
        }
    }
}

/// Waits for `work`. Returns `None` if `end` is ready first.
async fn until<T>(work: impl Future<Output = T>, end: impl Future<Output = ()>) -> Option<T> {
    let (mut work, mut end) = (pin!(work), pin!(end));
    poll_fn(|context| match end.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => work.as_mut().poll(context).map(Some),
    })
    .await
}

/// Returns the challenges that can be answered, in the order in which they are tried.
fn challenges(choice: ChallengeChoice, has_plain_listener: bool) -> Vec<Challenge> {
    match (choice, has_plain_listener) {
        (ChallengeChoice::Auto, true) => vec![Challenge::Http01, Challenge::TlsAlpn01],
        (ChallengeChoice::Http01, _) => vec![Challenge::Http01],
        (ChallengeChoice::Auto, false) | (ChallengeChoice::TlsAlpn01, _) => {
            vec![Challenge::TlsAlpn01]
        }
    }
}

/// Returns when a certificate is renewed, in seconds since 1970: after two thirds of its lifetime,
/// or somewhat earlier. The time is always the same for one certificate.
fn renewal(validity: Validity, pem: &[u8]) -> u64 {
    let lifetime = validity.end.saturating_sub(validity.start);
    let hash = *blake3::hash(pem).as_bytes();
    let jitter = u64::from(u16::from_le_bytes([hash[0], hash[1]]));
    let earlier = (lifetime / JITTER_PART).saturating_mul(jitter) / u64::from(u16::MAX);
    let (part, whole) = RENEWAL;
    validity.start + lifetime / whole * part - earlier
}

/// Returns a random number from 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without random numbers, there is no TLS either.
    let _ = SystemRandom::new().fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_lifetime_or_a_bit_earlier() {
        let start = 1_800_000_000;
        let validity = Validity {
            start,
            end: start + 90 * DAY,
        };
        let mut times: Vec<u64> = (0..100_u8).map(|seed| renewal(validity, &[seed])).collect();
        assert_eq!(times[7], renewal(validity, &[7]), "always the same");
        for time in &times {
            assert!((start + 57 * DAY..=start + 60 * DAY).contains(time));
        }
        times.sort_unstable();
        assert!(times[99] - times[0] > 2 * DAY, "they are spread");
        for (start, end) in [(5, 1), (0, 0), (0, u64::from(u32::MAX) * 1000)] {
            // Whatever an authority writes into a certificate, nothing overflows.
            let _ = renewal(Validity { start, end }, b"");
        }
    }

    #[test]
    fn challenges_are_those_that_can_be_answered() {
        let all = [Challenge::Http01, Challenge::TlsAlpn01];
        assert_eq!(challenges(ChallengeChoice::Auto, true), all);
        assert_eq!(challenges(ChallengeChoice::Auto, false), all[1..]);
        assert_eq!(challenges(ChallengeChoice::TlsAlpn01, true), all[1..]);
        assert_eq!(challenges(ChallengeChoice::Http01, true), all[..1]);
    }
}
