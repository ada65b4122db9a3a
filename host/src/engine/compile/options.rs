//! The limits on compiling one handler: the section `[compile]` of `wasgi.toml`.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{machine, units};

/// The maximum of the default number of compiling processes. Each compiles on all cores, so more
/// would gain little, and each may use its memory limit.
const MAX_DEFAULT_PROCESSES: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// The default limit on address space: a fraction of the machine's memory, as a divisor.
const ADDRESS_SPACE_SHARE: u64 = 2;

/// The minimum of the default limit, in bytes: a Django application, a component of 50 MB, needs
/// 752 MiB of address space.
const MIN_DEFAULT_ADDRESS_SPACE_BYTES: u64 = 1 << 30;

/// The maximum of the default limit, in bytes: four times what the largest handlers need.
const MAX_DEFAULT_ADDRESS_SPACE_BYTES: u64 = 4 << 30;

/// The limits on processes that compile handlers: the section `[compile]` of `wasgi.toml`. They
/// apply to each handler separately. A handler that exceeds one is not loaded, and its last good
/// version continues to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CompileOptions {
    /// The maximum number of compiling processes. Default: one per processor, at most four.
    pub processes: Option<u16>,
    /// The maximum address space of one such process, in bytes. Default: half of the machine's
    /// memory, at least 1 GiB and at most 4 GiB.
    #[serde(rename = "address-space", with = "units::optional_size")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_space_bytes: Option<u64>,
    /// The maximum processor time for one handler, on all cores together, rounded up to seconds.
    ///
    /// Two minutes: a Django application of 50 MB takes ten seconds of one processor.
    #[serde(with = "units::duration")]
    pub cpu_time: Duration,
    /// The maximum time for one handler, from passing its file to a process.
    ///
    /// Five minutes: other work may leave a process only a part of its processors.
    #[serde(with = "units::duration")]
    pub wall_time: Duration,
    /// The maximum time for one script's import, from passing its plan to a process; `wall_time`
    /// if that is less.
    ///
    /// A minute: Django's demo takes two seconds without a layer of its packages.
    #[serde(with = "units::duration")]
    pub import_time: Duration,
    /// The stack size of each thread that parses or compiles, in bytes.
    ///
    /// 2 MiB: Rust's default. Parsers recurse for each level of a type or a component.
    #[serde(rename = "stack", with = "units::size")]
    pub stack_bytes: u64,
    /// The maximum size of one handler's compiled code, in bytes, including its memory image.
    ///
    /// 512 MiB: a Django application has a fifth of it.
    #[serde(rename = "output", with = "units::size")]
    pub output_bytes: u64,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            processes: None,
            address_space_bytes: None,
            cpu_time: Duration::from_secs(120),
            wall_time: Duration::from_secs(300),
            import_time: Duration::from_secs(60),
            stack_bytes: 2 << 20,
            output_bytes: 512 << 20,
        }
    }
}

impl CompileOptions {
    /// Returns the maximum number of compiling processes, which is also the number of concurrent
    /// loads.
    pub fn processes(&self) -> NonZeroUsize {
        let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let set = self.processes.map(usize::from).map(NonZeroUsize::new);
        set.map_or(cores.min(MAX_DEFAULT_PROCESSES), |set| {
            set.unwrap_or(NonZeroUsize::MIN)
        })
    }

    /// Returns the maximum address space of one process, in bytes.
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
