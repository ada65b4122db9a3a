//! A replay of a recorded request, in `wasgi dev`: the site answers it as if it were sent again.
//! Its response is recorded, and the connection that asked for the replay receives its number.

use std::sync::Arc;
use std::time::Duration;

use super::wire::Progress;
use super::{Connection, Phase, Source};
use crate::dev::Dev;
use crate::dev::endpoints;
use crate::dev::requests::{Recorded, Recorder};
use crate::gateway::{Exchange, Failure, RequestId};
use crate::server::calls::CallId;
use crate::server::context::{Context, Started};
use crate::server::record::Record;

/// The maximum time of a replay, which has no client that would leave: an endless response ends
/// then. A person waits for it.
const MAX_REPLAY: Duration = Duration::from_secs(30);

/// A call of a replay.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) call: CallId,
    exchange: Arc<Exchange>,
    /// The request, which has the body.
    of: Arc<Recorded>,
    /// The number of bytes of the body that the handler has.
    given: usize,
    /// The handler has the whole body.
    is_body_done: bool,
}

impl Connection {
    /// Sends a recorded request to the site again.
    pub(super) fn begin_replay(&mut self, dev: &Arc<Dev>, of: &Arc<Recorded>, cx: &mut Context) {
        let mut record = Box::new(Record::new(of.head.clone(), cx.now));
        record.is_replay = true;
        record.id = cx.settings.request_id.then(RequestId::random);
        record.deadline = cx.now.checked_add(MAX_REPLAY);
        let recorder = Box::new(Recorder::replay(dev.requests(), of));
        cx.number = Some(recorder.number());
        record.recorder = Some(recorder);
        let start = cx.start(of.given.clone(), of.origin.clone(), &mut record);
        cx.number = None;
        let started = start.note(&mut record);
        self.wire.record = Some(record);
        let answer = match started {
            Started::Answer(answer) => answer,
            Started::Call { call, exchange } => {
                self.phase = Phase::Answering(Source::Replay(Box::new(Replay {
                    call,
                    exchange,
                    of: of.clone(),
                    given: 0,
                    is_body_done: false,
                })));
                return;
            }
        };
        if let Some(recorder) = self.wire.recorder() {
            recorder.answer(&answer);
        }
        self.end_replay(cx);
    }

    /// Passes the body to the handler, and records its output.
    pub(super) fn go_on_with_replay(&mut self, cx: &mut Context) -> Progress {
        let Phase::Answering(Source::Replay(replay)) = &mut self.phase else {
            return Progress::Stuck;
        };
        let has_fed = replay.feed();
        let output = replay.exchange.take_output();
        let has_output = output.head.is_some() || !output.blocks.is_empty();
        replay.exchange.sent();
        if output.ended {
            // The call may still run its `close`.
            cx.calls.detach(replay.call);
        }
        if let Some(recorder) = self.wire.recorder() {
            recorder.output(&output);
        }
        if output.ended {
            self.end_replay(cx);
        }
        match has_fed || has_output || output.ended {
            true => Progress::Made,
            false => Progress::Stuck,
        }
    }

    /// Handles the failure of the call of a replay.
    pub(super) fn replay_failed(
        &mut self,
        failure: &Failure,
        request: &RequestId,
        cx: &mut Context,
    ) {
        self.go_on_with_replay(cx);
        if !matches!(self.phase, Phase::Answering(Source::Replay(_))) {
            return;
        }
        let answer = cx.failure(self.wire.host(), failure, request.as_str());
        if let Some(recorder) = self.wire.recorder() {
            recorder.answer(&answer);
        }
        self.end_replay(cx);
    }

    /// Ends a replay that takes too long.
    pub(super) fn replay_overdue(&mut self, cx: &mut Context) {
        self.leave_call(cx);
        if let Some(record) = &mut self.wire.record {
            record.cut = Some("a replay takes at most 30 s");
        }
        self.end_replay(cx);
    }

    /// Logs and keeps the replay, and responds with its number.
    fn end_replay(&mut self, cx: &mut Context) {
        let Some(recorder) = self.wire.recorder() else {
            return;
        };
        let (status, bytes) = (recorder.status(), recorder.response_bytes());
        let is_short = recorder.is_short() && !recorder.has_failed();
        let is_cut = |record: &Record| record.cut.is_some();
        if is_short && !self.wire.record.as_deref().is_some_and(is_cut) {
            self.violated("the body is shorter than its Content-Length", cx);
        }
        let Some(mut record) = self.wire.record.take() else {
            return;
        };
        (record.status, record.bytes) = (status, bytes);
        cx.log(self.peer, &record);
        if let Some(recorder) = record.recorder.take() {
            let number = recorder.finish(record.end());
            self.answer(endpoints::replayed(number), cx);
        }
    }
}

impl Replay {
    /// Passes the body on, as far as the handler has room. Returns whether it took some.
    fn feed(&mut self) -> bool {
        if self.is_body_done {
            return false;
        }
        let rest = self.of.body().get(self.given..).unwrap_or_default();
        if rest.is_empty() {
            self.is_body_done = true;
            self.exchange.end_body(Ok(()));
            return true;
        }
        let piece = rest
            .get(..self.exchange.body_room().min(rest.len()))
            .unwrap_or_default();
        self.exchange
            .push_body(|into| into.extend_from_slice(piece));
        self.given += piece.len();
        !piece.is_empty()
    }
}
