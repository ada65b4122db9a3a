//! Counts the instructions that a server's thread executes for a request, by single-stepping it.
//!
//! This needs neither performance counters, which virtual machines hide, nor an emulator, which
//! can't reserve the address space of an instance pool. The count is independent of other load: all
//! other threads of the server are stopped, so no clock ticks, and requests are sequential. Each
//! response begins in another second than the one before, so each count includes the formatting of
//! one date. The kernel's work for the thread is not included.

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
use serde_json::json;

use crate::arguments::Arguments;
use crate::fetch::Client;

/// The time limit for a server to listen.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The number of requests before the first count: afterwards everything that is created once
/// exists.
const WARM_UP_REQUESTS: usize = 100;

/// The polling interval for a thread that is about to block, and how many times in a row it must be
/// asleep. A thread that is being stepped never sleeps.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
const ASLEEP_COUNT: u32 = 5;

/// The time limit for a thread to block after its last response.
const BLOCK_LIMIT: Duration = Duration::from_secs(10);

/// The signal that tells the tracer that its thread has blocked. The server never receives it.
const END: Signal = Signal::SIGURG;

/// The time limit for a thread to stop after a request to do so.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The pause before a counted request. The server formats a date once per second, which is some 900
/// instructions: without the pause, it would depend on the machine's speed whether a count includes
/// one.
const DATE_INTERVAL: Duration = Duration::from_millis(1100);

/// How long no thread of a server may run before they are stopped, the polling interval, and the
/// time limit. A server polls its files four times per second.
const REST_TIME: Duration = Duration::from_millis(100);
const REST_INTERVAL: Duration = Duration::from_millis(10);
const REST_LIMIT: Duration = Duration::from_secs(60);

/// The server, and the request.
#[derive(Debug)]
pub(crate) struct Options {
    address: SocketAddr,
    path: String,
    /// The name of the thread that serves requests.
    thread: String,
    requests: u64,
    server: Vec<String>,
}

impl Options {
    /// Parses the arguments.
    pub(crate) fn take(arguments: &mut Arguments) -> Result<Self> {
        let options = Self {
            address: arguments.need("--addr")?,
            path: arguments.need("--path")?,
            thread: arguments.need("--thread")?,
            requests: arguments.need("--requests")?,
            server: arguments.rest(),
        };
        arguments.finish()?;
        ensure!(
            !options.server.is_empty(),
            "the server's command must follow `--`"
        );
        ensure!(options.requests > 0, "--requests must be greater than zero");
        Ok(options)
    }
}

/// Starts the server, counts the instructions of one request, prints the count as JSON, and ends
/// the server.
///
/// # Errors
///
/// Fails if the server does not respond, or its threads can't be traced.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (program, arguments) = options
        .server
        .split_first()
        .context("the server's command must follow `--`")?;
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
    // A thread that is stopped during start-up work could hold a lock that the counted thread
    // needs.
    server.rest()?;
    let thread = Traced::take(&server, &options.thread)?;
    let (mut without, mut with) = (u64::MAX, u64::MAX);
    for _ in 0..options.requests {
        let count;
        (client, count) = thread.steps(client, 0)?;
        without = without.min(count);
        thread::sleep(DATE_INTERVAL);
        let count;
        (client, count) = thread.steps(client, 1)?;
        with = with.min(count);
    }
    let own = with
        .checked_sub(without)
        .context("a request executed fewer instructions than none")?;
    println!("{}", json!({ "instructions": own }));
    Ok(())
}

/// A server. Dropping it kills the process.
#[derive(Debug)]
struct Server(Child);

impl Server {
    /// Waits until the server has finished its start-up work: until none of its threads runs.
    fn rest(&self) -> Result<()> {
        let started = Instant::now();
        let mut last = (started, None);
        while last.1.is_none() || last.0.elapsed() < REST_TIME {
            ensure!(
                started.elapsed() < REST_LIMIT,
                "the server did not become idle"
            );
            thread::sleep(REST_INTERVAL);
            let switches = self.switches()?;
            if switches.is_none() || switches != last.1 {
                last = (Instant::now(), switches);
            }
        }
        Ok(())
    }

    /// Returns the number of context switches of its threads, and the number of threads. Returns
    /// none while a thread runs or is runnable.
    fn switches(&self) -> Result<Option<(u64, usize)>> {
        let (mut switches, mut count) = (0, 0);
        for task in fs::read_dir(self.tasks())?.flatten() {
            // The number of threads reveals one that has ended.
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

    /// Returns the folder in which the kernel lists its threads.
    fn tasks(&self) -> PathBuf {
        format!("/proc/{}/task", self.0.id()).into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not waited for: while the threads are traced, the end of a process is only reported after
        // that of each thread has been collected. This program is about to end too, and the kernel
        // cleans up. Fails only if the process has already ended.
        let _ = self.0.kill();
    }
}

/// A thread that is single-stepped. The process's other threads are stopped. A step is always in
/// progress: the thread is about to stop after it, or is blocked in the kernel.
#[derive(Debug)]
struct Traced {
    id: Pid,
}

impl Traced {
    /// Stops all threads of a server. The same thread must then perform the stepping.
    fn take(server: &Server, name: &str) -> Result<Self> {
        // The server is killed when this program ends for any reason, since its threads would stay
        // stopped.
        let options = ptrace::Options::PTRACE_O_EXITKILL;
        let mut found = None;
        for task in fs::read_dir(server.tasks())?.flatten() {
            let id = Pid::from_raw(task.file_name().to_string_lossy().parse()?);
            match ptrace::seize(id, options) {
                // A temporary thread that has ended.
                Err(Errno::ESRCH) => continue,
                seized => seized.context("the kernel does not permit tracing")?,
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

    /// Counts the steps while a client sends `requests` requests. Returns the client.
    fn steps(&self, mut client: Client, requests: u64) -> Result<(Client, u64)> {
        let thread = self.id;
        let asking = thread::spawn(move || {
            let result = (0..requests).try_for_each(|_| client.ask());
            // Only now, since the server may have work to do after its last response.
            wait_until_blocked(thread)?;
            signal::kill(thread, END)?;
            result.map(|()| client)
        });
        let count = self.step_until_the_end()?;
        match asking.join() {
            Ok(client) => Ok((client?, count)),
            Err(_) => bail!("the client panicked"),
        }
    }

    fn step_until_the_end(&self) -> Result<u64> {
        let mut count = 0;
        let mut last_place = None;
        loop {
            let stopped = waitpid(self.id, Some(WaitPidFlag::__WALL))?;
            match stopped {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                    // A repeated string instruction stops at each repetition, but counts once.
                    let place = place(self.id)?;
                    count += u64::from(place.is_none() || place != last_place);
                    last_place = place;
                }
                WaitStatus::Stopped(_, END) => {}
                // A signal for the server, for example that a child process has ended.
                WaitStatus::Stopped(_, signal) => {
                    ptrace::step(self.id, signal)?;
                    continue;
                }
                other => bail!("the server's thread did not step: {other:?}"),
            }
            // Without the signal, which was for this program.
            ptrace::step(self.id, None)?;
            if matches!(stopped, WaitStatus::Stopped(_, END)) {
                return Ok(count);
            }
        }
    }
}

/// Waits until a thread has been asleep for some time.
fn wait_until_blocked(id: Pid) -> Result<()> {
    let stat = format!("/proc/{id}/stat");
    let started = Instant::now();
    let mut asleep = 0;
    while asleep < ASLEEP_COUNT {
        if started.elapsed() > BLOCK_LIMIT {
            break;
        }
        thread::sleep(LOOK_INTERVAL);
        let stat = fs::read_to_string(&stat).context("the server exited")?;
        // The name precedes it in parentheses, and may contain spaces.
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

/// Returns the address of the next instruction.
#[cfg(target_arch = "x86_64")]
fn place(id: Pid) -> Result<Option<i64>> {
    /// The register's offset in the kernel's `struct user`: after sixteen others of eight bytes.
    const RIP_OFFSET: usize = 16 * 8;
    let offset = std::ptr::without_provenance_mut(RIP_OFFSET);
    Ok(Some(ptrace::read_user(id, offset)?))
}

/// Returns none: other architectures have no repeated instructions.
#[cfg(not(target_arch = "x86_64"))]
fn place(_: Pid) -> Result<Option<i64>> {
    Ok(None)
}
