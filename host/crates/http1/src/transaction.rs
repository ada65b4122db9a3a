//! One request and its answer, side by side.

use super::answer::Answer;
use super::body::RequestBody;
use super::encode::Delimiter;
use super::error::{CloseReason, Rejection};
use super::head::{RequestHead, Version};
use super::intake::Intake;
use super::limits::Limits;
use super::response::BodyLength;

/// One request and its answer.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) intake: Intake,
    pub(super) answer: Answer,
    /// Why no request is read after this one, if that is so.
    pub(super) last: Option<CloseReason>,
}

impl Transaction {
    /// The transaction of a request. Its body, or something, may be here already, and it may be the
    /// last that the connection is allowed.
    pub(super) fn new(
        head: &RequestHead,
        body_is_here: bool,
        is_limit: bool,
        limits: &Limits,
    ) -> Self {
        let last = if !head.keeps_alive() {
            Some(CloseReason::PeerAsked)
        } else {
            is_limit.then_some(CloseReason::RequestLimit)
        };
        let continue_owed = head.expects_continue() && !body_is_here;
        Self {
            intake: Intake::new(head.body(), continue_owed, limits),
            answer: Answer::new(head.version(), head.method() == "HEAD"),
            last,
        }
    }

    /// The answer to a request that can't be taken. It assumes the least of the client.
    pub(super) fn refusal(rejection: Rejection, to_head: bool, limits: &Limits) -> Self {
        Self {
            intake: Intake::new(RequestBody::None, false, limits),
            answer: Answer::new(Version::Http10, to_head),
            last: Some(CloseReason::Rejected(rejection)),
        }
    }

    /// Why no request is read after this one, if that is so.
    pub(super) fn why_last(&self) -> Option<CloseReason> {
        self.last
            .or(self.intake.failure().map(CloseReason::BodyFailed))
    }

    /// Why the connection ends now that the answer is over, if it does.
    pub(super) fn why_closed(&self) -> Option<CloseReason> {
        let reason = self.answer.why_cut().or(self.why_last())?;
        let may_be_sending = self.intake.is_outstanding();
        Some(match reason {
            // It would have ended anyway; but its client may be in the middle of the body.
            CloseReason::PeerAsked | CloseReason::RequestLimit | CloseReason::EndsAnswer
                if may_be_sending =>
            {
                CloseReason::BodyUnread
            }
            reason => reason,
        })
    }

    /// Decides, before the head says it, what is known now about the connection's future.
    pub(super) fn settle_persistence(
        &mut self,
        status: u16,
        length: BodyLength,
        is_stopping: bool,
    ) {
        let reason = if self.intake.is_continue_owed() {
            // The client may send the body all the same, or the next request in its place.
            self.intake.settle_continue();
            Some(CloseReason::ContinueUnsent)
        } else if self.answer.delimiter(status, length) == Delimiter::Close {
            Some(CloseReason::EndsAnswer)
        } else if is_stopping {
            Some(CloseReason::Stopping)
        } else {
            None
        };
        self.last = self.last.or(reason);
    }
}
