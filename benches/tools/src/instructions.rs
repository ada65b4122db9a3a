//! Counts the instructions that a server's thread executes for a request, by stepping through it
//! one instruction at a time.
//!
//! That needs neither a processor's counters, which virtual machines hide, nor an emulator, which
//! can't reserve the address space that a pool of instances needs. The figure does not depend on
//! what else the machine does: all other threads of the server stand still, so no clock ticks, and
//! requests come one after the other. Nor does it depend on the machine's speed: the least of
//! several counts is taken, as a request may take so long that a second passes, and the server
//! formats the next date. What the kernel does for the thread is not in it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::arguments::Arguments;
use crate::fetch::Client;

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Requests before the first that is counted: what is made once and kept is there by then.
const WARM_UP_REQUESTS: usize = 100;

/// How often a thread is looked at that is about to block, and how often it has to be found asleep
/// in a row. While it is stepped through it never sleeps.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
const ASLEEP_COUNT: u32 = 5;

/// How long a thread may take to block, once its last answer has come.
const BLOCK_LIMIT: Duration = Duration::from_secs(10);

/// What tells the tracer that its thread is blocked for good. The server never sees it.
const END: Signal = Signal::SIGURG;

/// How long a thread may take to stop when it is told to.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How long no thread of a server may have run before they are stopped, how often that is looked
/// at, and how long it may take until it is so. A server looks at its files four times a second.
const REST_TIME: Duration = Duration::from_millis(100);
const REST_INTERVAL: Duration = Duration::from_millis(10);
const REST_LIMIT: Duration = Duration::from_secs(60);

/// The server, and what to ask it for.
#[derive(Debug)]
pub(crate) struct Options {
    address: SocketAddr,
    path: String,
    /// The name of the thread that serves.
    thread: String,
    requests: u64,
    server: Vec<String>,
}

impl Options {
    /// Takes its arguments.
    pub(crate) fn take(arguments: &mut Arguments) -> Result<Self> {
        let options = Self {
            address: arguments.need("--addr")?,
            path: arguments.need("--path")?,
            thread: arguments.need("--thread")?,
            requests: arguments.need("--requests")?,
            server: arguments.rest(),
        };
        arguments.finish()?;
        ensure!(!options.server.is_empty(), "no server stands behind `--`");
        ensure!(options.requests > 0, "no request is too few");
        Ok(options)
    }
}

/// Starts the server, counts, prints the instructions of one request, and ends the server.
///
/// # Errors
///
/// When the server does not answer, or its threads may not be traced.
pub(crate) fn count(options: &Options) -> Result<()> {
    let (program, arguments) = options.server.split_first().context("no server")?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("can't start {program}"))?;
    let server = Server(child);
    let mut client = Client::connect(options.address, &options.path, START_LIMIT)?;
    for _ in 0..WARM_UP_REQUESTS {
        client.ask()?;
    }
    // A thread that is stopped in the middle of what it does at the start may hold a lock that the
    // counted one needs.
    server.rest()?;
    let thread = Traced::take(&server, &options.thread)?;
    let (mut without, mut with) = (u64::MAX, u64::MAX);
    for _ in 0..options.requests {
        let count;
        (client, count) = thread.steps(client, 0)?;
        without = without.min(count);
        let count;
        (client, count) = thread.steps(client, 1)?;
        with = with.min(count);
    }
    let own = with.checked_sub(without).context("a request took less")?;
    println!("instructions {own}");
    Ok(())
}

/// A server that is ended when it is no longer needed.
#[derive(Debug)]
struct Server(Child);

impl Server {
    /// Waits until it has done what it does beside its first answers: until none of its threads
    /// runs.
    fn rest(&self) -> Result<()> {
        let started = Instant::now();
        let mut last = (started, None);
        while last.1.is_none() || last.0.elapsed() < REST_TIME {
            ensure!(
                started.elapsed() < REST_LIMIT,
                "the server does not come to rest"
            );
            thread::sleep(REST_INTERVAL);
            let switches = self.switches()?;
            if switches.is_none() || switches != last.1 {
                last = (Instant::now(), switches);
            }
        }
        Ok(())
    }

    /// How often its threads have been given a processor, and how many they are. None while one of
    /// them has it or wants it.
    fn switches(&self) -> Result<Option<(u64, usize)>> {
        let (mut switches, mut count) = (0, 0);
        for task in fs::read_dir(self.tasks())?.flatten() {
            // One that has ended is seen by their number.
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            for line in status.lines() {
                let (name, value) = line.split_once(':').unwrap_or_default();
                match name {
                    "State" if !value.trim_start().starts_with('S') => return Ok(None),
                    "voluntary_ctxt_switches" | "nonvoluntary_ctxt_switches" => {
                        switches += value.trim().parse::<u64>()?;
                    }
                    _ => {}
                }
            }
            count += 1;
        }
        Ok(Some((switches, count)))
    }

    /// Where the kernel lists its threads.
    fn tasks(&self) -> PathBuf {
        format!("/proc/{}/task", self.0.id()).into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not waited for: while its threads are traced, a process's end is only told when each of
        // theirs was asked for. This program is about to end too, and the kernel cleans up. One
        // that has ended by itself can't be killed, which is just as well.
        let _ = self.0.kill();
    }
}

/// A thread that is stepped through. The process's other threads stand still. A step is always
/// under way: the thread is about to stop behind it, or blocked in the kernel until something
/// comes.
#[derive(Debug)]
struct Traced {
    id: Pid,
}

impl Traced {
    /// Stops all threads of a server. The thread that calls it has to do the stepping, too.
    fn take(server: &Server, name: &str) -> Result<Self> {
        // However this program ends, no server is left that nobody steps through any more.
        let options = ptrace::Options::PTRACE_O_EXITKILL;
        let mut found = None;
        for task in fs::read_dir(server.tasks())?.flatten() {
            let id = Pid::from_raw(task.file_name().to_string_lossy().parse()?);
            match ptrace::seize(id, options) {
                // It was there for the start alone, and has ended.
                Err(Errno::ESRCH) => continue,
                seized => seized.context("the kernel does not let processes be traced here")?,
            }
            ptrace::interrupt(id)?;
            wait_for_stop(id)?;
            if fs::read_to_string(task.path().join("comm"))?.trim_end() == name {
                found = Some(id);
            }
        }
        let id = found.with_context(|| format!("the server has no thread {name}"))?;
        ptrace::step(id, None)?;
        Ok(Self { id })
    }

    /// Counts the steps while a client asks so often, and gives the client back.
    fn steps(&self, mut client: Client, requests: u64) -> Result<(Client, u64)> {
        let thread = self.id;
        let asking = thread::spawn(move || {
            let result = (0..requests).try_for_each(|_| client.ask());
            // Only now, as the server may have work to do behind its last answer.
            wait_until_blocked(thread)?;
            signal::kill(thread, END)?;
            result.map(|()| client)
        });
        let count = self.step_until_the_end()?;
        match asking.join() {
            Ok(client) => Ok((client?, count)),
            Err(_) => bail!("the client broke"),
        }
    }

    fn step_until_the_end(&self) -> Result<u64> {
        let mut count = 0;
        let mut last_place = None;
        loop {
            let stopped = waitpid(self.id, Some(WaitPidFlag::__WALL))?;
            match stopped {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                    // A repeated string instruction stops at each repetition, and is one.
                    let place = place(self.id)?;
                    count += u64::from(place.is_none() || place != last_place);
                    last_place = place;
                }
                WaitStatus::Stopped(_, END) => {}
                // Meant for the server: one of its processes has ended, say.
                WaitStatus::Stopped(_, signal) => {
                    ptrace::step(self.id, signal)?;
                    continue;
                }
                other => bail!("the server's thread did not step: {other:?}"),
            }
            // Without the signal: it was for this program.
            ptrace::step(self.id, None)?;
            if matches!(stopped, WaitStatus::Stopped(_, END)) {
                return Ok(count);
            }
        }
    }
}

/// Waits until a thread has been asleep for some time, whether it got anywhere before or not.
fn wait_until_blocked(id: Pid) -> Result<()> {
    let stat = format!("/proc/{id}/stat");
    let started = Instant::now();
    let mut asleep = 0;
    while asleep < ASLEEP_COUNT {
        if started.elapsed() > BLOCK_LIMIT {
            break;
        }
        thread::sleep(LOOK_INTERVAL);
        let stat = fs::read_to_string(&stat).context("the server has ended")?;
        // Behind the name, which is in brackets and may have spaces.
        let state = stat.rsplit(") ").next().unwrap_or_default();
        asleep = if state.starts_with('S') {
            asleep + 1
        } else {
            0
        };
    }
    Ok(())
}

fn wait_for_stop(id: Pid) -> Result<()> {
    let started = Instant::now();
    while waitpid(id, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))? == WaitStatus::StillAlive {
        ensure!(started.elapsed() < STOP_LIMIT, "a thread did not stop");
        thread::yield_now();
    }
    Ok(())
}

/// The address of the instruction that comes next.
#[cfg(target_arch = "x86_64")]
fn place(id: Pid) -> Result<Option<i64>> {
    /// Where the kernel's `struct user` has the register: behind sixteen others of eight bytes.
    const RIP_OFFSET: usize = 16 * 8;
    let offset = std::ptr::without_provenance_mut(RIP_OFFSET);
    Ok(Some(ptrace::read_user(id, offset)?))
}

/// Unknown, and not needed: other processors have no instruction that repeats itself.
#[cfg(not(target_arch = "x86_64"))]
fn place(_: Pid) -> Result<Option<i64>> {
    Ok(None)
}
