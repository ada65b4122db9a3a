//! The keys of `[server]` and `[admin]`.

use super::super::Config;
use super::super::key::FlagKind::*;
use super::super::key::{Key, Place, key, place};
use super::super::value::Field;
use super::at::at;

pub(super) const SERVER_KEYS: &[Key<Config>] = &[
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
];
