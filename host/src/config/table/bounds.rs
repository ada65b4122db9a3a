//! What the bounds of keys are made of.

/// The maximum of most counts: a larger number is a typing error.
pub(super) const MANY: u64 = 1_000_000;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
