//! The place of a key in the configuration.

/// A field of [`Config`](super::super::Config).
macro_rules! at {
    ($($field:ident).+) => { place!(Config, $($field).+) };
}
pub(super) use at;
