//! Collects the lines that a handler writes between two yields and logs them as one block, so that
//! the lines of a traceback stay together even if other threads log at the same time.

use std::cell::RefCell;
use std::sync::Arc;

use super::handle::Log;
use super::queue::Source;

/// The size at which a block is sent, in bytes: enough for a traceback of a few hundred lines.
const BLOCK_BYTES: usize = 32 * 1024;

thread_local! {
    static BLOCK: RefCell<Block> = const { RefCell::new(Block::new()) };
}

/// The collected lines.
struct Block {
    is_open: bool,
    /// The handler that wrote the lines, and the log that they are for.
    owner: Option<(Arc<str>, Log)>,
    lines: Vec<u8>,
}

/// Collects the handlers' lines on this thread while it exists. Sends the rest when it is dropped.
#[must_use]
pub(crate) struct Gather(());

/// Starts collecting.
pub(crate) fn gather() -> Gather {
    BLOCK.with_borrow_mut(|block| block.is_open = true);
    Gather(())
}

impl Drop for Gather {
    fn drop(&mut self) {
        BLOCK.with_borrow_mut(|block| {
            block.is_open = false;
            block.send();
        });
    }
}

/// Adds a handler's line to the block for `log`. Returns `false` if the thread is not collecting;
/// the caller then sends the line.
pub(super) fn take(log: &Log, handler: &Arc<str>, line: &str) -> bool {
    BLOCK.with_borrow_mut(|block| {
        if !block.is_open {
            return false;
        }
        let is_other = block
            .owner
            .as_ref()
            .is_some_and(|(last, _)| last != handler);
        if is_other || block.lines.len() + line.len() > BLOCK_BYTES {
            block.send();
        }
        block
            .owner
            .get_or_insert_with(|| (handler.clone(), log.clone()));
        block.lines.extend_from_slice(line.as_bytes());
        true
    })
}

/// Sends the lines collected on this thread, before another event is logged.
pub(super) fn send() {
    BLOCK.with_borrow_mut(Block::send);
}

impl Block {
    const fn new() -> Self {
        Self {
            is_open: false,
            owner: None,
            lines: Vec::new(),
        }
    }

    fn send(&mut self) {
        if let Some((handler, log)) = self.owner.take() {
            log.send(&Source::Output(handler), std::mem::take(&mut self.lines));
        }
    }
}
