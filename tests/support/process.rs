//! A child process that never outlives its test, and what the kernel knows about it.

use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::output::Output;
use super::{LOOK, PATIENCE, eventually};

/// What a server may grow by while it moves bodies that are larger, in bytes: its buffers, the
/// guests' memory, and what a debug build's allocator keeps.
pub(crate) const GROWTH_BYTES: u64 = 16 * 1024 * 1024;

/// The name of the threads in which the `notify` crate watches, as long as the kernel keeps it.
const WATCHING: &str = "notify-rs inoti";

/// A running process, whose output is gathered. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// None once it was waited for.
    pub(crate) stdout: Option<Output>,
    pub(crate) stderr: Option<Output>,
}

/// What a process has left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

/// The memory of a process at some moment, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl Process {
    /// Starts it, with no input.
    pub(crate) fn start(command: &mut Command) -> Process {
        Process::start_writing_to(command, Stdio::piped())
    }

    /// Likewise, with its output going where the test wants it.
    pub(crate) fn start_writing_to(command: &mut Command, stdout: Stdio) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().map(Output::of);
        let stderr = child.stderr.take().map(Output::of);
        Process {
            child,
            stdout,
            stderr,
        }
    }

    /// Its process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is there");
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("it can be waited for")
            .is_some()
    }

    /// Waits until it ends by itself.
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

    /// Memory that it holds, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// Remembers what memory it holds, and counts the most anew from here on.
    pub(crate) fn mark_memory(&self) -> Mark {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        fs::write(path, "5").expect("the peak can be reset");
        Mark(self.resident_bytes())
    }

    /// Checks that it has not held much more since then, at any moment.
    #[track_caller]
    pub(crate) fn expect_little_growth(&self, since: Mark) {
        let growth = self.status_bytes("VmHWM:").saturating_sub(since.0);
        assert!(growth < GROWTH_BYTES, "grew by {growth} bytes");
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        fs::read_dir(path).expect("the process is there").count()
    }

    /// How many descriptors it has open that it keeps open. It begins to watch its two folders
    /// only when it has answered its first requests.
    #[track_caller]
    pub(crate) fn standing_descriptors(&self) -> usize {
        eventually("it watches its folders", || self.threads(WATCHING) == 2);
        self.descriptors()
    }

    /// Whether it has a thread of this name, which that gives itself when it begins.
    pub(crate) fn has_thread(&self, name: &str) -> bool {
        self.threads(name) > 0
    }

    /// How many threads of this name it has.
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

    /// By how much its threads of this name give way to others (nice(2)).
    pub(crate) fn nice_of_threads(&self, name: &str) -> Vec<i32> {
        let path = format!("/proc/{}/task", self.child.id());
        let threads = fs::read_dir(path).expect("the process is there").flatten();
        let stats = threads.filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
            let (own, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
            // The 19th field of all, the 17th behind the name (proc_pid_stat(5)).
            let nice = fields.split_whitespace().nth(16)?;
            (own == name).then(|| nice.parse().expect("a number"))
        });
        stats.collect()
    }

    /// How long it has computed, in clock ticks, of which there are 100 in a second.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(path).expect("the process is there");
        // Behind the name, which may hold anything, the state is the first field; utime and stime
        // are the 12th and the 13th (proc_pid_stat(5)).
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

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// How many lines of its error log have all of `parts` in them.
    pub(crate) fn stderr_with(&self, parts: &[&str]) -> usize {
        let has_all = |line: &&String| parts.iter().all(|part| line.contains(part));
        self.stderr.iter().filter(has_all).count()
    }

    /// Checks that a line of its error log has all of `parts` in it.
    #[track_caller]
    pub(crate) fn expect_stderr(&self, parts: &[&str]) {
        let found = self.stderr_with(parts) > 0;
        assert!(found, "no line with {parts:?}: {}", self.everything());
    }

    /// The one line of a program that could not do what it was asked to: on standard error.
    #[track_caller]
    pub(crate) fn refusal(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{}", self.everything());
        assert_eq!(self.stdout, [""; 0]);
        let [line] = &self.stderr[..] else {
            panic!("{}", self.everything());
        };
        line
    }

    /// Whether there is a warning or an error in its error log.
    pub(crate) fn has_complaints(&self) -> bool {
        self.stderr_with(&[" WARN "]) + self.stderr_with(&["ERROR "]) > 0
    }

    /// Everything that it wrote, for the text of a failure.
    pub(crate) fn everything(&self) -> String {
        format!(
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.status,
            self.stdout.join("\n"),
            self.stderr.join("\n")
        )
    }
}
