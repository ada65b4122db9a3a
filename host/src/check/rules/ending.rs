//! Rules for the end of a request: failures, `close` and the log.

use crate::check::finding::Finding;
use crate::check::plan::ProbeResult;
use crate::engine::HandlerKind;
use crate::gateway::{Failure, Step};

/// Reports a failure that ended a request before its response was complete.
pub(super) fn failures(probe: &ProbeResult) -> Vec<Finding> {
    let ended = &probe.ended;
    let Some(failure) = &ended.failure else {
        return Vec::new();
    };
    let closing = ended.steps.iter().find_map(|step| match step {
        Step::Closed(Err(why)) => Some(why),
        _ => None,
    });
    if closing.is_some_and(|why| *why == failure.to_string()) {
        let what = format!("close {failure}");
        let fix = "close must release what it holds, however the body ended";
        return vec![Finding::error("B2", what, fix)];
    }
    let gone = ended.was_left || probe.is_cut;
    let mut what = failure.to_string();
    if ended.head.is_some() && ended.finish.is_none() {
        let line = what.find('\n').unwrap_or(what.len());
        what.insert_str(line, "; the head had been sent, so the connection is cut");
    }
    let (rule, fix) = match failure {
        // The client is gone, so raising an exception is correct.
        Failure::Exception(_) if gone => return Vec::new(),
        Failure::Exception(_) => (
            "failure",
            "handle it, and answer with a status that describes the error",
        ),
        // Programs of the other kinds have no exceptions; a panic or trap is how they give up.
        Failure::Panic(_) | Failure::Trap(_) if gone && probe.kind != HandlerKind::Gateway => {
            return Vec::new();
        }
        Failure::Panic(_) | Failure::Trap(_) => (
            "failure",
            "no input of a client may cause a panic or trap; the location is above",
        ),
        Failure::NotStarted => (
            "R6",
            "call start_response before the first non-empty block, and before the end",
        ),
        Failure::Exit(_) if gone => return Vec::new(),
        Failure::ClientGone => (
            "B2",
            "stop when a read or write reports that the client has disconnected, and keep close \
             short",
        ),
        Failure::Exit(_) => (
            "failure",
            "exit with 0 if the response describes the error: its status is what counts",
        ),
        Failure::BadResponse(_) => (
            "R1",
            "a command first writes its fields and an empty line (RFC 3875 section 6); other \
             handlers must send only what HTTP allows",
        ),
        Failure::CpuTime(_) => ("budget", "look for an endless loop"),
        Failure::WallTime(_) => (
            "budget",
            "find what it waits for; a long response may need a larger budget",
        ),
        Failure::BodyMemory { .. } => (
            "budget",
            "read the body in blocks rather than whole, or raise the budget",
        ),
        Failure::Memory(_) => (
            "budget",
            "send the body in blocks rather than whole, or raise the budget",
        ),
        Failure::NoMemory(_) | Failure::TotalMemory(_) => (
            "budget",
            "increase the memory of all instances (limits.memory)",
        ),
        Failure::NoDescriptor(_) => ("budget", "increase the limit on open files (ulimit -Hn)"),
        Failure::Instantiation(_) | Failure::NoRoom | Failure::Busy(_) => (
            "load",
            "check the code that runs before the first request: start functions, static values",
        ),
    };
    vec![Finding::error(rule, what, fix)]
}

/// I5: the limit on a request's log output.
pub(super) fn log(probe: &ProbeResult) -> Vec<Finding> {
    if !probe.ended.steps.contains(&Step::LogFull) {
        return Vec::new();
    }
    vec![Finding::warning(
        "I5",
        "exceeded the log limit of a request (--max-log); the rest was dropped",
        "log errors rather than everything",
    )]
}
