//! Sleeping: timers of WASI's monotonic clock that end early if the client goes away.
//!
//! A sleeping guest is in a call to the host and can't be notified before it wakes up: then its
//! next block is rejected, and its body is closed (B2). With the bindings' own timers, it would
//! sleep on without a client.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::engine::call::state::HostState;
use crate::gateway::Exchange;

/// The interface of the timers, as named in `wasmtime-wasi`: another name would add a second
/// definition.
const MONOTONIC_CLOCK: &str = "wasi:clocks/monotonic-clock@0.2.12";

/// Replaces the bindings' timers.
pub(in crate::engine) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut clock = linker.instance(MONOTONIC_CLOCK)?;
    clock.func_wrap("subscribe-duration", |mut store, (nanoseconds,): (u64,)| {
        timer(store.data_mut(), nanoseconds)
    })?;
    clock.func_wrap("subscribe-instant", |mut store, (instant,): (u64,)| {
        let state: &mut HostState = store.data_mut();
        let now = wasmtime_wasi::clocks::WasiClocksView::clocks(state).now()?;
        timer(state, instant.saturating_sub(now))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn timer(state: &mut HostState, nanoseconds: u64) -> wasmtime::Result<(Resource<DynPollable>,)> {
    let duration = Duration::from_nanos(nanoseconds);
    let deadline = match Instant::now().checked_add(duration) {
        _ if duration.is_zero() => Deadline::Past { yielded: false },
        Some(instant) => Deadline::At(instant),
        None => Deadline::Never,
    };
    let exchange = Arc::clone(&state.exchange);
    let table = state.ctx().table;
    let timer = table.push(Timer { deadline, exchange })?;
    Ok((subscribe(table, timer)?,))
}

/// The timer of a sleeping guest.
struct Timer {
    deadline: Deadline,
    exchange: Arc<Exchange>,
}

enum Deadline {
    /// A guest that polls repeatedly must yield the thread in between.
    Past {
        yielded: bool,
    },
    At(Instant),
    /// Beyond the range of the clock.
    Never,
}

impl Deadline {
    async fn pass(&mut self) {
        match self {
            Self::Past { yielded: true } => {}
            Self::Past { yielded } => {
                *yielded = true;
                tokio::task::yield_now().await;
            }
            Self::At(instant) => tokio::time::sleep_until(*instant).await,
            Self::Never => pending().await,
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        let mut passed = pin!(self.deadline.pass());
        let mut gone = pin!(self.exchange.gone());
        poll_fn(|context| {
            if passed.as_mut().poll(context).is_ready() || gone.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::wakes::{Wakes, poll};

    #[test]
    fn a_sleeper_is_woken_when_its_client_goes() {
        let exchange = Arc::new(Exchange::new(false));
        let mut timer = Timer {
            deadline: Deadline::Never,
            exchange: Arc::clone(&exchange),
        };
        let wakes = Arc::new(Wakes::default());
        let mut ready = timer.ready();
        assert!(poll(ready.as_mut(), &wakes).is_pending());
        exchange.client_gone();
        assert_eq!(wakes.count(), 1);
        assert!(poll(ready, &wakes).is_ready());
        // A further sleep ends immediately.
        assert!(poll(timer.ready(), &wakes).is_ready());
    }
}
