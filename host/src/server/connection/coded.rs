//! Compression of handlers' responses, if enabled in the configuration.
//!
//! A block is compressed in slices, one per step, and each only after the previous one has been
//! sent: a handler that returns a hundred megabytes at once occupies neither the thread nor the
//! memory.

use std::collections::VecDeque;

use super::waiting::{Moved, Waiting};
use super::wire::{Progress, Wire};
use crate::content::{self, CompressOptions, Encoder, Encodings, Form};
use crate::dev::Document;
use crate::gateway::{Head, Output};
use crate::http1::{Finish, RequestHead};
use crate::permits::{Permit, Permits};
use crate::server::context::Context;

/// The amount of data that is compressed in one step, in bytes: at most a millisecond.
const SLICE_BYTES: usize = 16 * 1024;

/// The maximum length of a body that is compressed as a whole and gets a Content-Length, in bytes.
const WHOLE_MAX_BYTES: u64 = SLICE_BYTES as u64;

/// The maximum number of bodies that one thread compresses at a time. Each takes up to a megabyte;
/// further bodies are sent uncompressed.
const ENCODERS: usize = 64;

/// Whether an answer is compressed.
#[derive(Debug)]
pub(super) enum Coding {
    /// It is not.
    Off,
    /// Decided by its head. Contains the coding that the client prefers among ours.
    Undecided(Option<content::Coding>),
    /// It is.
    On(Box<Coder>),
    /// It is not, but it gets the script of `wasgi dev` if it is a document.
    Document(Box<Document>),
}

/// A body that is being compressed.
#[derive(Debug)]
pub(super) struct Coder {
    encoder: Encoder,
    /// The blocks that are not fully compressed.
    blocks: VecDeque<Vec<u8>>,
    /// The number of compressed bytes of the first block.
    start: usize,
    /// The number of outstanding bytes, if the handler has declared a length (B3).
    left: Option<u64>,
    /// The handler has returned its last block.
    ended: bool,
    /// Its permit among the encoders.
    _permit: Permit,
}

impl Coding {
    /// Returns the coding for the response of a handler to this request.
    pub(super) fn for_request(head: &RequestHead, compress: &CompressOptions) -> Self {
        if !compress.handlers {
            return Self::Off;
        }
        let encodings = Encodings::from_fields(head.fields());
        Self::Undecided(encodings.ranked(content::Coding::BY_SPEED).next())
    }

    /// Returns whether the response may be compressed.
    pub(super) fn may_change(&self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Returns whether the response is sent as the handler gives it.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Off | Self::Undecided(_))
    }

    /// Returns whether all output of the handler is in the outbox.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Off | Self::Undecided(_) | Self::Document(_) => true,
            Self::On(coder) => coder.blocks.is_empty(),
        }
    }
}

impl Waiting {
    /// Takes the handler's output, compresses it if necessary, and appends it to the outbox.
    pub(super) fn take_coded(
        &mut self,
        mut output: Output,
        wire: &mut Wire,
        cx: &mut Context,
    ) -> Moved {
        match &mut self.coding {
            Coding::Off => return self.put(output, wire, cx),
            Coding::Document(_) => return self.take_document(output, wire, cx),
            Coding::Undecided(wanted) => {
                let Some(head) = &mut output.head else {
                    return Moved::Waits(Progress::Stuck);
                };
                let permit = wanted.and_then(|_| Permits::try_acquire(&cx.encoders, ENCODERS));
                let wanted = wanted.filter(|_| permit.is_some());
                let declared = head.length;
                let known = whole_length(head, &output.blocks, output.ended);
                let min_bytes = cx.compress(wire.host()).min_bytes;
                let form = content::form(head, wanted, known, min_bytes);
                self.coding = Coding::Off;
                let (Form::Coded(coding), Some(permit)) = (form, permit) else {
                    return self.put(output, wire, cx);
                };
                let is_bodiless = wire.record.as_ref().is_some_and(|record| record.is_head());
                if is_bodiless {
                    return self.put(output, wire, cx);
                }
                let Ok(encoder) = Encoder::new(coding) else {
                    return Moved::Cut;
                };
                let coder = Coder {
                    encoder,
                    blocks: VecDeque::new(),
                    start: 0,
                    left: declared,
                    ended: false,
                    _permit: permit,
                };
                if output.ended && known.is_some_and(|length| length <= WHOLE_MAX_BYTES) {
                    return self.put_whole(coder, output, wire, cx);
                }
                self.coding = Coding::On(Box::new(coder));
                if let Some(head) = output.head.take() {
                    self.send_head(&head, wire, cx);
                }
            }
            Coding::On(_) => {}
        }
        self.code_on(output, wire, cx)
    }

    /// Compresses a short, complete body, so that the head can declare its length.
    fn put_whole(
        &mut self,
        mut coder: Coder,
        mut output: Output,
        wire: &mut Wire,
        cx: &mut Context,
    ) -> Moved {
        coder.add(std::mem::take(&mut output.blocks));
        let mut coded = Vec::new();
        while let Some(slice) = coder.next_slice() {
            match slice {
                Ok(slice) => coded.extend(slice),
                Err(_) => return Moved::Cut,
            }
        }
        let is_short = coder.left.is_some_and(|left| left > 0);
        match coder.encoder.end() {
            Ok(end) => coded.extend(end),
            Err(_) => return Moved::Cut,
        }
        if let Some(head) = &mut output.head {
            // A body that is too short declares more than it has, and its connection is cut (B3).
            head.length = Some(coded.len() as u64 + u64::from(is_short));
        }
        output.blocks.push_back(coded);
        self.put(output, wire, cx)
    }

    /// Continues to compress a body.
    fn code_on(&mut self, output: Output, wire: &mut Wire, cx: &mut Context) -> Moved {
        let Coding::On(coder) = &mut self.coding else {
            return Moved::Waits(Progress::Stuck);
        };
        if coder.add(output.blocks) {
            wire.note_overlong();
        }
        if output.ended {
            coder.ended = true;
            // The call may still run its `close`; the connection doesn't wait for that.
            cx.calls.detach(self.call);
        }
        if !wire.all_sent() {
            return Moved::Waits(Progress::Stuck);
        }
        match coder.next_slice() {
            Some(Ok(slice)) => {
                wire.put_block(slice, cx);
                Moved::Waits(Progress::Made)
            }
            Some(Err(_)) => Moved::Cut,
            None if coder.ended => self.end_coded(wire, cx),
            None => {
                self.transfer.sent();
                Moved::Waits(Progress::Stuck)
            }
        }
    }

    /// Ends the body after all blocks are compressed and sent.
    fn end_coded(&mut self, wire: &mut Wire, cx: &mut Context) -> Moved {
        let Coding::On(coder) = std::mem::replace(&mut self.coding, Coding::Off) else {
            return Moved::Waits(Progress::Stuck);
        };
        if coder.left.is_some_and(|left| left > 0) {
            return Moved::Ended(Finish::Short);
        }
        match coder.encoder.end() {
            Ok(end) => wire.put_block(end, cx),
            Err(_) => return Moved::Cut,
        }
        self.end_output(wire, cx)
    }
}

impl Coder {
    /// Adds blocks up to the declared length. Returns whether there was more.
    fn add(&mut self, blocks: VecDeque<Vec<u8>>) -> bool {
        let mut is_overlong = false;
        for mut block in blocks {
            if let Some(left) = &mut self.left {
                let fits = usize::try_from(*left).unwrap_or(usize::MAX);
                is_overlong |= block.len() > fits;
                block.truncate(fits);
                *left -= block.len() as u64;
            }
            if !block.is_empty() {
                self.blocks.push_back(block);
            }
        }
        is_overlong
    }

    /// Compresses the next slice; `None` if there is no data.
    fn next_slice(&mut self) -> Option<std::io::Result<Vec<u8>>> {
        let block = self.blocks.front()?;
        let end = block.len().min(self.start.saturating_add(SLICE_BYTES));
        let slice = block.get(self.start..end).unwrap_or_default();
        let coded = self.encoder.block(slice);
        self.start = end;
        if end == block.len() {
            self.blocks.pop_front();
            self.start = 0;
        }
        Some(coded)
    }
}

/// Returns the length of a body, in bytes, if it is known when the head is sent.
fn whole_length(head: &Head, blocks: &VecDeque<Vec<u8>>, ended: bool) -> Option<u64> {
    let given = || blocks.iter().map(|block| block.len() as u64).sum();
    head.length.or_else(|| ended.then(given))
}
