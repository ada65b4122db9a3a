//! The parts of a response, as the encoder's input.

/// The head of a response.
///
/// `F` yields the fields in order. The encoder iterates it twice, so cloning must be cheap: for
/// example a mapped slice iterator.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a, F> {
    /// The status code. One outside 200 to 999 is sent as 500.
    pub status: u16,
    /// The reason phrase, any bytes. Omitted if it contains an invalid character.
    pub reason: &'a [u8],
    /// The name and value of each field. The caller must not send framing fields (Content-Length,
    /// Transfer-Encoding, Connection and similar): see [`Skipped`].
    pub fields: F,
}

/// The length of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Known, in bytes; sent as Content-Length. For HEAD, the length that GET would have.
    Known(u64),
    /// Unknown: chunked, or for HTTP/1.0 delimited by the end of the connection. For HEAD, no
    /// length is sent.
    Unknown,
}

/// The fields that the server adds to a response that lacks them.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The Date, as an IMF-fixdate (RFC 9110 section 5.6.7).
    pub date: &'a [u8; 29],
    /// The value of Server, if it is enabled.
    pub server: Option<&'a str>,
}

/// The response fields that were omitted because they could break the framing: hop-by-hop fields, a
/// Content-Length that differs from the actual one, a name that isn't a token, a value with CR, LF
/// or NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Skipped<'a> {
    /// The number of omitted fields.
    pub count: usize,
    /// The name of the first omitted field.
    pub first: Option<&'a str>,
}

/// How to send a block of a response's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Frame {
    /// How many bytes of the block to send: none if the response has no body, and never more than
    /// its Content-Length allows.
    pub take: usize,
    /// The bytes to send after them.
    pub suffix: &'static [u8],
}

/// How a response's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Finish {
    /// Complete.
    Whole,
    /// Shorter than its Content-Length, or never started: the connection must be cut.
    Short,
}
