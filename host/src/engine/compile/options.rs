//! What compiling one handler may cost: the section `[compile]` of `wasgi.toml`.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{machine, units};

/// Compiling processes if nobody says how many, at most. Each compiles on all cores, so more of
/// them win little and may hold their memory limit each.
const MAX_DEFAULT_PROCESSES: usize = 4;

/// The limit on address space if nobody sets it: a share of the machine's memory, as a divisor.
const ADDRESS_SPACE_SHARE: u64 = 2;

/// The least that this share is, in bytes: a Django application, which is a component of 50 MB,
/// needs 752 MiB of address space.
const MIN_DEFAULT_ADDRESS_SPACE_BYTES: u64 = 1 << 30;

/// The most that this share is, in bytes: four times what the largest handlers need.
const MAX_DEFAULT_ADDRESS_SPACE_BYTES: u64 = 4 << 30;

/// Limits for the processes that compile handlers: the section `[compile]` of `wasgi.toml`. Each
/// handler has all of them for itself. A handler that needs more is not loaded, and its last good
/// version serves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Processes that compile at a time; if it isn't set, one for each processor, and
    /// four at most.
    pub processes: Option<u16>,
    /// Address space of one such process, in bytes; if it isn't set, half of the machine's memory,
    /// at least 1 GiB and at most 4 GiB.
    #[serde(rename = "address-space", with = "units::optional_size")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_space_bytes: Option<u64>,
    /// Processor time for one handler, on all cores together, rounded up to seconds.
    ///
    /// Two minutes: a Django application of 50 MB takes ten seconds of one processor.
    #[serde(with = "units::duration")]
    pub cpu_time: Duration,
    /// Time for one handler, from the moment that its file is handed to a process.
    ///
    /// Five minutes: other work may leave a process a part of its processors only.
    #[serde(with = "units::duration")]
    pub wall_time: Duration,
    /// Stack of each thread that parses or compiles, in bytes.
    ///
    /// 2 MiB: what Rust gives a thread. Parsers recurse for each level of a type or a component.
    #[serde(rename = "stack", with = "units::size")]
    pub stack_bytes: u64,
    /// Compiled code of one handler, in bytes, its memory's image included.
    ///
    /// 512 MiB: a Django application has a fifth of it.
    #[serde(rename = "output", with = "units::size")]
    pub output_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            processes: None,
            address_space_bytes: None,
            cpu_time: Duration::from_secs(120),
            wall_time: Duration::from_secs(300),
            stack_bytes: 2 << 20,
            output_bytes: 512 << 20,
        }
    }
}

impl Options {
    /// Processes that compile at a time.
    pub(super) fn processes(&self) -> usize {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.processes
            .map_or(cores.min(MAX_DEFAULT_PROCESSES), usize::from)
            .max(1)
    }

    /// Address space of one process, in bytes.
    pub(super) fn address_space_bytes(&self) -> u64 {
        self.address_space_bytes.unwrap_or_else(|| {
            machine::memory_bytes().map_or(MAX_DEFAULT_ADDRESS_SPACE_BYTES, |bytes| {
                (bytes / ADDRESS_SPACE_SHARE).clamp(
                    MIN_DEFAULT_ADDRESS_SPACE_BYTES,
                    MAX_DEFAULT_ADDRESS_SPACE_BYTES,
                )
            })
        })
    }
}
