//! Runs calls on one thread, without a reactor.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::visit::{Ended, Visit};
use super::{BadRequest, Client, Mount, Request};
use crate::engine::{Engine, Program, Ticker, Timers, Working};
use crate::gateway::Trace;
use crate::policy::{Policies, Policy};

/// Runs handlers on the calling thread.
#[derive(Debug)]
pub(crate) struct Driver {
    _ticker: Ticker,
    working: Working,
    timers: Timers,
    policies: Policies,
}

impl Driver {
    /// Creates a driver for programs that `engine` has loaded.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create threads.
    pub(crate) fn new(engine: &Engine, policies: Policies) -> anyhow::Result<Self> {
        let ticker = Ticker::start(engine, 1)?;
        let working = ticker.working(0).context("no free slot in the ticker")?;
        Ok(Self {
            _ticker: ticker,
            working,
            timers: Timers::start()?,
            policies,
        })
    }

    /// Returns the policy for requests to a program.
    pub(crate) fn policy(&self, program: &Program, mount: &Mount) -> Policy {
        let policy = self.policies.for_handler(mount.name());
        program.kind().limit(policy)
    }

    /// Sends requests to a program concurrently, each with its own client, and waits until the last
    /// one ends. This takes at most the budget's wall time plus the time that the calls compute.
    ///
    /// With `is_traced`, records the steps of the handler.
    ///
    /// # Errors
    ///
    /// Fails if one of the requests is invalid; then none is sent.
    pub(crate) fn send<C: Client>(
        &self,
        program: &Program,
        mount: &Mount,
        requests: impl IntoIterator<Item = (Request, C)>,
        is_traced: bool,
    ) -> Result<Vec<Ended<C>>, BadRequest> {
        // Guest timers find their driver through this context.
        let _entered = self.timers.handle().enter();
        let policy = self.policy(program, mount);
        let mut visits = Vec::new();
        for (request, client) in requests {
            let trace = if is_traced {
                Trace::recording()
            } else {
                Trace::default()
            };
            visits.push(Visit::new(
                program,
                mount,
                &request,
                trace,
                client,
                policy.clone(),
            )?);
        }
        self.run(&mut visits);
        Ok(visits.into_iter().map(Visit::end).collect())
    }

    fn run<C: Client>(&self, visits: &mut [Visit<C>]) {
        loop {
            self.working.set(true);
            let mut rests = true;
            for at in 0..visits.len() {
                let before = Instant::now();
                match visits.get_mut(at) {
                    Some(visit) if !visit.is_over() && visit.is_woken() => visit.turn(),
                    _ => continue,
                }
                rests = false;
                // Computation of one visit does not count against the wall time of the others.
                let spent = before.elapsed();
                for (_, other) in visits.iter_mut().enumerate().filter(|(n, _)| *n != at) {
                    other.deadline += spent;
                }
            }
            let now = Instant::now();
            visits.iter_mut().for_each(|visit| visit.expire(now));
            let open = visits.iter().filter(|visit| !visit.is_over());
            let Some(next) = open.map(|visit| visit.deadline).min() else {
                break;
            };
            if rests {
                self.working.set(false);
                // A wake-up since the last check has set the thread's token, so this returns at
                // once.
                thread::park_timeout(wait_until(next));
            }
        }
        self.working.set(false);
    }
}

fn wait_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
