//! Handlers and bundles from OCI registries.

mod hostile;
mod pull;
mod serving;
mod sources;
