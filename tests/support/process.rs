//! A child process that never outlives its test, and the kernel's data about it.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::output::Output;
use super::{LOOK, PATIENCE, eventually};

/// The growth in memory that is allowed to a server while it transfers bodies that are larger than
/// this, in bytes: its buffers, the guests' memory, and what a debug build's allocator retains.
pub(crate) const GROWTH_BYTES: u64 = 16 * 1024 * 1024;

/// The names of the threads that wait for the kernel's events of folders: the `notify` crate's for
/// handlers, truncated as the kernel does, and the server's for pages.
const WATCHING: [&str; 2] = ["notify-rs inoti", "wasgi-watch"];

/// A running process whose output is collected. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// None after the process has been waited for.
    pub(crate) stdout: Option<Output>,
    pub(crate) stderr: Option<Output>,
}

/// The exit status and the output of a process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

/// The resident memory of a process at some moment, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl Process {
    /// Starts the process, with an empty standard input.
    pub(crate) fn start(command: &mut Command) -> Process {
        Process::start_writing_to(command, Stdio::piped())
    }

    /// Starts the process, with an empty standard input and the given standard output.
    pub(crate) fn start_writing_to(command: &mut Command, stdout: Stdio) -> Process {
        Process::start_with(command, Stdio::null(), stdout)
    }

    /// Starts the process with the given standard input and output.
    pub(crate) fn start_with(command: &mut Command, stdin: Stdio, stdout: Stdio) -> Process {
        let mut child = command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().map(Output::new);
        let stderr = child.stderr.take().map(Output::new);
        Process {
            child,
            stdout,
            stderr,
        }
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is there");
    }

    /// Returns the processes that the main thread of this one has started. None after it has ended.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let id = self.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        let ids = children.split_whitespace();
        ids.filter_map(|id| Pid::from_raw(id.parse().ok()?))
            .collect()
    }

    /// Returns whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("it can be waited for")
            .is_some()
    }

    /// Waits until the process exits.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            if Instant::now() >= until {
                let stderr = self.stderr.as_ref().map(Output::lines).unwrap_or_default();
                panic!("it does not end; its stderr:\n{}", stderr.join("\n"));
            }
            thread::sleep(LOOK);
        };
        Ended {
            status,
            stdout: self.stdout.take().map(Output::finish).unwrap_or_default(),
            stderr: self.stderr.take().map(Output::finish).unwrap_or_default(),
        }
    }

    /// Returns the resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// Returns the current resident memory, and resets the kernel's record of the peak.
    pub(crate) fn mark_memory(&self) -> Mark {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        fs::write(path, "5").expect("the peak can be reset");
        Mark(self.resident_bytes())
    }

    /// Checks that the peak since `since` stayed within [`GROWTH_BYTES`].
    #[track_caller]
    pub(crate) fn expect_little_growth(&self, since: Mark) {
        let growth = self.status_bytes("VmHWM:").saturating_sub(since.0);
        assert!(growth < GROWTH_BYTES, "grew by {growth} bytes");
    }

    /// Returns the number of open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        fs::read_dir(path).expect("the process is there").count()
    }

    /// Returns the number of open descriptors once the server watches its two folders, which it
    /// starts to do after its first responses.
    #[track_caller]
    pub(crate) fn standing_descriptors(&self) -> usize {
        eventually("it watches its folders", || {
            WATCHING.iter().all(|name| self.has_thread(name))
        });
        self.descriptors()
    }

    /// Returns whether the process has a thread of this name. A thread sets its name when it
    /// starts.
    pub(crate) fn has_thread(&self, name: &str) -> bool {
        self.threads(name) > 0
    }

    /// Returns the number of threads of this name.
    fn threads(&self, name: &str) -> usize {
        let path = format!("/proc/{}/task", self.child.id());
        let threads = fs::read_dir(path).expect("the process is there").flatten();
        threads
            .filter(|thread| {
                let own = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
                own.trim_end() == name
            })
            .count()
    }

    /// Returns the nice values of the threads of this name (nice(2)).
    pub(crate) fn nice_of_threads(&self, name: &str) -> Vec<i32> {
        let path = format!("/proc/{}/task", self.child.id());
        let threads = fs::read_dir(path).expect("the process is there").flatten();
        let stats = threads.filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
            let (own, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
            // Field 19, which is the 17th after the name (proc_pid_stat(5)).
            let nice = fields.split_whitespace().nth(16)?;
            (own == name).then(|| nice.parse().expect("a number"))
        });
        stats.collect()
    }

    /// Returns the CPU time that the process has used, in clock ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(path).expect("the process is there");
        // The name may contain anything. The first field after it is the state; utime and stime are
        // the 12th and 13th (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks
            .map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum()
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("the process is there");
        let line = status.lines().find(|line| line.starts_with(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
        let kibibytes: u64 = kibibytes
            .and_then(|number| number.parse().ok())
            .expect("a line of proc_pid_status(5)");
        kibibytes * 1024
    }

    /// Returns what `/proc` tells everybody about the process and all below it: their arguments and
    /// their environments, each with its path.
    pub(crate) fn arguments_and_environments(&self) -> Vec<(String, String)> {
        let parents: HashMap<u32, u32> = fs::read_dir("/proc")
            .expect("it is mounted")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|id| Some((id, parent_of(id)?)))
            .collect();
        let is_below = |mut id: u32| {
            while id != self.id() {
                match parents.get(&id) {
                    Some(parent) => id = *parent,
                    None => return false,
                }
            }
            true
        };
        let ids = parents.keys().filter(|id| is_below(**id));
        let paths = ids.flat_map(|id| ["environ", "cmdline"].map(|of| format!("/proc/{id}/{of}")));
        let read = |path: String| {
            let bytes = fs::read(&path).unwrap_or_default();
            (path, String::from_utf8_lossy(&bytes).into_owned())
        };
        paths.map(read).collect()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

/// Returns the parent of a process, if it exists.
fn parent_of(id: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = status.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Returns how many lines of the error log contain all `parts`.
    pub(crate) fn stderr_with(&self, parts: &[&str]) -> usize {
        let has_all = |line: &&String| parts.iter().all(|part| line.contains(part));
        self.stderr.iter().filter(has_all).count()
    }

    /// Checks that a line of the error log contains all `parts`.
    #[track_caller]
    pub(crate) fn expect_stderr(&self, parts: &[&str]) {
        let found = self.stderr_with(parts) > 0;
        assert!(found, "no line with {parts:?}: {}", self.everything());
    }

    /// Checks that the exit code is 0.
    #[track_caller]
    pub(crate) fn expect_success(&self) {
        assert!(self.status.success(), "{}", self.everything());
    }

    /// Returns the line on standard error with which a program rejected its command. Checks that it
    /// is the only output and that the exit code is 1.
    #[track_caller]
    pub(crate) fn refusal(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{}", self.everything());
        assert_eq!(self.stdout, [""; 0]);
        let [line] = &self.stderr[..] else {
            panic!("{}", self.everything());
        };
        line
    }

    /// Returns whether the error log contains a warning or an error. Tests may run as root.
    pub(crate) fn has_complaints(&self) -> bool {
        let warnings = self.stderr_with(&[" WARN "]) - self.stderr_with(&[" WARN running as root"]);
        warnings + self.stderr_with(&["ERROR "]) > 0
    }

    /// Returns the status and all output, for the message of a failed assertion.
    pub(crate) fn everything(&self) -> String {
        format!(
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.status,
            self.stdout.join("\n"),
            self.stderr.join("\n")
        )
    }
}

/// Returns whether a process has ended, which includes a zombie that its parent has not waited for.
pub(crate) fn has_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    })
}
