//! `wasgi top`: what a running server does, from its admin listener.
//!
//! - `sample`: the values of `/metrics` and `/status` at one time.
//! - [`Report`]: the difference of two samples: rates, latencies, memory, and the last errors.
//! - `columns`: the columns of the table, and those that fit.
//! - `text`: a report as plain text.
//! - [`screen`]: the view in a terminal.

mod columns;
mod report;
mod sample;
pub(crate) mod screen;
mod text;

pub(crate) use report::Report;
pub(crate) use sample::Sample;
pub(crate) use text::text;
