//! The last requests, with their responses: recorded while they are answered, bounded in number and
//! in bytes, and kept for the dashboard.
//!
//! A response is recorded as the site gave it: before the script of `wasgi dev` is put in, and
//! before compression. So it can be compared with that of a replay, which has neither.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_json::Value;

use super::capture::{Capture, MAX_BODY_BYTES};
use super::rates::{Rates, Shown};
use crate::gateway::{Head, Origin, Output};
use crate::http1::{RequestBody, RequestHead, is_bodiless, reason};
use crate::permits::{Permit, Permits};
use crate::static_files::{Answer, Content, FilePart, Piece};

/// The number of requests that are kept. With the two bodies of each, these are at most 13 MiB.
pub(crate) const MAX_REQUESTS: usize = 100;

/// The maximum number of requests in progress whose bodies are recorded. Those of further ones are
/// only counted.
const MAX_RECORDING: usize = 100;

/// The last requests, and how many there were.
#[derive(Debug)]
pub(crate) struct Requests {
    state: Mutex<State>,
    /// The requests in progress whose bodies are recorded.
    recording: Arc<Permits>,
}

#[derive(Debug)]
struct State {
    /// The number of the last request that has begun.
    last: u64,
    /// The number of requests that have ended.
    ended: u64,
    /// The kept requests, in the order in which they ended.
    kept: VecDeque<Arc<Recorded>>,
    rates: Rates,
}

/// A request in progress.
#[derive(Debug)]
pub(crate) struct Recorder {
    requests: Arc<Requests>,
    began: Instant,
    recorded: Recorded,
    _permit: Option<Permit>,
}

/// A request, and its response.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(super) number: NonZeroU64,
    /// Its place in the order in which requests have ended, from 1. 0 before its end.
    pub(super) place: u64,
    /// When it began.
    pub(super) at: SystemTime,
    /// The time from its head to the last byte of the response.
    pub(super) took: Duration,
    /// The request, as the client sent it.
    pub(crate) head: Arc<RequestHead>,
    /// The request, as the site got it: see [`document`](super::document).
    pub(crate) given: Arc<RequestHead>,
    /// The addresses, and how the client reached the server.
    pub(crate) origin: Origin,
    pub(super) body: Capture,
    /// The whole body was received.
    pub(super) is_body_whole: bool,
    pub(super) response: Option<Response>,
    /// The status that was sent. 0 if there was none.
    pub(super) status: u16,
    /// The handler's name, and its version.
    pub(super) handler: Option<(String, String)>,
    pub(super) failure: Option<Value>,
    /// Why the response is incomplete.
    pub(super) cut: Option<&'static str>,
    /// The number of the request that this one repeats.
    pub(super) replay_of: Option<NonZeroU64>,
}

/// A response, as the site gave it.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) reason: Vec<u8>,
    pub(super) fields: Vec<(String, Vec<u8>)>,
    /// The declared length of its body, in bytes.
    pub(super) length: Option<u64>,
    pub(super) body: Capture,
    /// The time from the request's head to the response's.
    pub(super) after: Duration,
    /// It has no body (RFC 9110 section 6.4.1), whatever the handler gives.
    is_bodiless: bool,
}

/// How a request ended, as in the access log.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// The status that was sent. 0 if there was none.
    pub(crate) status: u16,
    /// The handler's name, and its version.
    pub(crate) handler: Option<(String, String)>,
    /// Why the response is incomplete.
    pub(crate) cut: Option<&'static str>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                last: 0,
                ended: 0,
                kept: VecDeque::new(),
                rates: Rates::new(Instant::now()),
            }),
            recording: Arc::default(),
        }
    }

    /// Returns a kept request.
    pub(super) fn get(&self, number: u64) -> Option<Arc<Recorded>> {
        let state = self.lock();
        let found = state.kept.iter().find(|one| one.number.get() == number);
        found.cloned()
    }

    /// Returns all kept requests, in the order in which they ended.
    pub(super) fn all(&self) -> Vec<Arc<Recorded>> {
        self.lock().kept.iter().cloned().collect()
    }

    /// Returns how many requests there were in the last seconds.
    pub(super) fn rates(&self, now: Instant) -> Shown {
        self.lock().rates.shown(now)
    }

    fn number(&self) -> NonZeroU64 {
        let mut state = self.lock();
        state.last += 1;
        NonZeroU64::new(state.last).unwrap_or(NonZeroU64::MIN)
    }

    fn keep(&self, mut recorded: Recorded, now: Instant) {
        let mut state = self.lock();
        let is_failed = recorded.status >= 500;
        state.rates.count(now, recorded.took, is_failed);
        state.ended += 1;
        recorded.place = state.ended;
        state.kept.push_back(Arc::new(recorded));
        let dropped = match state.kept.len() > MAX_REQUESTS {
            true => state.kept.pop_front(),
            false => None,
        };
        drop(state);
        // Its bodies are freed without the lock.
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// Begins to record a request.
    pub(crate) fn new(requests: &Arc<Requests>, head: &Arc<RequestHead>, origin: &Origin) -> Self {
        let permit = Permits::try_acquire(&requests.recording, MAX_RECORDING);
        let limit = match permit {
            Some(_) => MAX_BODY_BYTES,
            None => 0,
        };
        Self {
            requests: requests.clone(),
            began: Instant::now(),
            recorded: Recorded {
                number: requests.number(),
                place: 0,
                at: SystemTime::now(),
                took: Duration::ZERO,
                head: head.clone(),
                given: head.clone(),
                origin: origin.clone(),
                body: Capture::new(limit),
                is_body_whole: head.body() == RequestBody::None,
                response: None,
                status: 0,
                handler: None,
                failure: None,
                cut: None,
                replay_of: None,
            },
            _permit: permit,
        }
    }

    /// Begins to record a replay of a request.
    pub(crate) fn replay(requests: &Arc<Requests>, of: &Recorded) -> Self {
        let mut recorder = Self::new(requests, &of.head, &of.origin);
        let recorded = &mut recorder.recorded;
        recorded.given = of.given.clone();
        recorded.body = of.body.clone();
        recorded.is_body_whole = true;
        recorded.replay_of = Some(of.number);
        recorder
    }

    /// Returns the number of the request.
    pub(crate) fn number(&self) -> NonZeroU64 {
        self.recorded.number
    }

    /// Sets the request that the site gets, if it is not as the client sent it.
    pub(crate) fn set_given(&mut self, given: &Arc<RequestHead>) {
        self.recorded.given = given.clone();
    }

    /// Takes received bytes of the request's body.
    pub(crate) fn body(&mut self, bytes: &[u8]) {
        self.recorded.body.push(bytes);
    }

    /// Records that the whole body was received.
    pub(crate) fn body_ended(&mut self) {
        self.recorded.is_body_whole = true;
    }

    /// Takes the output of a handler.
    pub(crate) fn output(&mut self, output: &Output) {
        if let Some(head) = &output.head {
            self.recorded.response = Some(self.of_handler(head));
        }
        if let Some(response) = &mut self.recorded.response {
            for block in &output.blocks {
                response.push(block);
            }
        }
    }

    /// Takes a complete response, unless there is one already.
    pub(crate) fn answer(&mut self, answer: &Answer) {
        if self.recorded.response.is_none() {
            self.recorded.response = Some(self.of_answer(answer));
        }
    }

    /// Records why the request failed: a report, without the lines of the handler, which are
    /// recorded with the request.
    pub(crate) fn failed(&mut self, report: &impl Serialize) {
        let mut report = serde_json::to_value(report).unwrap_or_default();
        if let Some(report) = report.as_object_mut() {
            report.remove("log");
        }
        self.recorded.failure = Some(report);
    }

    /// Returns whether the request has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.recorded.failure.is_some()
    }

    /// Returns the status of the response, or 0 if the request has no response.
    pub(crate) fn status(&self) -> u16 {
        let response = self.recorded.response.as_ref();
        response.map_or(0, |response| response.status)
    }

    /// Returns the length of the response's body so far, in bytes.
    pub(crate) fn response_bytes(&self) -> u64 {
        let response = self.recorded.response.as_ref();
        response.map_or(0, |response| response.body.length())
    }

    /// Returns whether the body of the response is shorter than its head says (B3).
    pub(crate) fn is_short(&self) -> bool {
        let response = self.recorded.response.as_ref();
        response.is_some_and(|response| {
            let length = response.length.filter(|_| !response.is_bodiless);
            length.is_some_and(|length| response.body.length() < length)
        })
    }

    /// Keeps the request. Returns its number.
    pub(crate) fn finish(self, end: End) -> NonZeroU64 {
        let now = Instant::now();
        let mut recorded = self.recorded;
        recorded.took = now.saturating_duration_since(self.began);
        recorded.status = end.status;
        recorded.handler = end.handler;
        recorded.cut = end.cut;
        let number = recorded.number;
        self.requests.keep(recorded, now);
        number
    }

    fn of_handler(&self, head: &Head) -> Response {
        Response {
            status: head.status,
            reason: head.reason.clone(),
            fields: head.fields.clone(),
            length: head.length,
            body: Capture::new(self.limit()),
            after: self.began.elapsed(),
            is_bodiless: self.has_no_body(head.status),
        }
    }

    fn of_answer(&self, answer: &Answer) -> Response {
        let fields = answer.fields.iter();
        let mut response = Response {
            status: answer.status,
            reason: reason(answer.status).as_bytes().to_vec(),
            fields: fields
                .map(|(name, value)| (name.to_string(), value.to_vec()))
                .collect(),
            length: Some(answer.body.length()),
            body: Capture::new(self.limit()),
            after: self.began.elapsed(),
            is_bodiless: self.has_no_body(answer.status),
        };
        if !response.is_bodiless {
            match &answer.body {
                Content::Empty => {}
                Content::Bytes(bytes) => response.push(bytes),
                Content::File(part) => response.push_file(part),
                Content::Pieces(pieces) => pieces.iter().for_each(|piece| match piece {
                    Piece::Bytes(bytes) => response.push(bytes),
                    Piece::File(part) => response.push_file(part),
                }),
            }
        }
        response
    }

    fn has_no_body(&self, status: u16) -> bool {
        self.recorded.head.method() == "HEAD" || is_bodiless(status)
    }

    fn limit(&self) -> usize {
        match self._permit {
            Some(_) => MAX_BODY_BYTES,
            None => 0,
        }
    }
}

impl Response {
    /// Takes the next bytes of the body, up to the declared length: more is not sent (B3).
    fn push(&mut self, bytes: &[u8]) {
        if self.is_bodiless {
            return;
        }
        let left = self
            .length
            .map(|length| length.saturating_sub(self.body.length()));
        let count = left
            .and_then(|left| usize::try_from(left).ok())
            .map_or(bytes.len(), |left| left.min(bytes.len()));
        self.body.push(bytes.get(..count).unwrap_or_default());
    }

    /// Takes a part of a file. Reads only as much as is kept.
    fn push_file(&mut self, part: &FilePart) {
        let bytes = part.front(self.body.room());
        self.body.push(&bytes);
        let rest = part.length.saturating_sub(bytes.len() as u64);
        if rest > 0 {
            self.body.skip(rest);
        }
    }
}

impl Recorded {
    /// Returns the body of the request.
    pub(crate) fn body(&self) -> &[u8] {
        self.body.bytes()
    }

    /// Returns why the request can't be replayed. `None` if it can.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if !self.is_body_whole {
            Some("its body was not received completely")
        } else if self.body.is_cut() {
            Some("its body is too long to be kept")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Scheme;
    use crate::http1::Limits;

    fn requests() -> Arc<Requests> {
        Arc::new(Requests::new())
    }

    fn recorder(requests: &Arc<Requests>, text: &str) -> Recorder {
        let text = format!("{text}\r\nHost: localhost\r\n\r\n");
        let parsed = RequestHead::parse(text.as_bytes(), &Limits::default());
        let head = Arc::new(parsed.expect("valid").expect("complete").0);
        let addr = "127.0.0.1:80".parse().expect("an address");
        Recorder::new(requests, &head, &Origin::direct(addr, addr, Scheme::Http))
    }

    fn end(status: u16) -> End {
        End {
            status,
            handler: None,
            cut: None,
        }
    }

    fn output(length: Option<u64>, blocks: &[&[u8]]) -> Output {
        Output {
            head: Some(Head {
                status: 200,
                reason: b"OK".to_vec(),
                fields: Vec::new(),
                length,
            }),
            blocks: blocks.iter().map(|block| block.to_vec()).collect(),
            ended: false,
        }
    }

    #[test]
    fn the_last_requests_are_kept() {
        let requests = requests();
        for _ in 0..MAX_REQUESTS + 10 {
            recorder(&requests, "GET / HTTP/1.1").finish(end(200));
        }
        let kept = requests.all();
        assert_eq!(kept.len(), MAX_REQUESTS);
        assert_eq!(kept[0].number.get(), 11);
        assert!(requests.get(10).is_none());
        assert!(requests.get(110).is_some());
    }

    #[test]
    fn bodies_are_bounded_in_size_and_in_number() {
        let requests = requests();
        let large = vec![b'x'; 10 * MAX_BODY_BYTES];
        let mut recorders: Vec<_> = (0..MAX_RECORDING + 5)
            .map(|_| recorder(&requests, "POST / HTTP/1.1\r\nContent-Length: 655360"))
            .collect();
        for recorder in &mut recorders {
            recorder.body(&large);
            recorder.body_ended();
            recorder.output(&output(None, &[&large, &large]));
        }
        let kept = |recorder: &Recorder| {
            let response = recorder.recorded.response.as_ref().expect("a response");
            (
                recorder.recorded.body.bytes().len(),
                response.body.bytes().len(),
            )
        };
        assert_eq!(kept(&recorders[0]), (MAX_BODY_BYTES, MAX_BODY_BYTES));
        assert_eq!(kept(&recorders[MAX_RECORDING]), (0, 0));
        assert!(recorders[0].recorded.refusal().is_some());
        assert_eq!(recorders[0].response_bytes(), 20 * MAX_BODY_BYTES as u64);
        recorders.clear();
        assert!(recorder(&requests, "GET / HTTP/1.1")._permit.is_some());
    }

    #[test]
    fn a_request_is_replayed_only_with_its_whole_body() {
        let requests = requests();
        let mut recorder = recorder(&requests, "POST / HTTP/1.1\r\nContent-Length: 3");
        recorder.body(b"ab");
        let why = recorder.recorded.refusal().expect("a reason");
        assert!(why.contains("not received completely"));
        recorder.body(b"c");
        recorder.body_ended();
        assert_eq!(recorder.recorded.refusal(), None);
        let number = recorder.finish(end(200));
        let recorded = requests.get(number.get()).expect("kept");
        let replay = Recorder::replay(&requests, &recorded);
        assert_eq!(replay.recorded.replay_of, Some(number));
        assert_eq!(replay.recorded.body(), b"abc");
    }

    #[test]
    fn a_response_has_the_bytes_that_are_sent() {
        let requests = requests();
        let mut long = recorder(&requests, "GET / HTTP/1.1");
        long.output(&output(Some(3), &[b"ab", b"cd"]));
        assert!(!long.is_short());
        assert_eq!(long.response_bytes(), 3);
        let mut short = recorder(&requests, "GET / HTTP/1.1");
        short.output(&output(Some(3), &[b"ab"]));
        assert!(short.is_short());
        let mut head = recorder(&requests, "HEAD / HTTP/1.1");
        head.output(&output(Some(3), &[b"abc"]));
        assert!(!head.is_short());
        assert_eq!(head.response_bytes(), 0);
    }
}
