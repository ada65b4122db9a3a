//! All keys of `wasgi.toml`, in the order in which they are printed.
//!
//! A new key is a field in the section's struct, with its default value, and a row here: the name,
//! the bounds, whether a change needs a restart, the flag, and the line in
//! `docs/configuration.md`, which a test compares (`UPDATE_DOCS=1 cargo test -p wasgi --lib config`
//! writes it).

mod bounds;
mod handlers;

pub(super) use handlers::HANDLER_KEYS;

use super::Config;
use super::key::FlagKind::*;
use super::key::{Key, Place, key, place};
use super::value::Field;
use crate::state::{MAX_BATCH_BYTES, MAX_KEY_BYTES};
use crate::units::size;
use bounds::{GIB, KIB, MANY, MIB};

/// A field of the configuration.
macro_rules! at {
    ($($field:ident).+) => { place!(Config, $($field).+) };
}

/// The keys of the whole configuration, by section.
pub(crate) const KEYS: &[Key<Config>] = &[
    key("site.root", at!(site.root))
        .unset("the site's `html`")
        .restart()
        .flag("--root", Folder, "The folder of pages [default: SITE/html]")
        .doc("the folder of pages"),
    key("site.handlers", at!(site.handlers))
        .unset("the site's `handlers`")
        .restart()
        .flag(
            "--handlers",
            Folder,
            "The folder of handlers [default: SITE/handlers]",
        )
        .for_trials()
        .doc("the folder of handlers"),
    key("site.code-cache", at!(site.code_cache))
        .unset("the folder `wasgi/code` in the user's cache folder")
        .restart()
        .flag(
            "--code-cache",
            Folder,
            "The folder for compiled handlers, which makes restarts fast; `none` disables it \
             [default: wasgi/code in the user's cache folder]",
        )
        .for_trials()
        .doc(
            "where compiled handlers are stored; `\"none\"` disables the cache; see \
             [below](#the-code-cache)",
        ),
    key("site.runtime", at!(site.runtime))
        .unset("the folder `runtime` beside the program or its folder, or that of a package")
        .restart()
        .doc(
            "the folder of the runtimes for scripts in [Python](python.md#scripts) and \
             [JavaScript](javascript.md), which `cargo xtask runtime` creates",
        ),
    key("site.build", at!(site.build))
        .restart()
        .flag(
            "--build",
            On,
            "Build the projects in the folder of handlers when they change",
        )
        .doc(
            "whether the server [builds projects](projects.md) in the folder of handlers when they \
             change: a build runs with all rights of the server's user",
        ),
    key("site.allow-overlap", at!(site.allow_overlap))
        .restart()
        .flag(
            "--allow-overlap",
            On,
            "Serve even if the folder of pages contains the handlers or wasgi.toml, which \
             visitors can then read",
        )
        .doc(
            "whether the server starts if the folder of pages contains more than pages; see below",
        ),
    key("site.default-host", at!(site.default_host)).doc(
        "whether the folders of `[site]` answer requests to hosts that have no table in \
         [`[hosts]`](hosts.md); otherwise they get 421 (Misdirected Request)",
    ),
    key("site.code-cache-size", at!(site.code_cache_bytes))
        .restart()
        .size(MIB, size::MAX_BYTES)
        .doc(
            "the maximum size of compiled handlers on disk, {bounds}; the least recently used are \
             removed",
        ),
    key("bundle.public-key", at!(bundle.public_key))
        .unset("none: bundles need no signature")
        .doc(
            "the key that must have signed a [bundle](deploying.md#signed-bundles), as minisign \
             prints it; only in the file that `--config` names",
        ),
    key("bundle.cache", at!(bundle.cache))
        .unset("the folder `wasgi/bundles` in the user's cache folder")
        .doc(
            "the folder to which [bundles](deploying.md#bundles) are unpacked; only in the file that \
             `--config` names",
        ),
    key("server.addr", at!(server.addr))
        .restart()
        .flag(
            "--addr",
            Addr,
            "The address to listen on: an address or a name with a port, or a port of 127.0.0.1; \
             port 0 picks a free port",
        )
        .doc(
            "the address to listen on: an address or a name with a port (`\"[::1]:8000\"`, \
             `\"localhost:8000\"`), or a port of 127.0.0.1 (`8000`, `\":8000\"`); port 0 picks a \
             free port",
        ),
    key("server.threads", at!(server.threads))
        .unset("one for each processor; with `processes`, one")
        .restart()
        .count(1, 1024)
        .flag(
            "--threads",
            BoundedCount,
            "Serving threads per process [default: one per processor; 1 with several processes]",
        )
        .doc("serving threads in each process, {bounds}"),
    key("server.processes", at!(server.processes))
        .restart()
        .count(1, 1024)
        .flag(
            "--processes",
            BoundedCount,
            "Serving processes, isolated from each other; one that dies is replaced",
        )
        .doc("serving processes, {bounds}; see below"),
    key("server.user", at!(server.user)).unset("the user that starts the server")
        .restart()
        .doc("the user that serves, by name or number, if [root starts the server](operations.md#users-and-confinement)"),
    key("server.group", at!(server.group)).unset("the user's primary group").restart()
        .doc("the group of this user, by name or number"),
    key("server.confine", at!(server.confine))
        .restart()
        .doc("whether serving processes [give up rights](operations.md#users-and-confinement) that they don't need: `\"off\"`, `\"best-effort\"` or `\"required\"`"),
    key("server.access-log", at!(server.access_log))
        .flag("--no-access-log", Off, "Don't log requests")
        .doc(
            "one line per request on standard output; a path (`\"/var/log/wasgi/access.log\"`) \
             writes to this file, see [operations.md](operations.md#logs)",
        ),
    key("server.log-format", at!(server.log_format))
        .flag("--log-format", Format, "The format of the logs")
        .doc(
            "the [format](operations.md#formats) of the logs: `\"text\"`, `\"json\"`, or Apache's \
             `\"common\"` or `\"combined\"`",
        ),
    key("server.request-id", at!(server.request_id))
        .doc(
            "whether each request has an [identifier](operations.md#request-identifiers): in both \
             logs, in the handler's `HTTP_X_REQUEST_ID` and in the response's `X-Request-Id`; \
             requests that fail have one in any case",
        ),
    key("server.log-level", at!(server.log_level))
        .restart()
        .flag(
            "--log-level",
            Level,
            "The least severe level of messages in the error log",
        )
        .doc(
            "the level of the error log: `\"error\"`, `\"warn\"`, `\"info\"` or `\"debug\"`; at \
             `\"warn\"` and `\"error\"` the routes are not printed at startup",
        ),
    key("server.server-field", at!(server.server_field))
        .flag("--no-server-field", Off, "Don't send the Server field")
        .doc("whether responses have a `Server` field"),
    key("server.drain-delay", at!(server.drain_delay))
        .unset("none")
        .flag(
            "--drain-delay",
            Seconds,
            "How long to accept connections after SIGINT or SIGTERM, for a balancer to notice \
             [default: not at all]",
        )
        .doc(
            "how long connections are still accepted after SIGINT or SIGTERM, while \
             [`/readyz`](operations.md#stopping) says 503",
        ),
    key("server.shutdown-grace", at!(server.shutdown_grace))
        .flag(
            "--shutdown-grace",
            Seconds,
            "How long requests in flight may take after SIGINT or SIGTERM",
        )
        .doc("how long requests in flight may take after SIGINT or SIGTERM, and after the delay"),
    key("server.stream-grace", at!(server.stream_grace))
        .unset("`server.shutdown-grace`")
        .doc(
            "within that time, how long event streams (`text/event-stream`) in flight may take; \
             then they are ended, and their clients reconnect",
        ),
    key("server.upgrade-timeout", at!(server.upgrade_timeout))
        .restart()
        .doc(
            "how long the new process of an [upgrade](operations.md#upgrading) may take until it \
             is ready",
        ),
    key("server.pid-file", at!(server.pid_file))
        .unset("none")
        .restart()
        .doc("a file for the process ID of the server, by which `wasgi upgrade` finds it"),
    key("admin.addr", at!(admin.addr))
        .unset("none: no admin listener")
        .restart()
        .doc(
            "the address of the [admin listener](operations.md): a loopback address \
             (`\"127.0.0.1:9000\"`, `9000`), or a Unix socket (`\"unix:/run/wasgi/admin.sock\"`)",
        ),
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
    key("compile.processes", at!(compile.processes))
        .unset("one for each processor, at most 4")
        .restart()
        .count(1, 1024)
        .doc("files that are loaded at the same time, each compiled in its own process, {bounds}"),
    // A process reserves some 250 MiB of address space before it loads a handler.
    key("compile.address-space", at!(compile.address_space_bytes))
        .unset("half of the machine's memory, from 1 GiB to 4 GiB")
        .restart()
        .size(512 * MIB, size::MAX_BYTES)
        .doc("address space of one such process, {bounds}"),
    key("compile.cpu-time", at!(compile.cpu_time))
        .restart()
        .doc("processor time for one file, on all processors together, rounded up to seconds"),
    key("compile.wall-time", at!(compile.wall_time))
        .restart()
        .doc("time for one file"),
    key("compile.import-time", at!(compile.import_time))
        .restart()
        .doc(
            "time for the import of one [script](python.md#scripts), or of its packages; \
             `compile.wall-time` if that is less",
        ),
    // From the stack that the smallest handlers need, to one that leaves its process room for
    // others.
    key("compile.stack", at!(compile.stack_bytes))
        .restart()
        .size(256 * KIB, GIB)
        .doc("stack of each thread that parses or compiles, {bounds}"),
    key("compile.output", at!(compile.output_bytes))
        .restart()
        .size(MIB, 64 * GIB)
        .doc("compiled code of one file, including the image of its memory"),
    // From one page of WebAssembly memory to the whole address space.
    key("budget.memory", at!(budget.memory_bytes))
        .restart()
        .size(64 * KIB, 4 * GIB)
        .flag("--max-memory", Mebibytes, "Memory of an instance")
        .for_trials()
        .doc("linear memories of one instance together, {bounds} (500)"),
    key("budget.wall-time", at!(budget.wall_time))
        .within("limits.request-timeout")
        .flag(
            "--max-wall-time",
            Seconds,
            "Time until a handler gives its next output",
        )
        .for_trials()
        .doc(
            "time from the start of a call to its first block, and from one block to the next, \
             without time spent waiting for the client (504, or a cut connection); see below",
        ),
    key("budget.cpu-time", at!(budget.cpu_time))
        .within("budget.wall-time")
        .flag("--max-cpu-time", Seconds, "CPU time of a request")
        .for_trials()
        .doc("time spent computing, without waiting (504, or a cut connection)"),
    key(
        "budget.concurrent-requests",
        at!(budget.concurrent_requests),
    )
    .count(1, MANY)
    .flag("--max-concurrent", Count, "Concurrent requests per handler")
    .doc("concurrent requests of one handler (503)"),
    key("budget.response-head", at!(budget.response_head_bytes))
        .size(64, 16 * MIB)
        .flag(
            "--max-response-head",
            Kibibytes,
            "Size of a response's status and fields",
        )
        .for_trials()
        .doc(
            "status and fields of a response together; the call that exceeds it fails in the \
             handler",
        ),
    key("budget.block", at!(budget.block_bytes))
        .size(64 * KIB, 4 * GIB)
        .doc(
            "one block of a response's body, as the handler returns it; a longer block is \
             rejected (500, or a cut connection). A body of several blocks may have any length",
        ),
    key("budget.log", at!(budget.log_bytes))
        .size(0, GIB)
        .flag(
            "--max-log",
            Kibibytes,
            "Size of a request's output to the error log",
        )
        .for_trials()
        .doc(
            "log output of one request, each line with its time, level and name; the rest is \
             dropped",
        ),
    key("budget.outbound-connections", at!(budget.outbound_connections))
        .count(1, 4096)
        .doc(
            "connections of one handler to [other hosts](grants.md#network) at a time, in each \
             process, {bounds}; an HTTP request waits for one to be closed, and a socket is refused",
        ),
    key("budget.outbound-response", at!(budget.outbound_response_bytes))
        .size(KIB, size::MAX_BYTES)
        .doc("the body of one HTTP response from another host; the rest is an error"),
    key("handlers.*", at!(handlers)).unset("nothing").doc(
        "a table for one handler, under the name that `wasgi routes` shows, without its first \
             slash; `\"*\"` applies to handlers without a table",
    ),
    key("hosts.*", at!(hosts)).unset("nothing").doc(
        "a table for one [virtual host](hosts.md), under its name: `example.com`, `*.example.com` \
         for all names with one label in place of `*`, or an address",
    ),
    key("state.folder", at!(state.folder))
        .unset("the site's `state`")
        .restart()
        .doc("the folder of the embedded store, which is created when it is first used"),
    key("state.url", at!(state.url))
        .unset("none: the embedded store")
        .restart()
        .doc("a Redis server to use instead: `redis://HOST:PORT/DATABASE`, or `unix:///PATH`"),
    key("state.prefix", at!(state.prefix))
        .restart()
        .doc("the front of the names of all keys in Redis"),
    key("state.key-size", at!(buckets.key_bytes))
        .size(1, MAX_KEY_BYTES)
        .doc("length of a key, {bounds}; see [state](state.md#limits)"),
    key("state.value-size", at!(buckets.value_bytes))
        .size(1, MAX_BATCH_BYTES)
        .doc("size of a value, {bounds}"),
    key("state.keys", at!(buckets.keys_count))
        .count(1, 1_000_000_000)
        .doc("keys in one bucket, {bounds}"),
    key("state.bucket-size", at!(buckets.bucket_bytes))
        .size(KIB, size::MAX_BYTES)
        .doc("size of all keys and values in one bucket, {bounds}"),
    key("state.total-size", at!(buckets.total_bytes))
        .size(KIB, size::MAX_BYTES)
        .doc("size of all keys and values in all buckets together, {bounds}"),
    key("pages.cache", at!(pages.cache_bytes))
        .size(0, 64 * GIB)
        .doc("memory for short pages; `\"0B\"` disables it"),
    key("pages.precompressed", at!(pages.precompressed)).doc(
        "whether `page.html.br`, `.zst` or `.gz` is sent instead of `page.html` to clients \
             that accept it",
    ),
    key("pages.listing", at!(pages.listing))
        .doc("whether a folder without an index is answered with a list of its contents"),
    key("pages.clean-urls", at!(pages.clean_urls))
        .doc("whether `/about` is answered with `about.html`"),
    key("pages.fallback", at!(pages.fallback))
        .unset("none")
        .doc("the page that answers when a browser requests a document that doesn't exist"),
    key("pages.cache-control", at!(pages.cache_control))
        .doc("the field `Cache-Control` of pages; `\"\"` for none"),
    key("pages.rules", at!(pages.rules)).doc("fields for pages whose path matches a pattern"),
    key("security.nosniff", at!(security.nosniff))
        .doc("whether to send `X-Content-Type-Options: nosniff`"),
    key("security.frame-options", at!(security.frame_options))
        .doc("`X-Frame-Options`, such as `DENY`"),
    key("security.referrer-policy", at!(security.referrer_policy))
        .doc("`Referrer-Policy`, such as `no-referrer`"),
    key(
        "security.content-security-policy",
        at!(security.content_security_policy),
    )
    .doc("`Content-Security-Policy`, such as `default-src 'self'`"),
    key(
        "security.permissions-policy",
        at!(security.permissions_policy),
    )
    .doc("`Permissions-Policy`, such as `camera=()`"),
    key(
        "security.cross-origin-opener-policy",
        at!(security.cross_origin_opener_policy),
    )
    .doc("`Cross-Origin-Opener-Policy`, such as `same-origin`"),
    key(
        "security.strict-transport-security",
        at!(security.strict_transport_security),
    )
    .doc("`Strict-Transport-Security`, such as `max-age=31536000`"),
    key("compress.pages", at!(compress.pages))
        .doc("whether text from the folder of pages is compressed for clients that accept it"),
    key("compress.handlers", at!(compress.handlers))
        .doc("whether text from handlers is compressed, block by block"),
    key("compress.min-size", at!(compress.min_bytes))
        .size(0, GIB)
        .doc("shorter bodies are not compressed"),
    key("compress.cache", at!(compress.cache_bytes))
        .size(0, 64 * GIB)
        .doc("memory for compressed pages; `\"0B\"` disables it"),
    key("tls.cert", at!(tls.cert))
        .unset("none: no TLS")
        .restart()
        .flag(
            "--tls-cert",
            File,
            "Serve HTTPS with this certificate, in PEM, followed by its chain",
        )
        .doc("the certificate followed by the intermediate ones, in PEM"),
    key("tls.key", at!(tls.key))
        .unset("none")
        .restart()
        .flag("--tls-key", File, "The certificate's private key, in PEM")
        .doc("its private key, in PEM"),
    key("tls.redirect-http", at!(tls.redirect_http))
        .unset("nowhere")
        .restart()
        .flag(
            "--redirect-http",
            Addr,
            "An address for plain HTTP, whose requests are redirected to HTTPS",
        )
        .doc("an address without TLS whose requests are redirected to https"),
    key("tls.redirect-port", at!(tls.redirect_port))
        .unset("the server's own")
        .restart()
        .doc("the port in these redirects"),
    key("proxy.trusted", at!(proxy.trusted))
        .flag(
            "--trust-proxy",
            Networks,
            "A proxy whose X-Forwarded fields are trusted; repeatable",
        )
        .doc("addresses and networks of proxies, such as `\"10.0.0.0/8\"`"),
    key("proxy.fields", at!(proxy.fields))
        .doc("the fields that they set: `\"x-forwarded\"`, `\"forwarded\"` or `\"none\"`"),
    key("proxy.protocol", at!(proxy.protocol))
        .flag(
            "--proxy-protocol",
            On,
            "Connections from trusted proxies begin with a PROXY header",
        )
        .doc("whether their connections begin with a PROXY header"),
];
