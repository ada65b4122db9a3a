//! What a handler did during one request, step by step, for those who judge it (`wasgi check`).
//!
//! A server doesn't record: then a [`Trace`] is nothing, and a step is not even made.

use std::sync::{Arc, Mutex, PoisonError};

use super::StartError;

/// Steps that are kept of one request. A handler that keeps the rules takes a few and one for each
/// block; of one that goes round in circles, the first rounds tell all.
pub const STEPS_COUNT: usize = 1000;

/// What a handler did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It called `start_response`.
    Started {
        /// The status and the fields as it gave them.
        status: Vec<u8>,
        /// Empty if they were refused: they may be of any size then.
        fields: Vec<(String, Vec<u8>)>,
        /// Whether it gave exc_info.
        exc_info: bool,
        /// What it was told.
        outcome: Result<(), StartError>,
    },
    /// It called `write` with a block of so many bytes.
    Wrote {
        /// The block's length.
        bytes: usize,
        /// Whether the block was taken.
        taken: bool,
    },
    /// It read from the request's body: so many bytes, none at the end.
    Read {
        /// Their count.
        bytes: usize,
    },
    /// It read from the request's body, and was told that the rest can't be had.
    ReadFailed,
    /// It returned a body that is whole, of so many bytes.
    Returned {
        /// Their count.
        bytes: usize,
    },
    /// It returned an iterator, which is asked for its blocks from here on.
    Iterates,
    /// The iterator gave a block of so many bytes.
    Block {
        /// Their count.
        bytes: usize,
    },
    /// The iterator has been told to close, and has; or says why not.
    Closed(Result<(), String>),
    /// It wrote more to the log than a request may: the rest is dropped.
    LogFull,
}

/// The steps of one request, if they are recorded. Clones are the same trace.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<Mutex<Vec<Step>>>>);

impl Trace {
    /// A trace that records. The default one does not.
    pub fn recording() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether steps are kept: who has to copy something for a step asks first.
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a step, which is only made where it is kept.
    pub fn note(&self, step: impl FnOnce() -> Step) {
        if let Some(steps) = &self.0 {
            let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
            if steps.len() < STEPS_COUNT {
                steps.push(step());
            }
        }
    }

    /// The steps so far; none where they are not recorded.
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
    fn nothing_is_made_where_nothing_is_recorded() {
        let trace = Trace::default();
        trace.note(|| panic!("a step that nobody wants"));
        assert!(trace.steps().is_empty());
    }

    #[test]
    fn the_first_steps_are_kept() {
        let trace = Trace::recording();
        for bytes in 0..2 * STEPS_COUNT {
            trace.clone().note(|| Step::Block { bytes });
        }
        let steps = trace.steps();
        assert_eq!(steps.len(), STEPS_COUNT);
        assert_eq!(steps.first(), Some(&Step::Block { bytes: 0 }));
    }
}
