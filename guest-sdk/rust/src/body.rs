//! The body of a response: whole, or block by block.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use crate::error::{Error, Result};
use crate::input::Input;

/// Most bytes that one block of [`Body::from_reader`] has.
const BLOCK_MAX_BYTES: usize = 16 * 1024;

/// The body of a response.
///
/// A body that is there whole gets a `Content-Length` from the server; one that comes block by
/// block is sent in chunks, each on its way before the next is asked for (B1, B4).
pub struct Body {
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Whole(Cow<'static, [u8]>),
    Blocks(Box<dyn Blocks>),
}

/// A body that is produced block by block, where an iterator is not enough: the iterable of WSGI
/// with its `close`.
pub trait Blocks {
    /// The next block, or none at the end. An empty block sends nothing.
    ///
    /// # Errors
    /// Whatever the handler raises: the server cuts the connection if the head has been sent.
    fn next(&mut self) -> Result<Option<Vec<u8>>>;

    /// The end: called once, whether the body came to its end, failed, or its client went away
    /// (B2). What is dropped with this needs no `close`.
    ///
    /// # Errors
    /// Whatever the handler raises: the server logs it.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a response's body can be made of: text, bytes, the request's body, a [`Body`].
pub trait IntoBody {
    /// What the body is, where the form on `http` is used and its response has no `Content-Type`.
    const CONTENT_TYPE: Option<&'static str> = None;

    /// Makes the body.
    fn into_body(self) -> Body;
}

/// What [`Body::blocks`] takes as a block: bytes or text, or a result of them, whose error is then
/// raised.
pub trait IntoBlock {
    /// Makes the block.
    ///
    /// # Errors
    /// The error that this was.
    fn into_block(self) -> Result<Vec<u8>>;
}

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self {
            content: Content::Whole(Cow::Borrowed(&[])),
        }
    }

    /// The blocks of an iterator, each asked for when the one before is on its way. The iterator is
    /// dropped at the end, whatever that end is.
    pub fn blocks<I>(blocks: I) -> Self
    where
        I: IntoIterator<Item: IntoBlock, IntoIter: 'static>,
    {
        Self::streamed(FromIterator(blocks.into_iter()))
    }

    /// What a reader gives, up to its end.
    pub fn from_reader(reader: impl Read + 'static) -> Self {
        Self::streamed(FromReader(reader))
    }

    /// The general form of a body in blocks.
    pub fn streamed(blocks: impl Blocks + 'static) -> Self {
        Self {
            content: Content::Blocks(Box::new(blocks)),
        }
    }

    /// Has `close` called at the end of the body, whatever that end is (B2).
    pub fn on_close(self, close: impl FnOnce() -> Result<()> + 'static) -> Self {
        Self::streamed(OnClose {
            blocks: self.into_blocks(),
            close: Some(close),
        })
    }

    /// This body in blocks, however it was made.
    pub(crate) fn into_blocks(self) -> Box<dyn Blocks> {
        match self.content {
            Content::Whole(bytes) => Box::new(FromIterator(std::iter::once(bytes.into_owned()))),
            Content::Blocks(blocks) => blocks,
        }
    }
}

struct FromIterator<I>(I);

impl<I: Iterator<Item: IntoBlock>> Blocks for FromIterator<I> {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        self.0.next().map(IntoBlock::into_block).transpose()
    }
}

struct FromReader<R>(R);

impl<R: Read> Blocks for FromReader<R> {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut block = vec![0; BLOCK_MAX_BYTES];
        loop {
            match self.0.read(&mut block) {
                Ok(0) => return Ok(None),
                Ok(read) => {
                    block.truncate(read);
                    return Ok(Some(block));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::returned(error)),
            }
        }
    }
}

impl Blocks for Input {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        self.block().map_err(Error::returned)
    }
}

struct OnClose<F> {
    blocks: Box<dyn Blocks>,
    close: Option<F>,
}

impl<F: FnOnce() -> Result<()>> Blocks for OnClose<F> {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        self.blocks.next()
    }

    fn close(&mut self) -> Result<()> {
        let inner = self.blocks.close();
        let outer = self.close.take().map_or(Ok(()), |close| close());
        inner.and(outer)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

impl IntoBody for Body {
    fn into_body(self) -> Body {
        self
    }
}

impl IntoBody for () {
    fn into_body(self) -> Body {
        Body::empty()
    }
}

impl IntoBody for Input {
    fn into_body(self) -> Body {
        Body::streamed(self)
    }
}

impl IntoBody for Cow<'static, [u8]> {
    fn into_body(self) -> Body {
        Body {
            content: Content::Whole(self),
        }
    }
}

impl IntoBody for Vec<u8> {
    fn into_body(self) -> Body {
        Cow::<[u8]>::Owned(self).into_body()
    }
}

impl IntoBody for &'static [u8] {
    fn into_body(self) -> Body {
        Cow::Borrowed(self).into_body()
    }
}

impl<const N: usize> IntoBody for &'static [u8; N] {
    fn into_body(self) -> Body {
        self.as_slice().into_body()
    }
}

impl IntoBody for &'static str {
    const CONTENT_TYPE: Option<&'static str> = Some(TEXT);

    fn into_body(self) -> Body {
        self.as_bytes().into_body()
    }
}

impl IntoBody for String {
    const CONTENT_TYPE: Option<&'static str> = Some(TEXT);

    fn into_body(self) -> Body {
        self.into_bytes().into_body()
    }
}

impl IntoBlock for Vec<u8> {
    fn into_block(self) -> Result<Vec<u8>> {
        Ok(self)
    }
}

impl IntoBlock for String {
    fn into_block(self) -> Result<Vec<u8>> {
        Ok(self.into_bytes())
    }
}

impl IntoBlock for &str {
    fn into_block(self) -> Result<Vec<u8>> {
        Ok(self.as_bytes().to_vec())
    }
}

impl IntoBlock for &[u8] {
    fn into_block(self) -> Result<Vec<u8>> {
        Ok(self.to_vec())
    }
}

impl<T: IntoBlock, E: Into<Box<dyn std::error::Error>>> IntoBlock for Result<T, E> {
    fn into_block(self) -> Result<Vec<u8>> {
        self.map_err(Error::returned)?.into_block()
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

macro_rules! body_from {
    ($($content:ty),*) => {
        $(impl From<$content> for Body {
            fn from(content: $content) -> Self {
                content.into_body()
            }
        })*
    };
}

body_from!(
    (),
    &'static str,
    String,
    &'static [u8],
    Vec<u8>,
    Cow<'static, [u8]>,
    Input
);

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Whole(bytes) => write!(formatter, "Body({} bytes)", bytes.len()),
            Content::Blocks(_) => formatter.write_str("Body(blocks)"),
        }
    }
}
