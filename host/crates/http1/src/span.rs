//! A position in the bytes of a head.

/// A range of the head's bytes. The limits keep a head far shorter than 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        let index = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: index(start),
            end: index(end),
        }
    }

    /// Returns the range of `part` in `whole`. `part` must be a slice of `whole`.
    pub(super) fn locate(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        Self::new(start, start.wrapping_add(part.len()))
    }

    /// Returns the bytes of `head` in this range.
    pub(super) fn within(self, head: &[u8]) -> &[u8] {
        head.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}
