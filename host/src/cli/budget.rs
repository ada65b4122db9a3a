//! The flags for a request's budget, for every command that runs handlers.

use std::time::Duration;

use clap::Args;

use super::{LIMITS_HEADING, kibibytes, mebibytes, seconds};
use crate::config::Draft;
use crate::policy::Handler;

/// The flags for a request's budget. A number without a unit has the unit shown in the help.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = LIMITS_HEADING)]
pub struct Budget {
    /// Memory of an instance [default: 256]
    #[arg(long, value_name = "MIB", value_parser = mebibytes)]
    pub max_memory: Option<usize>,
    /// Time until a handler gives its next output [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub max_wall_time: Option<Duration>,
    /// CPU time of a request [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub max_cpu_time: Option<Duration>,
    /// Size of a response's status and fields [default: 64]
    #[arg(long, value_name = "KIB", value_parser = kibibytes)]
    pub max_response_head: Option<usize>,
    /// Size of a request's output to the error log [default: 64]
    #[arg(long, value_name = "KIB", value_parser = kibibytes)]
    pub max_log: Option<usize>,
}

impl Budget {
    /// Overrides the values of `[budget]` in the file with the flags that were given.
    pub(super) fn set(&self, draft: &mut Draft) {
        let memory = self.max_memory.as_ref();
        draft.flag("budget.memory", "--max-memory", memory, |it| {
            &mut it.budget.memory_bytes
        });
        let wall_time = self.max_wall_time.as_ref();
        draft.flag("budget.wall-time", "--max-wall-time", wall_time, |it| {
            &mut it.budget.wall_time
        });
        let cpu_time = self.max_cpu_time.as_ref();
        draft.flag("budget.cpu-time", "--max-cpu-time", cpu_time, |it| {
            &mut it.budget.cpu_time
        });
        let head = self.max_response_head.as_ref();
        draft.flag("budget.response-head", "--max-response-head", head, |it| {
            &mut it.budget.response_head_bytes
        });
        draft.flag("budget.log", "--max-log", self.max_log.as_ref(), |it| {
            &mut it.budget.log_bytes
        });
    }

    /// Clears the values in a handler's table that the flags override.
    pub(super) fn go_before(&self, handler: &mut Handler) {
        if self.max_memory.is_some() {
            handler.memory_bytes = None;
        }
        if self.max_wall_time.is_some() {
            handler.wall_time = None;
        }
        if self.max_cpu_time.is_some() {
            handler.cpu_time = None;
        }
    }
}
