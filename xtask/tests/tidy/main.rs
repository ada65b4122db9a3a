//! Rules of this repository that no compiler checks, each with a test that it can fail.
//!
//! A rule is a function from one file, or from all files, to complaints. Rules that clippy or
//! rustdoc can check are left to them.

mod circles;
mod complaint;
mod fences;
mod leftovers;
mod links;
mod names;
mod prose;
mod rust;
mod shape;
mod suite;
mod tree;
mod unsafety;
mod walks;
mod wit;
