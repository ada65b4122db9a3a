//! `wasgi upgrade`: replaces a running server by its program's current file.

use std::fs::{self, DirEntry, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::admin::{self, AdminAddr};
use crate::{cli, regular_file, upgrade};

/// The interval of looks at the running server.
const POLL: Duration = Duration::from_millis(100);

/// How long to wait beyond `server.upgrade-timeout`, after which the server itself gives up.
const MARGIN: Duration = Duration::from_secs(15);

/// How long there may be neither a server nor a process that is to become one. A successor takes
/// milliseconds to start.
const GONE_PATIENCE: Duration = Duration::from_secs(10);

/// The maximum length of a pid file, in bytes.
const PID_FILE_BYTES: u64 = 64;

/// The maximum length of `/proc/PID/status`, in bytes: it has some sixty short lines.
const STATUS_BYTES: u64 = 64 << 10;

/// Where a running server says what it is.
enum Source {
    Admin(AdminAddr),
    PidFile(PathBuf),
}

/// What a running server says.
struct State {
    pid: Pid,
    /// The number of attempts to upgrade it.
    attempts: u64,
    /// Why the last attempt has failed, if it has.
    failed: Option<String>,
}

/// Runs `wasgi upgrade`: waits until a successor serves.
///
/// # Errors
///
/// Fails if no server is found, or if it continues without a successor.
pub fn upgrade(arguments: &cli::Upgrade) -> anyhow::Result<ExitCode> {
    let (resolved, _) = arguments.site.load()?;
    let server = resolved.config.server;
    let source = match (resolved.config.admin.addr, server.pid_file) {
        (Some(addr), _) => Source::Admin(addr),
        (None, Some(path)) => Source::PidFile(path),
        (None, None) => bail!(
            "no way to find the running server: set admin.addr or server.pid-file, or send its \
             process SIGUSR2"
        ),
    };
    let State {
        pid: old, attempts, ..
    } = source.look()?;
    request(old)?;
    let until = Instant::now() + server.upgrade_timeout + MARGIN;
    let mut seen = Instant::now();
    while Instant::now() < until {
        thread::sleep(POLL);
        let now = source.look();
        if successor_runs(old) {
            seen = Instant::now();
        }
        // The listener may be between two processes.
        let gone = seen.elapsed() >= GONE_PATIENCE;
        match now {
            Ok(now) if now.pid != old => {
                println!("process {} serves instead of process {old}", now.pid);
                return Ok(ExitCode::SUCCESS);
            }
            Ok(State {
                failed: Some(why),
                attempts: count,
                ..
            }) if count > attempts => bail!("process {old} continues: {why}"),
            Ok(_) if gone => bail!("process {old} continues: its log says why"),
            Err(_) if gone && test_kill_process(old) == Err(Errno::SRCH) => {
                bail!("process {old} has ended, and no other serves: its log says why")
            }
            Ok(_) | Err(_) => {}
        }
    }
    bail!("process {old} continues: its log says why")
}

/// Makes a server start its successor.
fn request(server: Pid) -> anyhow::Result<()> {
    const HAS_ENDED: &str = "it has ended";
    let requested = handles_upgrades(server).and_then(|handles| {
        // The signal would end another program.
        ensure!(
            handles,
            "it doesn't handle SIGUSR2: it is an older wasgi, or another program"
        );
        kill_process(server, Signal::USR2).map_err(|error| match error {
            Errno::SRCH => anyhow!(HAS_ENDED),
            error => anyhow!("{error}: run this as the server's user"),
        })
    });
    requested.with_context(|| format!("can't upgrade process {server}"))
}

/// Reports whether a process catches SIGUSR2 (proc_pid_status(5)).
fn handles_upgrades(process: Pid) -> anyhow::Result<bool> {
    let path = format!("/proc/{process}/status");
    let status = regular_file::read(Path::new(&path), STATUS_BYTES)
        .map_err(|error| anyhow!("{path}: {error}"))?;
    let status = String::from_utf8_lossy(&status);
    let mut lines = status.lines();
    let caught = lines.find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let bit = 1 << (Signal::USR2.as_raw() - 1);
    Ok(caught.is_some_and(|caught| caught & bit != 0))
}

/// Reports whether there is a process that is to replace `server`.
fn successor_runs(server: Pid) -> bool {
    let flag = upgrade::flag(server.as_raw_nonzero().get().unsigned_abs());
    let is_it = |entry: &DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|argument| argument == flag.as_bytes())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.into_iter().any(|entry| is_it(&entry))
}

impl Source {
    fn look(&self) -> anyhow::Result<State> {
        match self {
            Self::Admin(addr) => {
                let status = admin::get(addr, "/status").context("admin.addr")?;
                let status: Value = serde_json::from_str(&status)
                    .with_context(|| format!("admin.addr: {addr}: the answer is no JSON"))?;
                let pid = status.get("pid").and_then(|pid| pid.as_i64());
                let attempts = status.pointer("/upgrade/attempts");
                let failed = status.pointer("/upgrade/failed");
                Ok(State {
                    pid: pid_of(pid).context("the server is an older wasgi without upgrades")?,
                    attempts: attempts.and_then(|count| count.as_u64()).unwrap_or(0),
                    failed: failed.and_then(|why| why.as_str()).map(str::to_owned),
                })
            }
            Self::PidFile(path) => Ok(State {
                pid: read_pid(path)?,
                attempts: 0,
                failed: None,
            }),
        }
    }
}

/// Reads a pid file. The server holds its lock: the file of one that was killed is not locked, and
/// its number may belong to any process.
fn read_pid(path: &Path) -> anyhow::Result<Pid> {
    let shown = path.display();
    let failed = |error: &dyn std::fmt::Display| anyhow!("server.pid-file: {shown}: {error}");
    let text = regular_file::read(path, PID_FILE_BYTES).map_err(|error| failed(&error))?;
    let file = File::open(path).map_err(|error| failed(&error))?;
    if file.try_lock_shared().is_ok() {
        return Err(failed(&"the server that wrote it has ended"));
    }
    let text = String::from_utf8_lossy(&text);
    pid_of(text.trim().parse().ok()).ok_or_else(|| failed(&"no process ID in it"))
}

fn pid_of(number: Option<i64>) -> Option<Pid> {
    let number = i32::try_from(number?).ok()?;
    (number > 0).then(|| Pid::from_raw(number)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_catch_the_signal_does_not_get_it() {
        let error = request(rustix::process::getpid()).expect_err("this test");
        assert!(format!("{error:#}").contains("doesn't handle SIGUSR2"));
    }
}
