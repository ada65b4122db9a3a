//! Handlers and bundles from OCI registries.

mod hostile;
mod pull;
