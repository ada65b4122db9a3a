//! Bundles: a site in one file, which the server serves like the folder that it was made of.
//!
//! - `name`: which names a bundle may have.
//! - `format`: the head of a bundle, which lists its files with their lengths and hashes.
//! - `archive`: opens a bundle, and checks its head.
//! - `program`: a bundle at the end of this program, for sites that are one executable file.
//! - `collect`: which files of a site belong to its bundle.
//! - `write`: makes a bundle.
//! - `signature`: verifies the signature of a bundle, and that it is no older one.
//! - `cache`: unpacks bundles to private folders, which processes share.
//!
//! A bundle's contents are not compressed, and its head is text with a fixed form, so reading one
//! needs no decoder; ADR 16 has the reasons.

mod archive;
mod cache;
mod collect;
mod format;
mod name;
mod options;
mod program;
mod signature;
mod write;

pub(crate) use archive::{Archive, PulledBundle};
pub(crate) use cache::Unpacked;
pub(crate) use collect::{Collected, Collection};
pub(crate) use name::{HANDLERS, PAGES, RUNTIME};
pub(crate) use options::BundleOptions;
#[cfg(test)]
pub(crate) use program::with_command;
pub(crate) use program::{own_path, own_program, process_arguments};
pub(crate) use signature::{PublicKey, path_of as signature_of};
pub(crate) use write::{Output, Program};
