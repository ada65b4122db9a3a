//! Runs the command of a build: with bounded output and a time limit, and ended with everything it
//! has started.

use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use super::last_line::LastLine;
use crate::reload::CancelToken;

/// The kept part of what a command writes to standard error, in bytes: the beginning, because the
/// first error causes the others.
const MAX_ERROR_BYTES: usize = 256 << 10;

/// The kept part of what a command writes to standard output, in bytes: Cargo's messages have some
/// KiB for each package.
const MAX_OUTPUT_BYTES: usize = 8 << 20;

/// The polling interval for the command's exit and for its cancellation.
const POLL: Duration = Duration::from_millis(5);

/// The time to wait for output of a command that has exited: another process may hold the pipe.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// The variable that marks the processes of one build, wherever they move to.
const MARK: &str = "WASGI_BUILD";

/// The maximum number of searches for processes of an ended build. Each finds those that the ones
/// before started before they were killed.
const MAX_SWEEPS: usize = 100;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It exited without being killed.
    Exited(ExitStatus),
    /// It was killed because its result is no longer wanted.
    Cancelled,
    /// It was killed because it took too long.
    TimedOut,
}

/// The result of a command.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) ended: Ended,
    pub(super) output: String,
    pub(super) errors: String,
}

/// Runs a command until it exits, is cancelled, or `max_time` is over. In the last two cases, kills
/// its process group and all processes that have inherited its environment. Those that leave a
/// finished command running in its process group are killed as well. `progress` receives the last
/// line of standard error.
///
/// # Errors
///
/// Fails if the command can't be started.
pub(super) fn run(
    command: &mut Command,
    cancel: &CancelToken,
    max_time: Duration,
    progress: Option<&LastLine>,
) -> io::Result<Finished> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mark = format!("{}-{number}", std::process::id());
    command.env(MARK, &mark).process_group(0);
    let (output, output_end) = io::pipe()?;
    let (errors, errors_end) = io::pipe()?;
    command.stdin(Stdio::null());
    command.stdout(output_end).stderr(errors_end);
    let mut child = command.spawn()?;
    // The command holds the write ends of the pipes until then.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let output = keep(output, MAX_OUTPUT_BYTES, None);
    let errors = keep(errors, MAX_ERROR_BYTES, progress.cloned());
    let deadline = Instant::now() + max_time;
    let end = loop {
        if has_exited(&child)? {
            break None;
        }
        if cancel.is_cancelled() {
            break Some(Ended::Cancelled);
        }
        if Instant::now() >= deadline {
            break Some(Ended::TimedOut);
        }
        thread::sleep(POLL);
    };
    // The command is not reaped yet, so that no other process can have its number.
    if let Some(group) = pid_of(&child) {
        // Fails if no process is left in it.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait()?;
    let ended = end.unwrap_or(Ended::Exited(status));
    if !matches!(ended, Ended::Exited(_)) {
        sweep(&mark);
    }
    let text = |receiver: Receiver<Vec<u8>>| {
        let bytes = receiver.recv_timeout(LAST_OUTPUT).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Finished {
        ended,
        output: text(output),
        errors: text(errors),
    })
}

/// Returns whether a command has exited, and leaves it to be reaped.
fn has_exited(child: &Child) -> io::Result<bool> {
    let Some(pid) = pid_of(child) else {
        return Ok(true);
    };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(pid), options) {
        Ok(status) => Ok(status.is_some()),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Reads a pipe to its end on a thread of its own, and sends its first `max` bytes.
fn keep(mut pipe: PipeReader, max: usize, progress: Option<LastLine>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            let room = max.saturating_sub(kept.len()).min(read);
            kept.extend_from_slice(&buffer[..room]);
            if let Some(progress) = &progress {
                progress.note(&buffer[..read]);
            }
        }
        // Fails if the build was cancelled.
        let _ = sender.send(kept);
    });
    receiver
}

/// Kills the processes of a build that have left its process group.
fn sweep(mark: &str) {
    let mark = format!("{MARK}={mark}\0").into_bytes();
    for _ in 0..MAX_SWEEPS {
        let marked = marked(&mark);
        if marked.is_empty() {
            return;
        }
        for process in marked {
            // Fails if it has just ended.
            let _ = kill_process(process, Signal::KILL);
        }
        thread::sleep(POLL);
    }
}

/// Returns the processes with this variable in their environment.
fn marked(mark: &[u8]) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            // Other users' processes can't be read, and dead ones have none.
            let environment = fs::read(process.path().join("environ")).ok()?;
            let is_marked = environment.windows(mark.len()).any(|part| part == mark);
            Pid::from_raw(pid).filter(|_| is_marked)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far more than any of these commands takes.
    const LONG: Duration = Duration::from_secs(300);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Returns whether the process with the number in this file exists.
    fn is_alive(file: &std::path::Path) -> bool {
        let pid = fs::read_to_string(file).expect("a number");
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn a_command_is_run_with_both_outputs() {
        let mut command = shell("echo one; echo two >&2; exit 3");
        let finished = run(&mut command, &CancelToken::new(), LONG, None).expect("it runs");
        let Ended::Exited(status) = finished.ended else {
            panic!("{finished:?}");
        };
        assert_eq!(status.code(), Some(3));
        assert_eq!((&*finished.output, &*finished.errors), ("one\n", "two\n"));
    }

    #[test]
    fn output_without_end_is_bounded() {
        let mut command = shell("head -c 1000000 /dev/zero >&2");
        let finished = run(&mut command, &CancelToken::new(), LONG, None).expect("it runs");
        assert_eq!(finished.errors.len(), MAX_ERROR_BYTES);
    }

    #[test]
    fn a_build_that_forks_and_never_ends_is_ended_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let [child, stranger] = ["child", "stranger"].map(|name| folder.path().join(name));
        // One child stays in the process group, the other leaves it and its parent.
        let script = format!(
            "sleep 1000 & echo $! > {child}.new && mv {child}.new {child}\n\
             setsid sh -c 'echo $$ > {stranger}.new && mv {stranger}.new {stranger}; \
             exec sleep 1000' &\nwait",
            child = child.display(),
            stranger = stranger.display(),
        );
        let cancel = CancelToken::new();
        let finished = thread::scope(|scope| {
            let running = scope.spawn(|| run(&mut shell(&script), &cancel, LONG, None));
            while !child.exists() || !stranger.exists() {
                thread::sleep(POLL);
            }
            cancel.cancel();
            running.join().expect("no panic").expect("it runs")
        });
        assert_eq!(finished.ended, Ended::Cancelled);
        assert!(!is_alive(&child), "in the process group");
        assert!(!is_alive(&stranger), "outside of the process group");
    }

    #[test]
    fn what_a_finished_command_leaves_running_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let child = folder.path().join("child");
        let mut command = shell(&format!("sleep 1000 & echo $! > {}", child.display()));
        let finished = run(&mut command, &CancelToken::new(), LONG, None).expect("it runs");
        assert!(matches!(finished.ended, Ended::Exited(status) if status.success()));
        while is_alive(&child) {
            thread::sleep(POLL);
        }
    }

    #[test]
    fn a_command_that_has_exited_keeps_its_number_until_it_is_reaped() {
        let mut child = shell("exit 3").spawn().expect("it runs");
        while !has_exited(&child).expect("a child") {
            thread::sleep(POLL);
        }
        assert!(has_exited(&child).expect("still a child"));
        let status = fs::read_to_string(format!("/proc/{}/stat", child.id()));
        assert!(status.expect("a process").contains(") Z "));
        assert_eq!(child.wait().expect("its status").code(), Some(3));
    }

    #[test]
    fn a_build_beyond_its_time_is_ended() {
        let mut command = shell("sleep 1000");
        let finished = run(
            &mut command,
            &CancelToken::new(),
            Duration::from_millis(10),
            None,
        );
        assert_eq!(finished.expect("it runs").ended, Ended::TimedOut);
    }
}
