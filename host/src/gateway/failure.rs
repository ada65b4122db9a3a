//! The reasons why a handler gave no complete response, each with the status for the client and one
//! line for the log.

use std::fmt;
use std::time::Duration;

use crate::printable;

/// The maximum size of an exception's kind, in bytes: a class name with its module.
const KIND_BYTES: usize = 256;

/// The maximum size of an exception's message, in bytes: a line for a person to read.
const MESSAGE_BYTES: usize = 4 * 1024;

/// The maximum size of a traceback, in bytes: some hundred frames.
const TRACEBACK_BYTES: usize = 16 * 1024;

/// An error that a handler raised and reported to the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// The kind: `ValueError`, `panic`.
    pub kind: String,
    /// The message.
    pub message: String,
    /// The traceback, one frame per line.
    pub traceback: String,
}

/// The reason why a handler gave no complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The application raised an exception.
    Exception(Exception),
    /// The application panicked, and reported it before it trapped.
    Panic(Exception),
    /// The instance trapped: the engine's message, with the guest's call stack.
    Trap(String),
    /// The instance exceeded its memory budget and trapped. The budget in bytes.
    Memory(usize),
    /// The instance exceeded its memory budget while it held much of the request's body: the body
    /// is too long for this handler.
    BodyMemory {
        /// The part of the body that it had read, in bytes.
        read_bytes: u64,
        /// The budget, in bytes.
        budget_bytes: usize,
        /// How the handler failed, unless it responded with status 500.
        failure: Option<Box<Failure>>,
    },
    /// The request exceeded its CPU time budget.
    CpuTime(Duration),
    /// The request exceeded its wall time budget, not counting the time spent waiting for the
    /// client.
    WallTime(Duration),
    /// The client disconnected, and the handler was aborted.
    ClientGone,
    /// The handler has reached its limit of concurrent requests.
    Busy(usize),
    /// The server has reached its limit of instances.
    NoRoom,
    /// The server's instances have reached their common memory limit, in bytes.
    NoMemory(usize),
    /// The handler, or all handlers, have reached their limit of open files, folders and
    /// connections: the limits.
    NoDescriptor(String),
    /// The instance needed more memory when the server's instances had reached their common memory
    /// limit, and trapped. The limit in bytes.
    TotalMemory(usize),
    /// The instance could not be created for another reason.
    Instantiation(String),
    /// The application returned a body without calling `start_response` (R6).
    NotStarted,
    /// A command ended with a non-zero exit status.
    Exit(i32),
    /// The output is not a valid response: the reason.
    BadResponse(String),
}

impl Failure {
    /// Returns the cause as one word, for metrics and spans.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Exception(_) => "exception",
            Self::Panic(_) => "panic",
            Self::Trap(_) => "trap",
            Self::Memory(_) => "memory",
            Self::BodyMemory { .. } => "body_memory",
            Self::CpuTime(_) => "cpu_time",
            Self::WallTime(_) => "wall_time",
            Self::ClientGone => "client_gone",
            Self::Busy(_) => "busy",
            Self::NoRoom => "no_instance",
            Self::NoMemory(_) => "no_memory",
            Self::NoDescriptor(_) => "no_descriptor",
            Self::TotalMemory(_) => "total_memory",
            Self::Instantiation(_) => "instantiation",
            Self::NotStarted => "not_started",
            Self::Exit(_) => "exit",
            Self::BadResponse(_) => "bad_response",
        }
    }

    /// Returns the status of the response, if no head has been sent yet.
    pub fn status(&self) -> u16 {
        match self {
            Self::BodyMemory { .. } => 413,
            Self::CpuTime(_) | Self::WallTime(_) => 504,
            Self::Busy(_)
            | Self::NoRoom
            | Self::NoMemory(_)
            | Self::NoDescriptor(_)
            | Self::TotalMemory(_) => 503,
            Self::Exception(_)
            | Self::Panic(_)
            | Self::Trap(_)
            | Self::Memory(_)
            | Self::Instantiation(_)
            | Self::NotStarted
            | Self::Exit(_)
            | Self::ClientGone
            | Self::BadResponse(_) => 500,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exception(exception) => write!(f, "raised {exception}"),
            Self::Panic(exception) => write!(f, "panicked: {}", exception.without_kind()),
            Self::Trap(trap) => write!(f, "trapped: {trap}"),
            Self::Memory(bytes) => write!(
                f,
                "ran out of memory: its budget is {} MiB (--max-memory)",
                bytes / (1024 * 1024)
            ),
            Self::BodyMemory {
                read_bytes,
                budget_bytes,
                failure,
            } => {
                write!(
                    f,
                    "ran out of memory after {read_bytes} bytes of the request's body: its budget \
                     is {} MiB (budget.memory)",
                    budget_bytes / (1024 * 1024)
                )?;
                match failure {
                    Some(failure) => write!(f, "; it {failure}"),
                    None => write!(f, "; it answered with status 500"),
                }
            }
            Self::CpuTime(limit) => {
                write!(f, "computed for longer than {limit:?} (--max-cpu-time)")
            }
            Self::WallTime(limit) => {
                write!(f, "took longer than {limit:?} (--max-wall-time)")
            }
            Self::ClientGone => write!(
                f,
                "continued to compute after its client had disconnected, and was stopped"
            ),
            Self::Busy(limit) => write!(
                f,
                "already has {limit} requests in flight (--max-concurrent): rejected one"
            ),
            Self::NoMemory(bytes) => write!(
                f,
                "no memory for another instance: the limit of all instances is {} MiB \
                 (limits.memory): rejected one",
                bytes / (1024 * 1024)
            ),
            Self::TotalMemory(bytes) => write!(
                f,
                "exceeded the server's memory: the limit of all instances is {} MiB \
                 (limits.memory)",
                bytes / (1024 * 1024)
            ),
            Self::NoDescriptor(limits) => {
                write!(f, "can't open its folders: {limits}: rejected one")
            }
            Self::NoRoom => write!(f, "no free instance: rejected one"),
            Self::Instantiation(why) => write!(f, "could not be instantiated: {why}"),
            Self::NotStarted => write!(f, "returned a body without calling start_response"),
            Self::Exit(status) => write!(
                f,
                "exited with status {status}: a command must exit with 0 after its response"
            ),
            Self::BadResponse(why) => {
                write!(
                    f,
                    "returned no valid response: {}",
                    printable::one_line(why)
                )
            }
        }
    }
}

/// The kind and message on the log's line, then each frame on its own indented line.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = printable::front(&self.kind, KIND_BYTES);
        write!(f, "{}", printable::one_line(kind))?;
        if !self.message.is_empty() {
            f.write_str(": ")?;
        }
        write!(f, "{}", self.without_kind())
    }
}

impl Exception {
    /// Creates an exception, with each text truncated to its maximum size.
    pub fn new(kind: String, message: String, traceback: String) -> Self {
        Self {
            kind: cut(kind, KIND_BYTES),
            message: cut(message, MESSAGE_BYTES),
            traceback: cut(traceback, TRACEBACK_BYTES),
        }
    }

    fn without_kind(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            let message = printable::front(&self.message, MESSAGE_BYTES);
            write!(f, "{}", printable::indented(message))?;
            if !self.traceback.is_empty() {
                let traceback = printable::front(&self.traceback, TRACEBACK_BYTES);
                write!(f, "\n    {}", printable::indented(traceback))?;
            }
            Ok(())
        })
    }
}

/// Truncates a text and frees the rest of its memory.
fn cut(text: String, bytes: usize) -> String {
    if text.len() <= bytes {
        return text;
    }
    printable::front(&text, bytes).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_cut_however_long_its_texts_are() {
        let long = || "\x1b".repeat(1 << 20);
        for exception in [
            Exception::new(long(), long(), long()),
            Exception {
                kind: long(),
                message: long(),
                traceback: long(),
            },
        ] {
            // Each byte that is kept takes up to six bytes as an escape.
            let most = 6 * (KIND_BYTES + MESSAGE_BYTES + TRACEBACK_BYTES) + 100;
            let shown = Failure::Exception(exception).to_string();
            assert!(shown.len() < most, "{} bytes", shown.len());
        }
        let kept = Exception::new(long(), long(), long());
        assert_eq!(kept.kind.len(), KIND_BYTES);
        assert!(kept.traceback.capacity() <= TRACEBACK_BYTES);
    }

    #[test]
    fn an_exception_stays_within_its_lines() {
        let exception = Exception {
            kind: "ValueError".into(),
            message: "no\x1b[2J\nINFO all is well".into(),
            traceback: "app.py:7\napp.py:9\n".into(),
        };
        assert_eq!(
            Failure::Exception(exception).to_string(),
            "raised ValueError: no\\u{1b}[2J\n    INFO all is well\n    app.py:7\n    app.py:9"
        );
    }

    #[test]
    fn metrics_count_each_cause() {
        let exception = || Exception::new(String::new(), String::new(), String::new());
        let causes = [
            Failure::Exception(exception()),
            Failure::Panic(exception()),
            Failure::Trap(String::new()),
            Failure::Memory(1),
            Failure::BodyMemory {
                read_bytes: 1,
                budget_bytes: 1,
                failure: None,
            },
            Failure::CpuTime(Duration::ZERO),
            Failure::WallTime(Duration::ZERO),
            Failure::ClientGone,
            Failure::Busy(1),
            Failure::NoRoom,
            Failure::NoMemory(1),
            Failure::NoDescriptor(String::new()),
            Failure::TotalMemory(1),
            Failure::Instantiation(String::new()),
            Failure::NotStarted,
            Failure::Exit(1),
            Failure::BadResponse(String::new()),
        ]
        .map(|failure| failure.cause());
        assert_eq!(causes, crate::metrics::CAUSES);
    }

    #[test]
    fn the_status_depends_on_the_fault() {
        assert_eq!(Failure::NotStarted.status(), 500);
        assert_eq!(Failure::Exit(1).status(), 500);
        assert_eq!(Failure::BadResponse("a\nb".into()).status(), 500);
        assert_eq!(Failure::Memory(1).status(), 500);
        let body = Failure::BodyMemory {
            read_bytes: 1,
            budget_bytes: 1,
            failure: None,
        };
        assert_eq!(body.status(), 413);
        assert_eq!(Failure::CpuTime(Duration::ZERO).status(), 504);
        assert_eq!(Failure::WallTime(Duration::ZERO).status(), 504);
        assert_eq!(Failure::Busy(1).status(), 503);
        assert_eq!(Failure::NoRoom.status(), 503);
        assert_eq!(Failure::NoMemory(1).status(), 503);
        assert_eq!(Failure::NoDescriptor(String::new()).status(), 503);
        assert_eq!(Failure::TotalMemory(1).status(), 503);
    }
}
