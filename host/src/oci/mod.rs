//! Handlers and bundles from OCI registries (OCI Distribution Specification 1.1).
//!
//! A [`Reference`] names an artifact: `oci://registry.example.com/org/shop@sha256:…`. [`pull()`]
//! downloads it to a store, a folder in which each artifact has a folder named by the digest of its
//! manifest. What is in the store is not downloaded again.
//!
//! - `client` sends the requests, `auth` answers a registry's demand for a token or a password with
//!   `credentials`, and `location` has the URLs in its answers.
//! - `manifest` selects the one file that is served.
//!
//! Only a digest is trusted: everything that a registry sends has a limit, is compared with its
//! digest while it is written, and gets its name afterwards.

mod auth;
mod client;
mod credentials;
mod digest;
mod host;
mod location;
mod manifest;
mod options;
mod pull;
mod reference;
mod store;

pub(crate) use manifest::ArtifactKind;
pub(crate) use options::OciOptions;
pub(crate) use pull::{Pulling, pull};
pub(crate) use reference::Reference;
pub(crate) use store::{Pulled, Store};
