//! The keys of `[compile]` and `[budget]`: what compiling a handler and a request may use.

use super::super::Config;
use super::super::key::FlagKind::*;
use super::super::key::{Key, Place, key, place};
use super::super::value::Field;
use super::at::at;
use super::bounds::{GIB, KIB, MANY, MIB};
use crate::units::size;

pub(super) const BUDGET_KEYS: &[Key<Config>] = &[
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
];
