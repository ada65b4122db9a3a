//! Every limit that the protocol core keeps, each with its unit last in its name.
//!
//! Not here: how long a response may take to be written, and how many connections there may be.
//! Those belong to whoever owns the socket.

use core::time::Duration;

use wasgi_units as units;

use serde::{Deserialize, Serialize};

/// How much of everything one client may ask for.
///
/// [`Limits::default`] has the values that the server starts with; each field says where its value
/// comes from. One `Limits` is shared by all connections. In `wasgi.toml` they are in the section
/// `[limits]`, under shorter names: the value says its unit there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest request line, without its CRLF. Over it: 414.
    ///
    /// RFC 9112 section 3 asks for 8,000 octets at least. 8 KiB, as nginx and Apache have it: a
    /// line that passes here also passes what is in front or behind.
    #[serde(rename = "request-line", with = "units::size")]
    pub request_line_bytes: usize,
    /// The longest field line, without its CRLF. Over it: 431.
    ///
    /// Big cookies and bearer tokens reach 8 KiB, which is where nginx and Apache stop.
    #[serde(rename = "field-line", with = "units::size")]
    pub field_line_bytes: usize,
    /// All field lines of a head together, CRLFs included. Over it: 431.
    ///
    /// nginx takes four buffers of 8 KiB; twice that.
    #[serde(rename = "fields", with = "units::size")]
    pub fields_bytes: usize,
    /// How many field lines a head may have. Over it: 431.
    ///
    /// Browsers send about twenty. Apache and hyper stop at 100, most others at a limit in bytes
    /// that lets far more in.
    #[serde(rename = "field-count")]
    pub fields_count: usize,
    /// Empty lines (CR LF) that are skipped before a request line. Over it: 400.
    ///
    /// RFC 9112 section 2.2 asks for one at least; old clients send one after a body. Apache's
    /// number.
    #[serde(rename = "leading-newlines")]
    pub leading_newlines_count: usize,
    /// The longest body, after decoding. Over it: 413, at once where the request announces it.
    ///
    /// Bodies are streamed, so this guards the handlers' patience rather than our memory.
    #[serde(rename = "body", with = "units::size")]
    pub body_bytes: u64,
    /// The longest chunk-size line with its extensions, without its CRLF. Over it: 400.
    ///
    /// A size takes 16 digits; clients that sign chunks add an extension of about 90 bytes. None of
    /// it is kept in memory, so this is what Apache has for any line.
    #[serde(rename = "chunk-line", with = "units::size")]
    pub chunk_line_bytes: usize,
    /// All chunk extensions of a body together. Over it: 400.
    ///
    /// They are read and ignored, so a body made of them is an attack (RFC 9112 section 7.1.1).
    /// Enough for a signature on each 64 KiB chunk of a body of the greatest length.
    #[serde(rename = "chunk-extensions", with = "units::size")]
    pub chunk_extensions_bytes: usize,
    /// All field lines of a trailer section together, CRLFs included. Over it: 431.
    ///
    /// Trailers are dropped as they come, so this is what it may cost to read them: as much as the
    /// longest field line.
    #[serde(rename = "trailers", with = "units::size")]
    pub trailers_bytes: usize,
    /// How many field lines a trailer section may have. Over it: 431. A checksum or two is usual;
    /// what a head may have, a trailer section may.
    #[serde(rename = "trailer-count")]
    pub trailers_count: usize,
    /// Received bytes that may wait in memory while a request is being answered: a body that nobody
    /// reads yet, and requests that were sent ahead. Over it, [`wants_bytes`] says no.
    ///
    /// One full read of a socket.
    ///
    /// [`wants_bytes`]: super::Connection::wants_bytes
    #[serde(rename = "read-ahead", with = "units::size")]
    pub read_ahead_bytes: usize,
    /// How many requests one connection may bring. The answer to the last one says so.
    ///
    /// A connection costs nothing to keep, but one that never ends never moves to another thread.
    #[serde(rename = "requests-per-connection")]
    pub requests_per_connection_count: u32,
    /// How much of a body that nobody asked for is read and thrown away, so that the connection
    /// can go on. Over it, the connection is closed.
    ///
    /// The number that Go's server uses: about what is in flight on a fast line.
    #[serde(rename = "drain", with = "units::size")]
    pub drain_bytes: u64,
    /// From a request's first byte to the end of its head, however the bytes trickle. Over it: 408.
    ///
    /// A third of what nginx gives between two reads, and here it is the total.
    #[serde(rename = "head-timeout", with = "units::duration")]
    pub head_timeout: Duration,
    /// Between two requests, and from a connection's start to its first request's first byte.
    ///
    /// 75 s, which is nginx's number: more than the 60 s that balancers in front commonly keep a
    /// connection, so that they close first, and send no request into a connection that is just
    /// being closed.
    #[serde(rename = "idle-timeout", with = "units::duration")]
    pub idle_timeout: Duration,
    /// How long a body may keep its reader waiting, in one go or summed up.
    ///
    /// Only time in which somebody waits for a byte counts. Bytes that arrive win time back: one
    /// second for each [`body_rate_bytes_per_second`], up to this limit again. So the longest
    /// silence is this long, and a trickle below the rate ends as well. Apache's mod_reqtimeout has
    /// it so.
    ///
    /// [`body_rate_bytes_per_second`]: Self::body_rate_bytes_per_second
    #[serde(rename = "body-timeout", with = "units::duration")]
    pub body_patience: Duration,
    /// The rate below which a body uses up its [`body_patience`](Self::body_patience).
    ///
    /// Apache's number: a tenth of a dial-up line.
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
