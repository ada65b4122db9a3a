//! Runs handlers: WebAssembly lives here and nowhere else.
//!
//! - [`Engine`] compiles a file to a [`Program`]: checked, linked and ready to instantiate.
//! - [`Call`] is one request in a fresh instance of a program: a future that the reactor polls.
//!   It runs on a fiber of its own, so a guest that waits gives the thread back.
//! - [`Ticker`] is the thread that makes computing guests yield, and [`Timers`] the one that wakes
//!   those that sleep.

mod bindings;
mod cache;
mod call;
mod guest_log;
mod imports;
mod load;
mod meter;
mod missing;
mod pool;
mod state;
mod ticker;
mod timers;

pub use call::{Call, Finished};
pub use load::{Engine, LoadError, Program};
pub use missing::Missing;
pub use ticker::{Ticker, Working};
pub use timers::Timers;
