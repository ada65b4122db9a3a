//! One request and its response, which progress independently.

use super::answer::Answer;
use super::body::RequestBody;
use super::encode::Delimiter;
use super::error::{CloseReason, Rejection};
use super::head::RequestHead;
use super::intake::Intake;
use super::limits::Limits;
use super::response::BodyLength;
use super::version::Version;

/// One request and its response.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) intake: Intake,
    pub(super) answer: Answer,
    /// Why no request is read after this one; `None` if more may follow.
    pub(super) last: Option<CloseReason>,
}

impl Transaction {
    /// Creates the transaction of a request. `body_is_here` says whether bytes after the head have
    /// arrived, `is_limit` whether this is the last request that the connection may send.
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

    /// Creates the transaction of a rejected request. Assumes the oldest client, HTTP/1.0.
    pub(super) fn refusal(rejection: Rejection, to_head: bool, limits: &Limits) -> Self {
        Self {
            intake: Intake::new(RequestBody::None, false, limits),
            answer: Answer::new(Version::Http10, to_head),
            last: Some(CloseReason::Rejected(rejection)),
        }
    }

    /// Returns why no request is read after this one, if there is a reason.
    pub(super) fn why_last(&self) -> Option<CloseReason> {
        self.last
            .or(self.intake.failure().map(CloseReason::BodyFailed))
    }

    /// Returns why the connection must close now that the response has ended, if it must.
    pub(super) fn why_closed(&self) -> Option<CloseReason> {
        let reason = self.answer.why_cut().or(self.why_last())?;
        let may_be_sending = self.intake.is_outstanding();
        Some(match reason {
            // The connection would end in any case, but the client may still be sending the body.
            CloseReason::PeerAsked | CloseReason::RequestLimit | CloseReason::EndsAnswer
                if may_be_sending =>
            {
                CloseReason::BodyUnread
            }
            reason => reason,
        })
    }

    /// Decides on the persistence of the connection from what is known before the head is written.
    pub(super) fn settle_persistence(
        &mut self,
        status: u16,
        length: BodyLength,
        is_stopping: bool,
    ) {
        let reason = if self.intake.is_continue_owed() {
            // The client may still send the body, or the next request in its place.
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
