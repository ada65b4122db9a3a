//! The reasons why a component stays unchanged.

use std::fmt;

use wasm_encoder::reencode;
use wasmparser::BinaryReaderError;

/// A feature of the component that is not understood here or can't be preserved. The component may
/// still be valid.
#[derive(Debug)]
pub struct Refusal(&'static str);

/// The result of a step, or a refusal.
pub(super) type Result<T> = std::result::Result<T, Refusal>;

/// The result of a reencoder, or a refusal.
pub(super) type Copied<T> = std::result::Result<T, reencode::Error<Refusal>>;

/// Returns a refusal with its reason.
pub(super) fn refuse<T>(why: &'static str) -> Result<T> {
    Err(Refusal(why))
}

impl Refusal {
    pub(super) fn new(why: &'static str) -> Self {
        Self(why)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl From<BinaryReaderError> for Refusal {
    fn from(_: BinaryReaderError) -> Self {
        Self("it is broken or cut short")
    }
}

impl From<reencode::Error<Refusal>> for Refusal {
    fn from(error: reencode::Error<Refusal>) -> Self {
        match error {
            reencode::Error::UserError(refusal) => refusal,
            _ => Self("it has something that can't be copied"),
        }
    }
}
