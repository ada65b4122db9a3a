//! The reasons why a component stays unchanged.

use std::fmt;

use wasm_encoder::reencode;
use wasmparser::BinaryReaderError;

/// The maximum length of an item's name, in bytes. Names of interfaces have less than a hundred.
const ITEM_BYTES: usize = 200;

/// A feature of the component that is not understood here or can't be preserved, and the import,
/// export or section that has it. The component may still be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    why: &'static str,
    item: Option<String>,
    is_slower: bool,
}

/// The result of a step, or why it is impossible.
pub(super) type Result<T> = std::result::Result<T, Unsupported>;

/// The result of a reencoder, or why it is impossible.
pub(super) type Copied<T> = std::result::Result<T, reencode::Error<Unsupported>>;

/// Fails for this reason.
pub(super) fn unsupported<T>(why: &'static str) -> Result<T> {
    Err(Unsupported::new(why))
}

/// Fails for this reason, and names the item that is at fault. Its name may be untrusted.
pub(super) fn unsupported_at<T>(why: &'static str, item: &str) -> Result<T> {
    Err(Unsupported::at(why, item))
}

impl Unsupported {
    pub(super) fn new(why: &'static str) -> Self {
        Self {
            why,
            item: None,
            is_slower: true,
        }
    }

    /// Creates the reason for a component whose core modules can't be combined. A single one needs
    /// no other.
    pub(super) fn apart(core_modules: usize) -> Self {
        let why = "no two of its core modules can be combined";
        Self {
            is_slower: core_modules > 1,
            ..Self::new(why)
        }
    }

    pub(super) fn at(why: &'static str, item: &str) -> Self {
        let end = item.floor_char_boundary(ITEM_BYTES);
        Self {
            item: Some(item[..end].to_owned()),
            ..Self::new(why)
        }
    }

    /// Returns the reason, without the item.
    pub fn why(&self) -> &'static str {
        self.why
    }

    /// Returns whether an instance of the component takes longer to create than if it were linked.
    pub fn is_slower(&self) -> bool {
        self.is_slower
    }

    /// Returns the name of the item: an import, an export or a section, at most 200 bytes. It comes
    /// from the component and may contain any characters.
    pub fn item(&self) -> Option<&str> {
        self.item.as_deref()
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.item {
            Some(item) => write!(f, "{} ({})", self.why, item.escape_debug()),
            None => f.write_str(self.why),
        }
    }
}

impl std::error::Error for Unsupported {}

impl From<BinaryReaderError> for Unsupported {
    fn from(_: BinaryReaderError) -> Self {
        Self::new("the component is invalid or truncated")
    }
}

impl From<reencode::Error<Unsupported>> for Unsupported {
    fn from(error: reencode::Error<Unsupported>) -> Self {
        match error {
            reencode::Error::UserError(unsupported) => unsupported,
            _ => Self::new("an item can't be re-encoded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_cut_and_escaped() {
        let long = "é\n".repeat(ITEM_BYTES);
        let text = Unsupported::at("why", &long).to_string();
        assert!(
            text.starts_with("why (é\\né") && text.ends_with(')'),
            "{text}"
        );
        assert!(
            text.len() < 2 * ITEM_BYTES && !text.contains('\n'),
            "{text}"
        );
    }
}
