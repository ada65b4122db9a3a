//! Certificates that the server obtains itself, by ACME (RFC 8555).
//!
//! - [`AcmeOptions`]: `[acme]` in `wasgi.toml`.
//! - [`Folder`]: the account, the certificates, and the answers to challenges, as files.
//! - [`Acme`]: the thread that asks for certificates. Of all processes with the same folder, one
//!   asks at a time.
//! - `order`: one order of a certificate; `http`: its requests.
//! - `record`: how often is asked; `unstored`: results that the folder doesn't take yet.
//!
//! A certificate that was obtained is a file, which the server loads like any other and loads again
//! when it changes (`server::tls`); only one that can't be stored is passed to it. The answers to
//! challenges are files as well (`server::challenges`): the authority's requests reach any process.

mod folder;
mod http;
mod options;
mod order;
mod record;
mod thread;
mod time;
mod unstored;

pub(crate) use self::folder::Folder;
pub(crate) use self::options::AcmeOptions;
pub(crate) use self::options::{ChallengeChoice, MAX_NAMES_COUNT, check_name};
pub(crate) use self::thread::{Acme, AcmeSetup};
