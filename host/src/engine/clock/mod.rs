//! Time: how long a guest computes, when it yields, and how it sleeps.
//!
//! - `ticker` is the thread that makes computing guests yield. `meter` counts a request's computing
//!   time, at each tick and each suspension.
//! - `sleep` keeps the timers of guests, and `timers` is the thread that wakes them.

pub(super) mod meter;
pub(super) mod sleep;
mod ticker;
mod timers;

pub use ticker::{Ticker, Working};
pub use timers::Timers;
