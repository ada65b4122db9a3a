//! The form in which a body is sent: what a client takes, what becomes smaller, and how it is
//! compressed, whole or as it comes. For pages and handlers alike (RFC 9110 sections 8.4 and 12.5).
//!
//! It is not here that a page's ready-made forms are found (`static_files`), or that bytes are sent
//! (`server`).

pub(crate) mod accept;
pub(crate) mod coding;
mod compressible;
mod encoder;
mod options;
mod response;

pub(crate) use accept::Encodings;
pub(crate) use coding::Coding;
pub(crate) use compressible::is_compressible;
pub(crate) use encoder::Encoder;
pub(crate) use options::CompressOptions;
pub(crate) use response::{Form, form};
