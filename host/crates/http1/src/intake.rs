//! The intake of the body of the request in progress.

use std::time::Instant;

use super::body::{BodyProgress, Discard, RequestBody};
use super::buffer::ReceiveBuffer;
use super::chunked::{ChunkedDecoder, Piece};
use super::error::BodyError;
use super::limits::Limits;
use super::patience::{Allowance, Patience};

/// The state of a request body that is being read.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    decoder: Decoder,
    patience: Patience,
    /// The number of bytes that may still be read and discarded.
    discard_bytes: u64,
    /// The client waits for a `100 Continue` before it sends the body.
    continue_owed: bool,
}

/// How to read the next bytes.
#[derive(Clone, Debug)]
enum Decoder {
    /// This many bytes are outstanding: at least 1.
    Length(u64),
    Chunked(ChunkedDecoder),
    End,
    Failed(BodyError),
}

impl Intake {
    pub(super) fn new(body: RequestBody, continue_owed: bool, limits: &Limits) -> Self {
        let decoder = match body {
            RequestBody::None | RequestBody::Length(0) => Decoder::End,
            RequestBody::Length(length) => Decoder::Length(length),
            RequestBody::Chunked => Decoder::Chunked(ChunkedDecoder::default()),
        };
        Self {
            continue_owed: continue_owed && !matches!(decoder, Decoder::End),
            decoder,
            patience: Patience::new(allowance(limits)),
            discard_bytes: limits.drain_bytes,
        }
    }

    /// Appends at most `max` bytes of the body to `into`.
    pub(super) fn read(
        &mut self,
        buffer: &mut ReceiveBuffer,
        max: usize,
        into: &mut Vec<u8>,
        limits: &Limits,
        now: Instant,
    ) -> BodyProgress {
        let mut room = max;
        while room > 0 {
            match self.next(buffer, room, limits, |data| into.extend_from_slice(data)) {
                Progress::Data(len) => room -= len,
                // Data in `into` takes precedence; the next call reaches this result again.
                _ if room < max => return BodyProgress::Data,
                Progress::Incomplete if buffer.is_ended() => {
                    self.fail(BodyError::CutShort, buffer);
                    return BodyProgress::Failed(BodyError::CutShort);
                }
                Progress::Incomplete => {
                    self.patience.wait(now);
                    return BodyProgress::Incomplete;
                }
                Progress::End => return BodyProgress::End,
                Progress::Failed(error) => return BodyProgress::Failed(error),
            }
        }
        if max == 0 {
            BodyProgress::Incomplete
        } else {
            BodyProgress::Data
        }
    }

    /// Discards the part of the body that has arrived, as long as the rest is within its limit. The
    /// deadline for the rest starts when [`wait`](Self::wait) is called.
    pub(super) fn discard(&mut self, buffer: &mut ReceiveBuffer, limits: &Limits) -> Discard {
        loop {
            let is_too_much = match self.decoder {
                Decoder::Length(outstanding) => outstanding > self.discard_bytes,
                Decoder::Chunked(_) => self.discard_bytes == 0,
                Decoder::End | Decoder::Failed(_) => false,
            };
            if is_too_much || self.continue_owed {
                return Discard::TooMuch;
            }
            let before = buffer.len();
            let progress = self.next(buffer, usize::MAX, limits, |_| {});
            let used = before.saturating_sub(buffer.len());
            self.discard_bytes = self.discard_bytes.saturating_sub(used as u64);
            match progress {
                Progress::Data(_) => {}
                Progress::Incomplete if buffer.is_ended() => {
                    self.fail(BodyError::CutShort, buffer);
                    return Discard::Failed(BodyError::CutShort);
                }
                Progress::Incomplete => return Discard::Incomplete,
                Progress::End => return Discard::Done,
                Progress::Failed(error) => return Discard::Failed(error),
            }
        }
    }

    /// Starts the deadline for the rest of the body.
    pub(super) fn wait(&mut self, now: Instant) {
        self.patience.wait(now);
    }

    /// Records the arrival of bytes, of the body or of data after it.
    pub(super) fn arrived(&mut self, bytes: usize, now: Instant, limits: &Limits) {
        self.patience.moved(bytes as u64, now, allowance(limits));
        self.continue_owed = false;
    }

    /// Fails the body. The bytes after it can't be interpreted.
    pub(super) fn fail(&mut self, error: BodyError, buffer: &mut ReceiveBuffer) {
        self.decoder = Decoder::Failed(error);
        self.continue_owed = false;
        buffer.release();
    }

    /// Returns whether a part of the body is unread and can still be read.
    pub(super) fn is_outstanding(&self) -> bool {
        matches!(self.decoder, Decoder::Length(_) | Decoder::Chunked(_))
    }

    /// Returns whether the outstanding part may exceed the discard limit. True if its length is
    /// unknown.
    pub(super) fn may_be_too_much(&self) -> bool {
        match self.decoder {
            Decoder::Length(outstanding) => outstanding > self.discard_bytes,
            Decoder::Chunked(_) => true,
            Decoder::End | Decoder::Failed(_) => false,
        }
    }

    pub(super) fn failure(&self) -> Option<BodyError> {
        match self.decoder {
            Decoder::Failed(error) => Some(error),
            _ => None,
        }
    }

    pub(super) fn is_continue_owed(&self) -> bool {
        self.continue_owed
    }

    /// Records that the client has been asked for the body, or won't be.
    pub(super) fn settle_continue(&mut self) {
        self.continue_owed = false;
    }

    /// Returns the deadline of a pending read.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.decoder {
            Decoder::Length(_) | Decoder::Chunked(_) => self.patience.deadline(),
            Decoder::End | Decoder::Failed(_) => None,
        }
    }

    /// Reads until there is data, at most `max` bytes, and passes it to `hand_over`.
    fn next(
        &mut self,
        buffer: &mut ReceiveBuffer,
        max: usize,
        limits: &Limits,
        mut hand_over: impl FnMut(&[u8]),
    ) -> Progress {
        let mut input = buffer.bytes();
        let available = input.len();
        let progress = match self.decoder.next(&mut input, max, limits) {
            Ok(Piece::Data(data)) => {
                hand_over(data);
                Progress::Data(data.len())
            }
            Ok(Piece::Incomplete) => Progress::Incomplete,
            Ok(Piece::End) => Progress::End,
            Err(error) => Progress::Failed(error),
        };
        let used = available - input.len();
        buffer.consume(used);
        match progress {
            Progress::End => self.decoder = Decoder::End,
            Progress::Failed(error) => self.fail(error, buffer),
            Progress::Data(_) | Progress::Incomplete => {}
        }
        progress
    }
}

/// A [`Piece`] without its bytes, or the error.
#[derive(Clone, Copy)]
enum Progress {
    Data(usize),
    Incomplete,
    End,
    Failed(BodyError),
}

impl Decoder {
    fn next<'i>(
        &mut self,
        input: &mut &'i [u8],
        max: usize,
        limits: &Limits,
    ) -> Result<Piece<'i>, BodyError> {
        match self {
            Self::Length(outstanding) => {
                let limit = usize::try_from(*outstanding).unwrap_or(usize::MAX).min(max);
                let (data, rest) = input.split_at(input.len().min(limit));
                if data.is_empty() {
                    return Ok(Piece::Incomplete);
                }
                *input = rest;
                *outstanding -= data.len() as u64;
                if *outstanding == 0 {
                    *self = Self::End;
                }
                Ok(Piece::Data(data))
            }
            Self::Chunked(decoder) => decoder.decode(input, max, limits),
            Self::End => Ok(Piece::End),
            Self::Failed(error) => Err(*error),
        }
    }
}

/// Returns how long to wait for a body.
fn allowance(limits: &Limits) -> Allowance {
    Allowance {
        most: limits.body_patience,
        rate_bytes_per_second: limits.body_rate_bytes_per_second,
    }
}
