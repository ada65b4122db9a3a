//! The keys of `[limits]`.

use super::super::Config;
use super::super::key::FlagKind::*;
use super::super::key::{Key, Place, key, place};
use super::super::value::Field;
use super::at::at;
use super::bounds::{GIB, KIB, MANY, MIB};
use crate::units::size;

pub(super) const LIMIT_KEYS: &[Key<Config>] = &[
    key("limits.connections", at!(limits.connections_count))
        .count(1, MANY)
        .flag(
            "--max-connections",
            Count,
            "Open connections; further ones are closed",
        )
        .doc(
            "concurrent connections on all threads of a process; further ones are closed without \
             a response",
        ),
    key(
        "limits.connections-per-address",
        at!(limits.connections_per_address_count),
    )
    .count(1, MANY)
    .within("limits.connections")
    .flag(
        "--max-connections-per-address",
        Count,
        "Open connections per address; further ones get a 503",
    )
    .doc("connections of one IPv4 address, or one /64 network of IPv6 (503)"),
    key("limits.memory", at!(limits.memory))
        .size(MIB, size::MAX_BYTES)
        .doc(
            "memory of all instances of all handlers together, as a size or a share of the \
             machine's memory (503); see below",
        ),
    key("limits.request-timeout", at!(limits.request_timeout))
        .flag(
            "--request-timeout",
            Seconds,
            "Time from a request's head to the end of its response",
        )
        .doc(
            "from a request's head to the last byte of its response, for pages and handlers (408, \
             504, or a cut connection)",
        ),
    key("limits.write-timeout", at!(limits.write_patience))
        .flag(
            "--write-timeout",
            Seconds,
            "How long a client may read nothing of its response",
        )
        .doc("how long a client may accept no bytes of its response, at once or in total"),
    key("limits.write-rate", at!(limits.write_rate_bytes_per_second))
        .rate(1, GIB)
        .doc(
            "the rate at which accepted bytes regain that time; a client that stays below it is \
             cut",
        ),
    // RFC 9112 section 3 recommends 8,000 octets; a lower limit is a deliberate choice.
    key("limits.request-line", at!(http.request_line_bytes))
        .size(64, MIB)
        .doc("length of the request line (414)"),
    key("limits.field-line", at!(http.field_line_bytes))
        .size(64, MIB)
        .within("limits.fields")
        .doc("length of a field line (431)"),
    key("limits.fields", at!(http.fields_bytes))
        .size(64, 16 * MIB)
        .doc("all field lines of a head together (431)"),
    key("limits.field-count", at!(http.fields_count))
        .count(1, 10_000)
        .doc("field lines of a head (431)"),
    key("limits.leading-newlines", at!(http.leading_newlines_count))
        .count(1, 1000)
        .doc("empty lines before a request line (400)"),
    key("limits.body", at!(http.body_bytes))
        .flag("--max-body", Mebibytes, "Largest request body")
        .doc("length of a body, decoded (413)"),
    key("limits.chunk-line", at!(http.chunk_line_bytes))
        .size(16, 64 * KIB)
        .doc("length of a chunk-size line with its extensions (400)"),
    key("limits.chunk-extensions", at!(http.chunk_extensions_bytes))
        .size(0, GIB)
        .doc("all chunk extensions of a body together (400)"),
    key("limits.trailers", at!(http.trailers_bytes))
        .size(0, MIB)
        .doc("all field lines of a trailer section together (431)"),
    key("limits.trailer-count", at!(http.trailers_count))
        .count(0, 10_000)
        .doc("field lines of a trailer section (431)"),
    key("limits.read-ahead", at!(http.read_ahead_bytes))
        .size(KIB, 64 * MIB)
        .doc(
            "received bytes that are buffered while a request is answered; beyond it the server \
             doesn't read from the socket",
        ),
    key(
        "limits.requests-per-connection",
        at!(http.requests_per_connection_count),
    )
    .count(1, u32::MAX as u64)
    .doc("requests of one connection; the last response has `Connection: close`"),
    key("limits.drain", at!(http.drain_bytes)).size(0, GIB).doc(
        "unread bytes of a body that are read and discarded, so that the connection can be \
             reused",
    ),
    key("limits.head-timeout", at!(http.head_timeout))
        .flag(
            "--head-timeout",
            Seconds,
            "How long a request's head may take to arrive",
        )
        .doc("from a request's first byte to the end of its head (408)"),
    key("limits.idle-timeout", at!(http.idle_timeout))
        .flag(
            "--idle-timeout",
            Seconds,
            "How long a connection may be idle between requests",
        )
        .doc("between two requests"),
    key("limits.body-timeout", at!(http.body_patience))
        .flag(
            "--body-timeout",
            Seconds,
            "How long a handler may wait for a request body",
        )
        .doc(
            "how long a client may send no bytes of a body that is being read, at once or in \
             total (408)",
        ),
    key("limits.body-rate", at!(http.body_rate_bytes_per_second))
        .rate(1, GIB)
        .doc("the rate at which received bytes regain that time"),
    key("limits.log-line", at!(log.line_bytes))
        .size(80, 256 * KIB)
        .doc(
            "length of a line of the error log; a handler's longer line is split, others are \
             truncated",
        ),
    key("limits.log-rate", at!(log.rate_bytes_per_second))
        .rate(1, GIB)
        .doc("the average rate at which one handler may write to the error log"),
    key("limits.log-burst", at!(log.burst_bytes))
        .size(KIB, GIB)
        .doc("how much one handler may write to the error log at once"),
    // The minimum holds the longest piece that a worker's output is forwarded in.
    key("limits.log-queue", at!(log.queue_bytes))
        .size(MIB, GIB)
        .doc("lines that wait for the output of one log"),
];
