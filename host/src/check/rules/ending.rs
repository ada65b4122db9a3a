//! Rules for the end of a request: failures, `close` and the log.

use crate::check::finding::Finding;
use crate::check::plan::ProbeResult;
use crate::engine::Kind;
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
        let fix = "close has to give back what it holds, whatever became of the body";
        return vec![Finding::error("B2", what, fix)];
    }
    let gone = ended.was_left || probe.is_cut;
    let mut what = failure.to_string();
    if ended.head.is_some() && ended.finish.is_none() {
        let line = what.find('\n').unwrap_or(what.len());
        what.insert_str(line, "; the head was out by then, so the connection is cut");
    }
    let (rule, fix) = match failure {
        // The client is gone, so raising an exception is correct.
        Failure::Exception(_) if gone => return Vec::new(),
        Failure::Exception(_) => (
            "failure",
            "handle it, and answer with a status that says what is wrong",
        ),
        // Programs of the other kinds have no exceptions; a panic or trap is how they give up.
        Failure::Panic(_) | Failure::Trap(_) if gone && probe.kind != Kind::Gateway => {
            return Vec::new();
        }
        Failure::Panic(_) | Failure::Trap(_) => (
            "failure",
            "nothing may panic or trap for what a client sends; the place is above",
        ),
        Failure::NotStarted => (
            "R6",
            "call start_response before the first block that is not empty, and before the end",
        ),
        Failure::Exit(_) if gone => return Vec::new(),
        Failure::ClientGone => (
            "B2",
            "stop when a read or a write says that the client has gone, and keep close short",
        ),
        Failure::Exit(_) => (
            "failure",
            "exit with 0 where the answer says what is wrong; the status is the answer's",
        ),
        Failure::BadResponse(_) => (
            "R1",
            "a command begins with its fields and an empty line (RFC 3875 section 6); elsewhere, \
             send only what HTTP allows",
        ),
        Failure::CpuTime(_) => ("budget", "look for a loop without an end"),
        Failure::WallTime(_) => (
            "budget",
            "look for what it waits for; a long answer may need a larger budget",
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
            "allow all instances more together (limits.memory)",
        ),
        Failure::Instantiation(_) | Failure::NoRoom | Failure::Busy(_) => (
            "load",
            "look into what runs before the first request: start functions, static values",
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
        "wrote more to the log than a request may (--max-log); the rest was dropped",
        "log what went wrong rather than everything",
    )]
}
