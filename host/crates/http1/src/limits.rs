//! All limits of the protocol core. Each name ends with its unit.
//!
//! The time to write a response and the number of connections are limited elsewhere, by the owner
//! of the socket.

use core::time::Duration;

use wasgi_units as units;

use serde::{Deserialize, Serialize};

/// The limits on one client.
///
/// [`Limits::default`] has the server's default values; each field documents where its value comes
/// from. All connections share one `Limits`. In `wasgi.toml` they are in the section `[limits]`,
/// under shorter names, because the values there contain their units.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Maximum length of the request line, without its CRLF. Exceeded: 414.
    ///
    /// RFC 9112 section 3 recommends at least 8,000 octets. 8 KiB is the limit of nginx and Apache,
    /// so a line that passes here also passes proxies in front and servers behind.
    #[serde(rename = "request-line", with = "units::size")]
    pub request_line_bytes: usize,
    /// Maximum length of a field line, without its CRLF. Exceeded: 431.
    ///
    /// Large cookies and bearer tokens reach 8 KiB, the limit of nginx and Apache.
    #[serde(rename = "field-line", with = "units::size")]
    pub field_line_bytes: usize,
    /// Maximum length of all field lines of a head together, including CRLFs. Exceeded: 431.
    ///
    /// Twice the limit of nginx, which has four buffers of 8 KiB.
    #[serde(rename = "fields", with = "units::size")]
    pub fields_bytes: usize,
    /// Maximum number of field lines in a head. Exceeded: 431.
    ///
    /// Browsers send about twenty. Apache and hyper stop at 100, most others at a limit in bytes
    /// that allows far more.
    #[serde(rename = "field-count")]
    pub fields_count: usize,
    /// Maximum number of empty lines (CR LF) that are skipped before a request line. Exceeded: 400.
    ///
    /// RFC 9112 section 2.2 recommends at least one, because old clients send one after a body. The
    /// value is Apache's.
    #[serde(rename = "leading-newlines")]
    pub leading_newlines_count: usize,
    /// Maximum length of a body after decoding. Exceeded: 413, at once if the request announces it.
    ///
    /// Bodies are streamed, so this limit protects handlers from long input, not the server's
    /// memory.
    #[serde(rename = "body", with = "units::size")]
    pub body_bytes: u64,
    /// Maximum length of a chunk-size line with its extensions, without its CRLF. Exceeded: 400.
    ///
    /// A size takes 16 digits; clients that sign chunks add an extension of about 90 bytes. The
    /// line is not kept in memory, so this uses Apache's limit for any line.
    #[serde(rename = "chunk-line", with = "units::size")]
    pub chunk_line_bytes: usize,
    /// Maximum length of all chunk extensions of a body together. Exceeded: 400.
    ///
    /// They are read and ignored, so a body made of them is an attack (RFC 9112 section 7.1.1).
    /// Enough for a signature on each 64 KiB chunk of a body of the maximum length.
    #[serde(rename = "chunk-extensions", with = "units::size")]
    pub chunk_extensions_bytes: usize,
    /// Maximum length of all field lines of a trailer section, including CRLFs. Exceeded: 431.
    ///
    /// Trailers are discarded on arrival, so this limits only the cost of reading them: as much as
    /// the longest field line.
    #[serde(rename = "trailers", with = "units::size")]
    pub trailers_bytes: usize,
    /// Maximum number of field lines in a trailer section. Exceeded: 431. One or two checksums are
    /// usual; the limit is the one for a head.
    #[serde(rename = "trailer-count")]
    pub trailers_count: usize,
    /// Maximum number of received bytes that wait in memory during a transaction: unread body data,
    /// and pipelined requests. When it is reached, [`wants_bytes`] returns false.
    ///
    /// One full read of a socket.
    ///
    /// [`wants_bytes`]: super::Connection::wants_bytes
    #[serde(rename = "read-ahead", with = "units::size")]
    pub read_ahead_bytes: usize,
    /// Maximum number of requests per connection. The last response says `Connection: close`.
    ///
    /// An open connection costs nothing, but one that never ends never moves to another thread.
    #[serde(rename = "requests-per-connection")]
    pub requests_per_connection_count: u32,
    /// Maximum number of bytes of an unread body that are read and discarded to keep the connection
    /// open. Exceeded: the connection closes.
    ///
    /// The value that Go's server uses: about the amount in flight on a fast connection.
    #[serde(rename = "drain", with = "units::size")]
    pub drain_bytes: u64,
    /// Maximum time from a request's first byte to the end of its head. Progress doesn't extend it.
    /// Exceeded: 408.
    ///
    /// A third of the time that nginx allows between two reads, here for the whole head.
    #[serde(rename = "head-timeout", with = "units::duration")]
    pub head_timeout: Duration,
    /// Maximum idle time: between two requests, and from the start of a connection to the first
    /// byte of its first request.
    ///
    /// 75 s, the value of nginx: more than the 60 s after which load balancers commonly close a
    /// connection. They then close first, and don't send a request into a connection that is being
    /// closed.
    #[serde(rename = "idle-timeout", with = "units::duration")]
    pub idle_timeout: Duration,
    /// Maximum time to wait for bytes of a body, in a single wait or accumulated.
    ///
    /// Only time spent waiting counts. Received bytes restore time: one second for each
    /// [`body_rate_bytes_per_second`], up to this limit. So the longest silence equals this limit,
    /// and a trickle below the rate ends as well. Apache's mod_reqtimeout works the same way.
    ///
    /// [`body_rate_bytes_per_second`]: Self::body_rate_bytes_per_second
    #[serde(rename = "body-timeout", with = "units::duration")]
    pub body_patience: Duration,
    /// Minimum rate of a body. A slower one uses up its [`body_patience`](Self::body_patience).
    ///
    /// The value of Apache: a tenth of a dial-up line.
    #[serde(rename = "body-rate", with = "units::rate")]
    pub body_rate_bytes_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line_bytes: 8 * 1024,
            field_line_bytes: 16 * 1024,
            fields_bytes: 64 * 1024,
            fields_count: 500,
            leading_newlines_count: 10,
            body_bytes: 64 * 1024 * 1024,
            chunk_line_bytes: 8 * 1024,
            chunk_extensions_bytes: 128 * 1024,
            trailers_bytes: 16 * 1024,
            trailers_count: 500,
            read_ahead_bytes: 64 * 1024,
            requests_per_connection_count: 100_000,
            drain_bytes: 256 * 1024,
            head_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(75),
            body_patience: Duration::from_secs(20),
            body_rate_bytes_per_second: 500,
        }
    }
}
