//! What a handler writes between two moments at which it gives its thread back goes to the log in
//! one block: so the lines of a traceback stand together, whatever other threads log meanwhile.

use std::cell::RefCell;
use std::sync::Arc;

use super::ERROR_LOG;
use super::queue::Source;

/// A block that has more bytes than this is sent on: a traceback of some hundred lines fits.
const BLOCK_BYTES: usize = 32 * 1024;

thread_local! {
    static BLOCK: RefCell<Block> = const { RefCell::new(Block::new()) };
}

/// The lines that wait.
struct Block {
    is_open: bool,
    handler: Option<Arc<str>>,
    lines: Vec<u8>,
}

/// While it is there, what handlers write on this thread is gathered. Sends the rest when it is
/// dropped.
#[must_use]
pub(crate) struct Gather(());

/// Begins to gather.
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

/// Takes a line of a handler's. False where nothing is gathered: then it is for the caller to send.
pub(super) fn take(handler: &Arc<str>, line: &str) -> bool {
    BLOCK.with_borrow_mut(|block| {
        if !block.is_open {
            return false;
        }
        let is_other = block.handler.as_ref().is_some_and(|last| last != handler);
        if is_other || block.lines.len() + line.len() > BLOCK_BYTES {
            block.send();
        }
        block.handler.get_or_insert_with(|| handler.clone());
        block.lines.extend_from_slice(line.as_bytes());
        true
    })
}

/// Sends what has been gathered on this thread, before something else is logged.
pub(super) fn send() {
    BLOCK.with_borrow_mut(Block::send);
}

impl Block {
    const fn new() -> Self {
        Self {
            is_open: false,
            handler: None,
            lines: Vec::new(),
        }
    }

    fn send(&mut self) {
        let Some(handler) = self.handler.take() else {
            return;
        };
        let lines = std::mem::take(&mut self.lines);
        if let Some(subscriber) = ERROR_LOG.get() {
            subscriber.log.send(&Source::Output(handler), lines);
        }
    }
}
