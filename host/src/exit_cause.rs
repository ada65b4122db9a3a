//! Describes how a process has ended, for messages.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Describes how a process ended.
pub(crate) fn exit_cause(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("ended with exit status {}", status.code().unwrap_or(0));
    };
    let name = signal_hook::low_level::signal_name(signal).unwrap_or("of no name");
    let core = if status.core_dumped() {
        ", and left a core dump"
    } else {
        ""
    };
    format!("was killed by signal {signal} ({name}){core}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_names_status_or_signal() {
        // Encoded as by `wait`: a status in the second byte, a signal in the first (wait(2)).
        for (raw, expected) in [
            (0, "ended with exit status 0"),
            (1 << 8, "ended with exit status 1"),
            (9, "was killed by signal 9 (SIGKILL)"),
            (
                6 | 0x80,
                "was killed by signal 6 (SIGABRT), and left a core dump",
            ),
        ] {
            assert_eq!(exit_cause(ExitStatus::from_raw(raw)), expected);
        }
    }
}
