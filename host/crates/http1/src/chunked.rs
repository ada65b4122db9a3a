//! A decoder for the chunked transfer coding.
//!
//! ```text
//! chunked-body    = *chunk last-chunk trailer-section CRLF              RFC 9112 section 7.1
//! chunk           = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
//! chunk-size      = 1*HEXDIG
//! last-chunk      = 1*( "0" ) [ chunk-ext ] CRLF
//! chunk-ext       = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )    section 7.1.1
//! chunk-ext-name  = token
//! chunk-ext-val   = token / quoted-string
//! trailer-section = *( field-line CRLF )                                section 7.1.2
//! ```
//!
//! The decoder accepts exactly this grammar: no size without digits, no sign, no `0x`, no space
//! except before a `;`, no LF without its CR. It reads, checks, limits and discards extensions and
//! trailers: section 7.1.1 requires that unknown extensions are ignored, section 7.1.2 allows a
//! server to discard trailers, and WSGI has no place for either.

use wasgi_fields::bytes::{is_ows, is_tchar, is_value_byte};

use super::error::BodyError;
use super::limits::Limits;

/// The number of digits of a chunk size that don't count as an extension: 64 bits. Only leading
/// zeros can make a size longer. The grammar allows them, and an attacker can build a body of them.
const SIZE_DIGITS_COUNT: u8 = 16;

/// The result of decoding the next bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Piece<'i> {
    /// Bytes of the body. Not empty.
    Data(&'i [u8]),
    /// All input is consumed, and the body is incomplete.
    Incomplete,
    /// The body has ended. The remaining input is not part of it.
    End,
}

/// The part of the grammar that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// chunk-size: this many digits have been read; [`SIZE_DIGITS_COUNT`] means that many or more.
    Size(u8),
    /// BWS, then the `;` of an extension. Nothing else can follow whitespace.
    BeforeExtension,
    /// BWS after the `;`, then chunk-ext-name.
    ExtensionStart,
    /// chunk-ext-name, after at least one character.
    ExtensionName,
    /// BWS after chunk-ext-name, then `=` or `;`.
    AfterName,
    /// BWS after the `=`, then chunk-ext-val.
    ValueStart,
    /// chunk-ext-val as a token, after at least one character.
    ValueToken,
    /// Inside the quotes of a quoted-string.
    Quoted,
    /// After a backslash in a quoted-string.
    QuotedPair,
    /// After the closing quote.
    AfterQuoted,
    /// The LF of a size line.
    SizeLf,
    /// chunk-data: this many bytes are outstanding.
    Data(u64),
    /// The CR after chunk-data.
    DataCr,
    /// The LF after chunk-data.
    DataLf,
    /// The start of a trailer line, or of the final CRLF.
    TrailerStart,
    /// field-name of a trailer, after at least one character.
    TrailerName,
    /// field-value of a trailer.
    TrailerValue,
    /// The LF of a trailer line.
    TrailerLf,
    /// The LF of the final CRLF.
    EndLf,
    /// The body has ended.
    End,
}

/// A decoder for one chunked body. The result doesn't depend on how the bytes are split.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// The size of the current chunk, in bytes.
    size: u64,
    /// The size of all chunks so far, in bytes: at most `Limits::body_bytes`.
    total: u64,
    /// The length of the current size line, without its CRLF.
    line_bytes: usize,
    /// The length of all extensions so far.
    extensions_bytes: usize,
    /// The length of the trailer section so far.
    trailers_bytes: usize,
    trailers_count: usize,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self {
            state: State::Size(0),
            size: 0,
            total: 0,
            line_bytes: 0,
            extensions_bytes: 0,
            trailers_bytes: 0,
            trailers_count: 0,
        }
    }
}

impl ChunkedDecoder {
    /// Decodes from the front of `input`, and shortens it by the bytes consumed, until there is
    /// data from the body: at most `max` bytes. `max` must be at least 1.
    ///
    /// Fails if the coding is malformed or a limit is exceeded. The decoder can't continue after an
    /// error.
    pub fn decode<'i>(
        &mut self,
        input: &mut &'i [u8],
        max: usize,
        limits: &Limits,
    ) -> Result<Piece<'i>, BodyError> {
        loop {
            if let State::Data(outstanding) = self.state {
                return Ok(self.data(outstanding, input, max));
            }
            if self.state == State::End {
                return Ok(Piece::End);
            }
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(Piece::Incomplete);
            };
            *input = rest;
            self.state = self.step(byte, limits)?;
        }
    }

    /// Returns the available data, up to the end of the chunk.
    fn data<'i>(&mut self, outstanding: u64, input: &mut &'i [u8], max: usize) -> Piece<'i> {
        let len = input
            .len()
            .min(max)
            .min(usize::try_from(outstanding).unwrap_or(usize::MAX));
        let (data, rest) = input.split_at(len);
        if data.is_empty() {
            return Piece::Incomplete;
        }
        *input = rest;
        self.state = match outstanding - len as u64 {
            0 => State::DataCr,
            outstanding => State::Data(outstanding),
        };
        Piece::Data(data)
    }

    /// Returns the state after one more byte.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<State, BodyError> {
        match self.state {
            State::Size(digits) => self.size(digits, byte, limits),
            State::SizeLf => self.size_lf(byte, limits),
            State::DataCr => expect(
                byte,
                b'\r',
                State::DataLf,
                "chunk data is not followed by CR LF",
            ),
            State::DataLf => expect(
                byte,
                b'\n',
                State::Size(0),
                "chunk data is not followed by CR LF",
            ),
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::EndLf => self.trailer(byte, limits),
            // These states consume no byte: `decode` returns before.
            State::Data(_) | State::End => Ok(self.state),
            _ => self.extension(byte, limits),
        }
    }

    /// Reads chunk-size, and the first byte after it.
    fn size(&mut self, digits: u8, byte: u8, limits: &Limits) -> Result<State, BodyError> {
        if let Some(digit) = (byte as char).to_digit(16) {
            if self.size > u64::MAX >> 4 {
                return Err(BodyError::Malformed("a chunk size has too many digits"));
            }
            self.size = (self.size << 4) | u64::from(digit);
            if digits == SIZE_DIGITS_COUNT {
                self.note_extension_byte(limits)?;
                return Ok(State::Size(digits));
            }
            self.line_bytes = usize::from(digits) + 1;
            return Ok(State::Size(digits + 1));
        }
        if digits == 0 {
            return Err(BodyError::Malformed("a chunk size has no digits"));
        }
        match byte {
            b'\r' => Ok(State::SizeLf),
            b';' | b' ' | b'\t' => {
                self.state = State::BeforeExtension;
                self.extension(byte, limits)
            }
            _ => Err(BodyError::Malformed(
                "a chunk size is not a hexadecimal number",
            )),
        }
    }

    /// Ends a size line and applies its size.
    fn size_lf(&mut self, byte: u8, limits: &Limits) -> Result<State, BodyError> {
        expect(
            byte,
            b'\n',
            State::SizeLf,
            "a chunk size line has a CR without an LF",
        )?;
        let size = core::mem::take(&mut self.size);
        // Other parsers on the path may treat a larger size differently.
        if i64::try_from(size).is_err() {
            return Err(BodyError::Malformed("a chunk size is out of range"));
        }
        self.total = self.total.saturating_add(size);
        if self.total > limits.body_bytes {
            return Err(BodyError::TooLarge);
        }
        Ok(if size == 0 {
            State::TrailerStart
        } else {
            State::Data(size)
        })
    }

    /// Reads one character of chunk-ext.
    fn extension(&mut self, byte: u8, limits: &Limits) -> Result<State, BodyError> {
        let next = self.state.after_extension_byte(byte)?;
        if next != State::SizeLf {
            self.note_extension_byte(limits)?;
        }
        Ok(next)
    }

    /// Counts a byte of a size line against the limits of extensions.
    fn note_extension_byte(&mut self, limits: &Limits) -> Result<(), BodyError> {
        self.line_bytes += 1;
        self.extensions_bytes += 1;
        if self.line_bytes > limits.chunk_line_bytes
            || self.extensions_bytes > limits.chunk_extensions_bytes
        {
            return Err(BodyError::ExtensionsTooLarge);
        }
        Ok(())
    }

    /// Reads one character of trailer-section.
    fn trailer(&mut self, byte: u8, limits: &Limits) -> Result<State, BodyError> {
        let next = self.state.after_trailer_byte(byte)?;
        if matches!(next, State::EndLf | State::End) {
            return Ok(next);
        }
        self.trailers_bytes += 1;
        self.trailers_count += usize::from(self.state == State::TrailerStart);
        if self.trailers_bytes > limits.trailers_bytes
            || self.trailers_count > limits.trailers_count
        {
            return Err(BodyError::TrailersTooLarge);
        }
        Ok(next)
    }
}

impl State {
    fn after_extension_byte(self, byte: u8) -> Result<Self, BodyError> {
        let next = match (self, byte) {
            (Self::BeforeExtension, byte) if is_ows(byte) => Self::BeforeExtension,
            (Self::BeforeExtension, b';') => Self::ExtensionStart,
            (Self::ExtensionStart, byte) if is_ows(byte) => Self::ExtensionStart,
            (Self::ExtensionStart | Self::ExtensionName, byte) if is_tchar(byte) => {
                Self::ExtensionName
            }
            (Self::ExtensionName | Self::AfterName, byte) if is_ows(byte) => Self::AfterName,
            (Self::ExtensionName | Self::AfterName, b'=') => Self::ValueStart,
            (Self::ExtensionName | Self::AfterName, b';') => Self::ExtensionStart,
            (Self::ExtensionName, b'\r') => Self::SizeLf,
            (Self::ValueStart, byte) if is_ows(byte) => Self::ValueStart,
            (Self::ValueStart, b'"') => Self::Quoted,
            (Self::ValueStart | Self::ValueToken, byte) if is_tchar(byte) => Self::ValueToken,
            // quoted-string (RFC 9110 section 5.6.4): a backslash quotes one character. Neither an
            // unquoted nor a quoted character may be a control character.
            (Self::Quoted, b'"') => Self::AfterQuoted,
            (Self::Quoted, b'\\') => Self::QuotedPair,
            (Self::Quoted | Self::QuotedPair, byte) if is_value_byte(byte) => Self::Quoted,
            (Self::ValueToken | Self::AfterQuoted, b'\r') => Self::SizeLf,
            (Self::ValueToken | Self::AfterQuoted, b';') => Self::ExtensionStart,
            (Self::ValueToken | Self::AfterQuoted, byte) if is_ows(byte) => Self::BeforeExtension,
            _ => return Err(BodyError::Malformed("a chunk extension is malformed")),
        };
        Ok(next)
    }

    fn after_trailer_byte(self, byte: u8) -> Result<Self, BodyError> {
        let next = match (self, byte) {
            (Self::TrailerStart, b'\r') => Self::EndLf,
            (Self::TrailerStart | Self::TrailerName, byte) if is_tchar(byte) => Self::TrailerName,
            (Self::TrailerName, b':') => Self::TrailerValue,
            (Self::TrailerValue, b'\r') => Self::TrailerLf,
            (Self::TrailerValue, byte) if is_value_byte(byte) => Self::TrailerValue,
            (Self::TrailerLf, b'\n') => Self::TrailerStart,
            (Self::EndLf, b'\n') => Self::End,
            _ => return Err(BodyError::Malformed("a trailer is malformed")),
        };
        Ok(next)
    }
}

fn expect(byte: u8, expected: u8, next: State, why: &'static str) -> Result<State, BodyError> {
    if byte == expected {
        Ok(next)
    } else {
        Err(BodyError::Malformed(why))
    }
}

#[cfg(test)]
mod tests;
