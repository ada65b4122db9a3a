//! Runs other programs for the project's tools, with errors that name the program, and reads the
//! processor time and memory of running ones.

#![forbid(unsafe_code)]

mod run;
mod tree;

pub use self::run::{Running, run, run_quietly, step, text_and_success_of, text_of};
pub use self::tree::{Stat, Tree, own_seconds};
