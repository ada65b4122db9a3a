//! Runs a guest concurrently with the task that sends its output, within one call.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::engine::clock::meter::Meter;
use crate::gateway::Failure;

/// The number of ticks for which the output of a guest that computes is not looked at, per request:
/// as long as a request that computes may keep others of its handler waiting. A guest rarely
/// computes for so long between its head and its first read, or between its only block and its end.
const MAX_DEFERRED_TICKS: u32 = 20;

/// How one side of a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) enum Ended {
    /// The other side continues.
    Done,
    /// The other side is no longer needed and is dropped.
    Both,
}

/// Runs a guest and the task that sends its output until both are done, or one of them ends both.
///
/// In each turn the guest runs first: its output is sent in the same turn, and a response that is
/// complete by then is sent as a whole. Neither needs to wake the other for that.
///
/// What a guest has written when a tick interrupts it depends on the machine's load, and so would
/// the response's framing and whether the connection persists. So its output waits until the guest
/// waits or ends, for up to [`MAX_DEFERRED_TICKS`].
pub(in crate::engine) async fn beside(
    meter: &Meter,
    guest: impl Future<Output = Result<Ended, Failure>>,
    carrier: impl Future<Output = Result<Ended, Failure>>,
) -> Result<(), Failure> {
    let mut guest = pin!(guest);
    let mut carrier = pin!(carrier);
    let (mut guest_done, mut carrier_done) = (false, false);
    let mut deferred_ticks = 0;
    poll_fn(|context| {
        // Of the start functions, before this.
        meter.take_interruption();
        // Don't send the output of a guest that has failed: as long as nothing is sent, a failure
        // gets an error response.
        if let Some(over) = go_on(guest.as_mut(), &mut guest_done, context) {
            return Poll::Ready(over);
        }
        if meter.take_interruption() && deferred_ticks < MAX_DEFERRED_TICKS {
            // The fiber has woken this task.
            deferred_ticks += 1;
            return Poll::Pending;
        }
        if let Some(over) = go_on(carrier.as_mut(), &mut carrier_done, context) {
            return Poll::Ready(over);
        }
        if guest_done && carrier_done {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// Polls a side that has not ended. Returns the result of the call if it ends now.
fn go_on(
    side: Pin<&mut impl Future<Output = Result<Ended, Failure>>>,
    done: &mut bool,
    context: &mut Context<'_>,
) -> Option<Result<(), Failure>> {
    if *done {
        return None;
    }
    let Poll::Ready(result) = side.poll(context) else {
        return None;
    };
    *done = true;
    match result {
        Ok(Ended::Done) => None,
        Ok(Ended::Both) => Some(Ok(())),
        Err(failure) => Some(Err(failure)),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};
    use std::task::Waker;

    use super::*;

    fn run(
        guest: impl Future<Output = Result<Ended, Failure>>,
        carrier: impl Future<Output = Result<Ended, Failure>>,
    ) -> Poll<Result<(), Failure>> {
        let meter = Meter::default();
        pin!(beside(&meter, guest, carrier)).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn both_have_to_be_done() {
        let done = || ready(Ok(Ended::Done));
        assert_eq!(run(done(), done()), Poll::Ready(Ok(())));
        assert_eq!(run(done(), pending()), Poll::Pending);
        assert_eq!(run(pending(), done()), Poll::Pending);
    }

    #[test]
    fn either_side_can_end_the_call() {
        let ended = || ready(Ok(Ended::Both));
        assert_eq!(run(ended(), pending()), Poll::Ready(Ok(())));
        assert_eq!(run(pending(), ended()), Poll::Ready(Ok(())));
        let failed = || ready(Err(Failure::NotStarted));
        let failure = Poll::Ready(Err(Failure::NotStarted));
        assert_eq!(run(failed(), pending()), failure);
        assert_eq!(run(pending(), failed()), failure);
        let never = poll_fn(|_| panic!("it is not polled any more"));
        assert_eq!(run(failed(), never), failure);
    }

    #[test]
    fn what_the_guest_has_written_is_carried_in_the_same_turn() {
        let written = Cell::new(false);
        let guest = async {
            written.set(true);
            pending().await
        };
        let carrier = async {
            assert!(written.get());
            Ok(Ended::Both)
        };
        assert_eq!(run(guest, carrier), Poll::Ready(Ok(())));
    }

    #[test]
    fn the_output_of_an_interrupted_guest_waits_until_it_waits_or_for_some_ticks() {
        let context = &mut Context::from_waker(Waker::noop());
        let (meter, written, taken) = (Meter::default(), Cell::new(0), Cell::new(0));
        let ticks = Cell::new(3);
        let guest = poll_fn(|_| {
            written.set(written.get() + 1);
            if ticks.get() > 0 {
                ticks.set(ticks.get() - 1);
                meter.tick();
            }
            Poll::Pending
        });
        let carrier = poll_fn(|_| {
            taken.set(written.get());
            Poll::Pending
        });
        let mut both = pin!(beside(&meter, guest, carrier));
        let mut run = || assert_eq!(both.as_mut().poll(context), Poll::Pending);
        (0..3).for_each(|_| run());
        assert_eq!(taken.get(), 0, "it was interrupted each time");
        run();
        assert_eq!(taken.get(), 4, "it waits");
        ticks.set(u32::MAX);
        (3..MAX_DEFERRED_TICKS).for_each(|_| run());
        assert_eq!(taken.get(), 4, "it was interrupted again");
        run();
        assert_eq!(taken.get(), MAX_DEFERRED_TICKS + 2, "it computes for long");
    }
}
