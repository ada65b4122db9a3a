//! What happens to a serving process: signals, orders, and the end of an upgrade.

use std::sync::mpsc::Sender;
use std::thread;

use anyhow::Context as _;
use signal_hook::iterator::Signals;

use crate::upgrade::Successor;

/// What happens to a serving process.
pub(super) enum Event {
    Signal(i32),
    /// The supervisor orders to leave the sockets to other processes.
    Leave,
    /// The successor of this process is ready, or has failed.
    Upgraded(Result<Successor, String>),
}

/// Sends each signal as an event, from a new thread, until the receiver is dropped.
///
/// # Errors
///
/// Fails if the system can't create a thread.
pub(super) fn forward(mut signals: Signals, events: Sender<Event>) -> anyhow::Result<()> {
    let forward = move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                break;
            }
        }
    };
    thread::Builder::new()
        .name("wasgi-signals".into())
        .spawn(forward)
        .context("could not start the thread that waits for signals")?;
    Ok(())
}
