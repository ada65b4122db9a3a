//! A running server in a measurement: starts it on its processors, sends requests, and ends it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use processes::Tree;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The time limit for a server to respond: compiling a handler without optimization takes seconds
/// on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The time limit for a shutdown. After it the server is killed.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The time limit for a response.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The polling interval until a server listens, which is the precision of a measured start.
const TRY_INTERVAL: Duration = Duration::from_micros(200);

/// A running server. Dropping it ends the processes.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    /// The time from just before the start to the first good response.
    pub(super) start_time: Duration,
}

impl Server {
    /// Starts a server on these processors and waits for its first response with status 200. Its
    /// output goes to a file.
    ///
    /// # Errors
    ///
    /// Fails if it can't be started, ends, or does not respond in time. The error contains the last
    /// line of its output.
    pub(super) fn start(
        command: &mut Command,
        cpus: &CpuSet,
        address: SocketAddr,
        path: &str,
        log: &Path,
    ) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("can't write {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let begin = Instant::now();
        let child = spawn_on(cpus, command)?;
        let mut server = Self {
            child,
            address,
            start_time: Duration::ZERO,
        };
        loop {
            if let Some(status) = server.child.try_wait()? {
                bail!("it exited ({status}): {}", reason(log));
            }
            match get(address, path) {
                Ok((200, _)) => break,
                Ok((status, _)) if begin.elapsed() > START_LIMIT / 10 => {
                    bail!("it responds with status {status}: {}", reason(log));
                }
                Err(error) if begin.elapsed() > START_LIMIT => {
                    return Err(error.context(format!("no response: {}", reason(log))));
                }
                Ok(_) | Err(_) => thread::sleep(TRY_INTERVAL),
            }
        }
        server.start_time = begin.elapsed();
        Ok(server)
    }

    /// Returns its processes.
    pub(super) fn tree(&self) -> Tree {
        Tree::from_root(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a process and its descendants: first with SIGTERM.
fn end(child: &mut Child) {
    let tree = Tree::from_root(child.id());
    let signal = |id: u32, signal| {
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        // Fails only if the process has already ended.
        let _ = pid.map(|pid| kill_process(pid, signal));
    };
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    signal(child.id(), Signal::TERM);
    let told = Instant::now();
    while told.elapsed() < END_LIMIT {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    for &id in tree.ids() {
        signal(id, Signal::KILL);
    }
    let _ = child.wait();
}

/// Starts a process on these processors, which it inherits from the starting thread.
pub(super) fn spawn_on(cpus: &CpuSet, command: &mut Command) -> Result<Child> {
    let own = sched_getaffinity(None)?;
    sched_setaffinity(None, cpus).context("can't choose the processors")?;
    let child = command.spawn();
    sched_setaffinity(None, &own)?;
    child.with_context(|| format!("can't start {}", command.get_program().display()))
}

/// Returns an unused address of this machine.
pub(super) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?)
}

/// Requests a path on a new connection. Returns the status and the body.
pub(super) fn get(address: SocketAddr, path: &str) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    // Don't wait for the end of the connection: the bare loop keeps it open.
    loop {
        let read = stream.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..read]);
        if let Some(whole) = parse(&answer, read == 0) {
            return Ok(whole);
        }
        ensure!(read > 0, "the response is truncated");
    }
}

/// Returns the status and the body of a complete response. Without a length it is complete when the
/// connection has ended.
fn parse(answer: &[u8], ended: bool) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let body = &answer[end + 4..];
    let body = match length {
        Some(length) => body.get(..length)?,
        None if ended => body,
        None => return None,
    };
    Some((status, body.to_vec()))
}

/// Returns a server's message that may be the reason: its first error, or else its last line.
fn reason(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let complaint = lines().find(|line| {
        let line = line.to_ascii_lowercase();
        line.contains("error") || line.contains("warn")
    });
    let line = complaint.or_else(|| lines().next_back());
    line.unwrap_or("without a message").to_owned()
}

/// Returns the path of a program: in the path, or in one of these folders.
pub(super) fn find_program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain(std::env::split_paths(&path));
    all.map(|folder| folder.join(name)).find(|file| {
        fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_status_and_body() {
        let answer = b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nabc";
        assert_eq!(parse(answer, false), Some((404, b"ab".to_vec())));
        let without_length = b"HTTP/1.0 200 OK\r\n\r\nabc";
        assert_eq!(parse(without_length, false), None);
        assert_eq!(parse(without_length, true), Some((200, b"abc".to_vec())));
        let cut_off = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
        assert_eq!(parse(cut_off, true), None);
        assert_eq!(parse(b"SSH-2.0", true), None);
    }

    #[test]
    fn a_server_that_ends_is_told_with_its_complaint() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'error: no port' >&2; echo bye; exit 3"]);
        let cpus = sched_getaffinity(None).expect("processors");
        let address = free_address().expect("a port");
        let log = folder.path().join("log");
        let error = Server::start(&mut command, &cpus, address, "/", &log).expect_err("it ends");
        assert!(error.to_string().contains("no port"), "{error}");
    }

    #[test]
    fn programs_are_found_in_the_path() {
        assert!(find_program("sh", &[]).is_some());
        assert_eq!(find_program("no-such-program", &[]), None);
    }
}
