//! Runs the interpreter until a promise is settled.

use std::thread;
use std::time::Duration;

use rquickjs::promise::PromiseState;
use rquickjs::{Ctx, FromJs, Promise};

use crate::client;
use crate::engine::Platform;
use crate::failure::Failure;
use crate::host;

/// Runs jobs and timers until the promise is settled, and returns its value.
///
/// # Errors
///
/// Fails if the promise is rejected, a timer's callback throws, or nothing is left that could
/// settle it.
pub(crate) fn settled<'js, T: FromJs<'js>>(
    cx: &Ctx<'js>,
    platform: &Platform<'js>,
    promise: &Promise<'js>,
    what: &str,
) -> Result<T, Failure> {
    let result = run(cx, platform, promise, what);
    for rejection in platform.rejections(cx, promise.as_value()) {
        host::log(&format!(
            "unhandled rejection: {}\n{}\n",
            rejection.line(),
            rejection.stack
        ));
    }
    result
}

fn run<'js, T: FromJs<'js>>(
    cx: &Ctx<'js>,
    platform: &Platform<'js>,
    promise: &Promise<'js>,
    what: &str,
) -> Result<T, Failure> {
    let failed = |error| Failure::from_error(cx, platform, error);
    loop {
        while promise.state() == PromiseState::Pending && cx.execute_pending_job() {}
        if let Some(result) = promise.result() {
            return result.map_err(failed);
        }
        let wait: f64 = platform.turn.call(()).map_err(failed)?;
        if wait != 0.0 && client::is_pending() {
            client::wait(wait);
            continue;
        }
        if wait < 0.0 {
            let message = format!("{what} never settles: no timer and no other event is left");
            return Err(Failure::new("Error", message));
        }
        if wait > 0.0 {
            thread::sleep(Duration::try_from_secs_f64(wait / 1000.0).unwrap_or(Duration::MAX));
        }
    }
}
