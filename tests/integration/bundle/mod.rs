//! Sites in one file: `wasgi bundle`, and serving what it made.

mod cache;
mod damaged;
mod making;
mod self_contained;
mod serving;
mod signed;
