//! Why a component stays as it is.

use std::fmt;

use wasm_encoder::reencode;
use wasmparser::BinaryReaderError;

/// What it has that is not understood here, or can't be kept true. Nothing is wrong with it for
/// that.
#[derive(Debug)]
pub struct Refusal(&'static str);

/// What is done, or refused.
pub(super) type Result<T> = std::result::Result<T, Refusal>;

/// The same, in the words of what copies.
pub(super) type Copied<T> = std::result::Result<T, reencode::Error<Refusal>>;

/// Refuses, and says why.
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
