//! Records the steps of a handler during one request, for `wasgi check`.
//!
//! A server does not record: its [`Trace`] is empty, and steps are not even created.

use std::sync::{Arc, Mutex, PoisonError};

use super::StartError;

/// The maximum number of steps recorded for a request. A correct handler takes a few and one for
/// each block; for one in a loop, the first rounds are enough.
pub const STEPS_COUNT: usize = 1000;

/// A step of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The handler called `start_response`.
    Started {
        /// The status, as the handler gave it.
        status: Vec<u8>,
        /// The fields, as the handler gave them. Empty if they were rejected, since they can then
        /// have any size.
        fields: Vec<(String, Vec<u8>)>,
        /// Whether the call had exc_info.
        exc_info: bool,
        /// The result of the call.
        outcome: Result<(), StartError>,
    },
    /// The handler called `write` with a block.
    Wrote {
        /// The block's length, in bytes.
        bytes: usize,
        /// Whether the block was accepted.
        taken: bool,
    },
    /// The handler read from the request's body.
    Read {
        /// The number of bytes read; 0 at the end.
        bytes: usize,
    },
    /// The handler's read from the request's body failed, because the rest is not available.
    ReadFailed,
    /// The handler returned a complete body.
    Returned {
        /// The body's length, in bytes.
        bytes: usize,
    },
    /// The handler returned an iterator, which is asked for its blocks from here on.
    Iterates,
    /// The iterator gave a block.
    Block {
        /// The block's length, in bytes.
        bytes: usize,
    },
    /// The iterator was closed, or failed to close with this message.
    Closed(Result<(), String>),
    /// The handler exceeded the log limit of a request; the rest is dropped.
    LogFull,
}

/// The steps of one request, if they are recorded. Clones share the trace.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<Mutex<Vec<Step>>>>);

impl Trace {
    /// Creates a trace that records. The default trace does not.
    pub fn recording() -> Self {
        Self(Some(Arc::default()))
    }

    /// Reports whether steps are recorded. A caller that has to copy something for a step checks
    /// this first.
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a step. Calls `step` only if steps are recorded.
    pub fn note(&self, step: impl FnOnce() -> Step) {
        if let Some(steps) = &self.0 {
            let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
            if steps.len() < STEPS_COUNT {
                steps.push(step());
            }
        }
    }

    /// Returns the steps so far; empty if they are not recorded.
    pub fn steps(&self) -> Vec<Step> {
        match &self.0 {
            Some(steps) => steps.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_only_created_if_it_is_recorded() {
        let trace = Trace::default();
        trace.note(|| panic!("a step that nobody wants"));
        assert!(trace.steps().is_empty());
    }

    #[test]
    fn only_the_first_steps_are_recorded() {
        let trace = Trace::recording();
        for bytes in 0..2 * STEPS_COUNT {
            trace.clone().note(|| Step::Block { bytes });
        }
        let steps = trace.steps();
        assert_eq!(steps.len(), STEPS_COUNT);
        assert_eq!(steps.first(), Some(&Step::Block { bytes: 0 }));
    }
}
