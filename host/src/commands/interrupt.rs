//! Signals that end a command while a compiler runs. The compiler has a process group of its own,
//! so Ctrl-C in a terminal doesn't reach it.

use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::reload::CancelToken;

/// What a signal cancels. Otherwise, it ends the process.
static CURRENT: Mutex<Option<CancelToken>> = Mutex::new(None);

/// Does some work, which SIGINT, SIGTERM and SIGHUP cancel. Before and after it, they end the
/// process as usual.
pub(super) fn cancellable<T>(work: impl FnOnce(&CancelToken) -> T) -> T {
    static WATCH: Once = Once::new();
    let cancel = CancelToken::new();
    *current() = Some(cancel.clone());
    WATCH.call_once(watch);
    let result = work(&cancel);
    *current() = None;
    result
}

/// Starts the thread that waits for signals. Without it, they end the process alone.
fn watch() {
    let (watches, is_watching) = mpsc::channel::<()>();
    let thread = thread::Builder::new().name("wasgi-signals".to_owned());
    let started = thread.spawn(move || {
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
            return;
        };
        drop(watches);
        for signal in signals.forever() {
            match &*current() {
                Some(cancel) => cancel.cancel(),
                None => drop(emulate_default_handler(signal)),
            }
        }
    });
    if started.is_ok() {
        // Returns when the thread has dropped its end.
        let _ = is_watching.recv();
    }
}

fn current() -> MutexGuard<'static, Option<CancelToken>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}
