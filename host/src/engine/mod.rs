//! Runs handlers. Only this module uses wasmtime.
//!
//! - [`Engine`] loads a file (`load`) into a [`Program`]: compiled (`compile`, `cache`, `scripts`),
//!   checked, linked and ready to instantiate in the `pools`. Its [`HandlerKind`] determines how it
//!   serves a request (`worlds`, `direct`).
//! - [`Call`] is one request in an instance of a program, fresh or warm: a future that the reactor
//!   polls (`call`). It runs on a separate fiber, so a guest that waits yields the thread.
//! - [`Ticker`] is the thread that makes computing guests yield, and [`Timers`] the one that wakes
//!   sleeping guests (`clock`). `limits` has the other limits on a guest.
//! - `lines` finds the lines of the source in the stack of a guest that has trapped.

mod cache;
mod call;
mod clock;
mod code_file;
pub mod compile;
mod compiled;
mod direct;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod lines;
mod load;
mod pools;
mod program;
mod scripts;
mod shared_code;
mod worlds;

use wasgi_component::{bulk, componentize, fuse};

pub use cache::{CacheFolder, create as create_cache};
pub use call::{Call, Finished};
pub use clock::{Ticker, Timers, Working};
pub use error::LoadError;
pub use load::Engine;
pub(crate) use pools::settings::MIN_MAPPINGS;
pub use program::Program;
pub use scripts::PACKAGES;
pub use worlds::kind::HandlerKind;
pub use worlds::missing::Missing;
