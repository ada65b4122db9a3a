//! Runs handlers: WebAssembly lives here and nowhere else.
//!
//! - [`Engine`] has a file compiled (`compile`) to a [`Program`]: checked, linked and ready to
//!   instantiate. Its
//!   [`Kind`] says how it is run: as the contract says (`call`), by `wasi_http` or as a `command`.
//! - [`Call`] is one request in an instance of a program, fresh or `warm`: a future that the
//!   reactor polls.
//!   It runs on a fiber of its own, so a guest that waits gives the thread back.
//! - [`Ticker`] is the thread that makes computing guests yield, and [`Timers`] the one that wakes
//!   those that sleep.

mod application;
mod backtrace;
mod beside;
mod bindings;
mod cache;
mod call;
mod code_file;
mod command;
pub mod compile;
mod compiled;
mod direct;
mod footprint;
#[doc(hidden)]
pub mod fuzzing;
mod guest_log;
mod image;
mod imports;
mod kind;
mod limits;
mod load;
mod load_error;
mod memory;
mod meter;
mod missing;
mod overflow_pool;
mod pool;
mod refused;
mod scripts;
mod shared_code;
mod sleep;
mod state;
mod ticker;
mod timers;
mod warm;
mod wasi_http;

use wasgi_component::{bulk, componentize, fuse};

/// The most handles that a component, or an application that is called directly, has at a time,
/// with those that the host holds: wasmtime's own default. A request to a handler of the contract
/// needs three.
const HANDLES: usize = 100_000;

pub use call::{Call, Finished};
pub use kind::Kind;
pub use load::{Engine, LoadError, Program};
pub use missing::Missing;
pub use ticker::{Ticker, Working};
pub use timers::Timers;
