//! Why a handler gave no whole answer: the handler's errors, each with the status that a client
//! gets and one line for the log.

use std::fmt;
use std::time::Duration;

/// An error that a handler raised, as it told the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// `ValueError`, `panic`.
    pub kind: String,
    /// What it says.
    pub message: String,
    /// Where it happened, one place per line.
    pub traceback: String,
}

/// Why a handler gave no whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The application raised an exception.
    Exception(Exception),
    /// The application panicked, and said so before it trapped.
    Panic(Exception),
    /// The instance trapped: what the engine says of it, with the guest's call stack.
    Trap(String),
    /// The instance asked for more memory than its budget, and trapped. Bytes.
    Memory(usize),
    /// The request computed for longer than its budget.
    CpuTime(Duration),
    /// The request was in work for longer than its budget.
    WallTime(Duration),
    /// The handler has as many requests in work as it may.
    Busy(usize),
    /// The server has as many instances as it has room for.
    NoRoom,
    /// The instance could not be made for another reason.
    Instantiation(String),
    /// The body came without a call of `start_response` (R6).
    NotStarted,
}

impl Failure {
    /// The status of the answer, where no head has been sent yet.
    pub fn status(&self) -> u16 {
        match self {
            Self::CpuTime(_) | Self::WallTime(_) => 504,
            Self::Busy(_) | Self::NoRoom => 503,
            Self::Exception(_)
            | Self::Panic(_)
            | Self::Trap(_)
            | Self::Memory(_)
            | Self::Instantiation(_)
            | Self::NotStarted => 500,
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
            Self::CpuTime(limit) => {
                write!(f, "computed for longer than {limit:?} (--max-cpu-time)")
            }
            Self::WallTime(limit) => {
                write!(f, "took longer than {limit:?} (--max-wall-time)")
            }
            Self::Busy(limit) => write!(
                f,
                "has {limit} requests in work already (--max-concurrent): turned one away"
            ),
            Self::NoRoom => write!(f, "found no room for another instance: turned one away"),
            Self::Instantiation(why) => write!(f, "could not be instantiated: {why}"),
            Self::NotStarted => write!(f, "returned a body without calling start_response"),
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        self.write_traceback(f)
    }
}

impl Exception {
    fn without_kind(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            f.write_str(&self.message)?;
            self.write_traceback(f)
        })
    }

    fn write_traceback(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.traceback.lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}
