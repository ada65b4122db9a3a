//! The body of a response: a single block, or several.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use crate::error::{Error, Result};
use crate::input::Input;

/// The maximum length of a block that [`Body::from_reader`] produces, in bytes.
const BLOCK_MAX_BYTES: usize = 16 * 1024;

/// The body of a response.
///
/// The server adds a `Content-Length` to a body that is a single block. It sends a body in several
/// blocks chunked, and requests a block only when the previous one is on its way (B1, B4).
pub struct Body {
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Whole(Cow<'static, [u8]>),
    Blocks(Box<dyn Blocks>),
}

/// A body that is produced block by block, with a `close`: WSGI's iterable. Use it if an iterator
/// is not enough.
pub trait Blocks {
    /// Returns the next block, or none at the end. An empty block sends nothing.
    ///
    /// # Errors
    /// Any error that the handler raises: the server cuts the connection if the head has been sent.
    fn next(&mut self) -> Result<Option<Vec<u8>>>;

    /// Ends the body. Called once, whether the body ended, failed, or its client disconnected (B2).
    /// Not needed for values that are dropped with `self`.
    ///
    /// # Errors
    /// Any error that the handler raises: the server logs it.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A type that can be the body of a response: text, bytes, the request's body, a [`Body`].
pub trait IntoBody {
    /// The media type of the body, for handlers that use the `http` crate and set no
    /// `Content-Type`.
    const CONTENT_TYPE: Option<&'static str> = None;

    /// Converts the value to a body.
    fn into_body(self) -> Body;
}

/// A type that can be a block of [`Body::blocks`]: bytes or text, or a `Result` of them, whose
/// error is raised.
pub trait IntoBlock {
    /// Converts the value to a block.
    ///
    /// # Errors
    /// Returns the error of the `Result`, if it is one.
    fn into_block(self) -> Result<Vec<u8>>;
}

impl Body {
    /// Creates a body without bytes.
    pub const fn empty() -> Self {
        Self {
            content: Content::Whole(Cow::Borrowed(&[])),
        }
    }

    /// Creates a body of an iterator's blocks. Each is requested when the previous one is on its
    /// way. The iterator is dropped when the body ends for any reason.
    pub fn blocks<I>(blocks: I) -> Self
    where
        I: IntoIterator<Item: IntoBlock, IntoIter: 'static>,
    {
        Self::streamed(FromIterator(blocks.into_iter()))
    }

    /// Creates a body of the bytes that a reader returns, up to its end.
    pub fn from_reader(reader: impl Read + 'static) -> Self {
        Self::streamed(FromReader(reader))
    }

    /// Creates a body of any [`Blocks`].
    pub fn streamed(blocks: impl Blocks + 'static) -> Self {
        Self {
            content: Content::Blocks(Box::new(blocks)),
        }
    }

    /// Calls `close` when the body ends for any reason (B2).
    pub fn on_close(self, close: impl FnOnce() -> Result<()> + 'static) -> Self {
        Self::streamed(OnClose {
            blocks: self.into_blocks(),
            close: Some(close),
        })
    }

    /// Converts the body to blocks.
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
