//! The result of an application.

/// The result of an application.
pub(in crate::engine) enum Answer<B> {
    /// The whole body.
    Block(Vec<u8>),
    /// A handle that returns the body block by block.
    Blocks(B),
}

impl<B> Answer<B> {
    /// Converts the handle.
    pub(in crate::engine) fn map<C>(self, blocks: impl FnOnce(B) -> C) -> Answer<C> {
        match self {
            Self::Block(block) => Answer::Block(block),
            Self::Blocks(given) => Answer::Blocks(blocks(given)),
        }
    }
}
