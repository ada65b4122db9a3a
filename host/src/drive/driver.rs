//! Runs calls on one thread, without a reactor.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::visit::{Ended, Visit};
use super::{BadRequest, Client, Mount, Request};
use crate::config::{Budget, Config, Handlers, Policy};
use crate::engine::{Engine, Program, Ticker, Timers, Working};
use crate::gateway::Trace;

/// Has handlers answer on the thread that calls it.
#[derive(Debug)]
pub struct Driver {
    _ticker: Ticker,
    working: Working,
    timers: Timers,
    budget: Budget,
    handlers: Handlers,
}

impl Driver {
    /// A driver of programs that `engine` has loaded; each request gets what `config` says.
    ///
    /// # Errors
    ///
    /// Fails when the system gives no threads.
    pub fn new(engine: &Engine, config: &Config) -> anyhow::Result<Self> {
        let ticker = Ticker::start(engine, 1)?;
        let working = ticker.working(0).context("the ticker has no place left")?;
        Ok(Self {
            _ticker: ticker,
            working,
            timers: Timers::start()?,
            budget: config.budget,
            handlers: config.handlers.clone(),
        })
    }

    /// What each request to a program gets.
    pub fn policy(&self, program: &Program, mount: &Mount) -> Policy {
        let policy = self.handlers.policy(mount.name(), &self.budget);
        program.kind().limit(policy)
    }

    /// Sends requests to a program, all at once, each with a client of its own, and waits until the
    /// last is over: for the budget's wall time at most, and what it takes to compute.
    ///
    /// With `is_traced`, what the handler does is recorded.
    ///
    /// # Errors
    ///
    /// Fails when one of them is no request; none is sent then.
    pub fn send<C: Client>(
        &self,
        program: &Program,
        mount: &Mount,
        requests: impl IntoIterator<Item = (Request, C)>,
        is_traced: bool,
    ) -> Result<Vec<Ended<C>>, BadRequest> {
        // Where the timers of a guest's sleep find their driver.
        let _entered = self.timers.handle().enter();
        let policy = self.policy(program, mount);
        let mut visits = Vec::new();
        for (request, client) in requests {
            let trace = if is_traced {
                Trace::recording()
            } else {
                Trace::default()
            };
            visits.push(Visit::new(program, mount, &request, trace, client, policy)?);
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
                // Each is to have its wall time as if it were alone.
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
                // A wake-up that came since has left its mark: then this returns at once.
                thread::park_timeout(wait_until(next));
            }
        }
        self.working.set(false);
    }
}

fn wait_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
