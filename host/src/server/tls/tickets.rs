//! The keys of session tickets, which all processes of a site share, and which a server hands over
//! to its successor: a client resumes its session whichever process it reaches.
//!
//! The keys of a period are derived from the chain's value, and the next period's value from this
//! one (a ratchet). So all processes change keys at the same time without a message, and the memory
//! of a process doesn't contain the keys of past periods.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;

/// The length of a period, in seconds: six hours, as in rustls. A ticket is valid in its period and
/// in the next one.
const PERIOD_SECONDS: u64 = 6 * 60 * 60;

/// The maximum number of periods to advance at a time: ten years. A larger step is an error of the
/// clock, and gets random keys.
const MAX_STEPS: u64 = 10 * 365 * 4;

/// The length of the chain's value and of a key, in bytes.
const KEY_BYTES: usize = 32;

/// The length of the number of a period, at the front of a ticket, in bytes.
const PERIOD_BYTES: usize = 8;

type Secret = [u8; KEY_BYTES];

/// Seals and opens session tickets.
pub(crate) struct Tickets(Mutex<Chain>);

#[derive(Clone, PartialEq, Eq)]
struct Chain {
    /// The number of the current period since 1970.
    period: u64,
    value: Secret,
    /// The key of the period before.
    previous: Secret,
}

impl Tickets {
    /// Creates random keys.
    ///
    /// # Errors
    ///
    /// Fails if the system has no random numbers.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let chain = Chain::random(period_now());
        Ok(Self(Mutex::new(
            chain.context("no key for session tickets")?,
        )))
    }

    /// Returns the keys, for another process of the same site.
    pub(crate) fn export(&self) -> String {
        let chain = self.lock();
        let Chain { period, .. } = *chain;
        format!("{period}.{}.{}", hex(&chain.value), hex(&chain.previous))
    }

    /// Restores what [`export`](Self::export) has returned.
    ///
    /// # Errors
    ///
    /// Fails if the text is anything else.
    pub(crate) fn import(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.split('.');
        let mut part = || parts.next().unwrap_or_default();
        let chain = part().parse().ok().and_then(|period| {
            Some(Chain {
                period,
                value: from_hex(part())?,
                previous: from_hex(part())?,
            })
        });
        let chain = chain.ok_or_else(|| anyhow!("the keys of session tickets are malformed"))?;
        Ok(Self(Mutex::new(chain)))
    }

    fn seal(&self, plain: &[u8], period: u64) -> Option<Vec<u8>> {
        let (period, key) = {
            let mut chain = self.lock();
            chain.advance(period)?;
            (chain.period, chain.key())
        };
        let period = period.to_le_bytes();
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let key = aead(&key)?;
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, Aad::from(period), &mut sealed)
            .ok()?;
        Some([&period[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (period, rest) = ticket.split_first_chunk::<PERIOD_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = {
            let mut chain = self.lock();
            chain.advance(now)?;
            let age = chain.period.checked_sub(u64::from_le_bytes(*period))?;
            match age {
                0 => chain.key(),
                1 => chain.previous,
                _ => return None,
            }
        };
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = aead(&key)?.open_in_place(nonce, Aad::from(*period), &mut plain);
        let length = opened.ok()?.len();
        plain.truncate(length);
        Some(plain)
    }

    /// Locks the chain. It is held for a few hashes, or in the first use after years for thousands.
    fn lock(&self) -> std::sync::MutexGuard<'_, Chain> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chain {
    fn random(period: u64) -> Option<Self> {
        let mut chain = Self {
            period,
            value: [0; KEY_BYTES],
            previous: [0; KEY_BYTES],
        };
        let random = SystemRandom::new();
        random.fill(&mut chain.value).ok()?;
        random.fill(&mut chain.previous).ok()?;
        Some(chain)
    }

    /// Moves to a later period. Stays in the current one if the clock was set back.
    fn advance(&mut self, period: u64) -> Option<()> {
        if period.saturating_sub(self.period) > MAX_STEPS {
            *self = Self::random(period)?;
        }
        while self.period < period {
            self.previous = self.key();
            self.value = derive(&self.value, b"next period");
            self.period += 1;
        }
        Some(())
    }

    /// Returns the key of the current period.
    fn key(&self) -> Secret {
        derive(&self.value, b"ticket key")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(PERIOD_SECONDS).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, period_now())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, period_now())
    }
}

impl fmt::Debug for Tickets {
    /// Omits the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

fn period_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() / PERIOD_SECONDS)
}

fn derive(secret: &Secret, purpose: &[u8]) -> Secret {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), purpose);
    let mut derived = [0; KEY_BYTES];
    for (to, from) in derived.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    derived
}

fn aead(key: &Secret) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).ok()?;
    Some(LessSafeKey::new(key))
}

fn hex(bytes: &Secret) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Secret> {
    if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 80_000;

    fn tickets() -> Tickets {
        Tickets(Mutex::new(Chain::random(NOW).expect("random numbers")))
    }

    #[test]
    fn a_ticket_is_valid_in_its_period_and_the_next() {
        let tickets = tickets();
        let ticket = tickets.seal(b"state", NOW).expect("sealed");
        for (now, expected) in [(NOW, true), (NOW + 1, true), (NOW + 2, false)] {
            let opened = tickets.open(&ticket, now);
            assert_eq!(opened.as_deref(), expected.then_some(&b"state"[..]));
        }
    }

    #[test]
    fn a_process_with_the_same_keys_opens_tickets_in_later_periods_too() {
        let first = tickets();
        let second = Tickets::import(&first.export()).expect("its own text");
        let ticket = first.seal(b"state", NOW + 40).expect("sealed");
        assert_eq!(
            second.open(&ticket, NOW + 41).as_deref(),
            Some(&b"state"[..])
        );
        assert_eq!(tickets().open(&ticket, NOW + 41), None, "other keys");
        // A clock that was set back changes nothing.
        let ticket = first.seal(b"state", NOW).expect("sealed");
        assert!(second.open(&ticket, NOW).is_some());
        // One that was set far forward changes everything at once.
        assert_eq!(second.open(&ticket, u64::MAX), None);
    }

    #[test]
    fn a_changed_ticket_and_changed_keys_are_rejected() {
        let tickets = tickets();
        let ticket = tickets.seal(b"state", NOW).expect("sealed");
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(tickets.open(&changed, NOW), None, "{index}");
            assert_eq!(tickets.open(&ticket[..index], NOW), None, "{index}");
        }
        for text in ["", "1", "1.a.b", "x.y.z", &format!("1.{0}", "é".repeat(32))] {
            assert!(Tickets::import(text).is_err(), "{text}");
        }
        assert!(!format!("{tickets:?}").contains(&hex(&tickets.lock().value)));
    }
}
