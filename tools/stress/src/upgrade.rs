//! Replaces a server again and again while `wrk` sends requests.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use builder::Workspace;
use processes::step;
use rustix::process::{Pid, Signal, kill_process};

use crate::options::Options;
use crate::server::{HELLO, Site};

/// The connections of each `wrk`.
const CONNECTIONS: &str = "32";

/// The duration of one run of `wrk`; runs are repeated until there are enough requests.
const RUN: &str = "20s";

/// How long a response may take: `wrk` counts a slower one as failed, and the machine may be busy.
const TIMEOUT: &str = "30s";

/// How long a successor may take.
const UPGRADE_LIMIT: Duration = Duration::from_secs(60);

/// The interval of looks at the pid file.
const LOOK: Duration = Duration::from_millis(5);

/// The ways in which the requests are sent.
const MODES: [Mode; 4] = [
    Mode::new("http, keep-alive", "http", &[]),
    Mode::new(
        "http, one request each",
        "http",
        &["-H", "Connection: close"],
    ),
    Mode::new("https, keep-alive", "https", &[]),
    Mode::new(
        "https, one request each",
        "https",
        &["-H", "Connection: close"],
    ),
];

struct Mode {
    name: &'static str,
    scheme: &'static str,
    arguments: &'static [&'static str],
}

impl Mode {
    const fn new(
        name: &'static str,
        scheme: &'static str,
        arguments: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            scheme,
            arguments,
        }
    }
}

/// What `wrk` has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    requests: u64,
    failed: u64,
}

/// A server, and the process that serves now. Dropping it kills that process.
struct Chain {
    _first: Child,
    pid_file: PathBuf,
    port: u16,
}

/// Returns the default options: the requests of all modes together.
pub(crate) fn defaults() -> Options {
    Options {
        count: 1_000_000,
        interval: Duration::from_secs(1),
        ..Options::default()
    }
}

/// Replaces a server in intervals, and every third time by a program that fails.
///
/// # Errors
///
/// Fails if something does not build, if `wrk` is missing, or if a request fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let site = Site::make(workspace, options, "upgrade")?;
    let each = options.count as u64 / MODES.len() as u64;
    let mut total = Count::default();
    for mode in &MODES {
        let chain = Chain::start(&site, mode, options)?;
        let mut count = Count::default();
        let mut upgrades = 0;
        while count.requests < each {
            let wrk = start_wrk(mode, chain.port)?;
            let (more, replaced) = attack(&site, &chain, wrk, options.interval)?;
            count = count.plus(more);
            upgrades += replaced;
        }
        step(format!(
            "{}: {} requests, {} failed, {upgrades} upgrades",
            mode.name, count.requests, count.failed
        ));
        total = total.plus(count);
    }
    step(format!(
        "{} requests, {} failed",
        total.requests, total.failed
    ));
    ensure!(total.failed == 0, "{} requests failed", total.failed);
    Ok(())
}

/// Upgrades until `wrk` has ended. Returns its count, and the number of successful upgrades.
fn attack(site: &Site, chain: &Chain, mut wrk: Child, interval: Duration) -> Result<(Count, u64)> {
    let mut upgrades = 0;
    for number in 1.. {
        thread::sleep(interval);
        if wrk.try_wait()?.is_some() {
            break;
        }
        if number % 3 == 0 {
            let broken = site.aside_program()?;
            link(&broken, &site.link())?;
            let old = chain.pid()?;
            kill_process(old, Signal::USR2)?;
            thread::sleep(interval);
            ensure!(
                chain.pid()? == old,
                "a broken program has replaced the server"
            );
            link(site.program(), &site.link())?;
        } else {
            chain.upgrade()?;
            upgrades += 1;
        }
    }
    let output = wrk.wait_with_output()?;
    let output = String::from_utf8_lossy(&output.stdout);
    let count = parse(&output)?;
    if count.failed > 0 {
        step(format!("wrk says: {output}"));
    }
    Ok((count, upgrades))
}

impl Chain {
    fn start(site: &Site, mode: &Mode, options: &Options) -> Result<Self> {
        link(site.program(), &site.link())?;
        let pid_file = site.folder().join("server.pid");
        let mut config = String::from("[server]\npid-file = \"server.pid\"\n");
        if mode.scheme == "https" {
            let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
            fs::write(site.folder().join("cert.pem"), certificate.cert.pem())?;
            let key = certificate.signing_key.serialize_pem();
            fs::write(site.folder().join("key.pem"), key)?;
            config += "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";
        }
        fs::write(site.folder().join("wasgi.toml"), config)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let log = fs::File::create(site.log())?;
        let first = Command::new(site.link())
            .arg("serve")
            .arg(site.folder())
            .args(["--addr", &format!("127.0.0.1:{port}"), "--no-access-log"])
            .arg("--code-cache")
            .arg(site.cache())
            .args(&options.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("can't start the server")?;
        let chain = Self {
            _first: first,
            pid_file,
            port,
        };
        // The first server serves before its handlers are loaded, and its successor does not.
        let until = Instant::now() + UPGRADE_LIMIT;
        while chain.pid().is_err() {
            ensure!(
                Instant::now() < until,
                "it does not start: see {}",
                site.log().display()
            );
            thread::sleep(LOOK);
        }
        chain.upgrade()?;
        Ok(chain)
    }

    fn pid(&self) -> Result<Pid> {
        let text = fs::read_to_string(&self.pid_file).context("no pid file")?;
        Pid::from_raw(text.trim().parse()?).context("no process ID")
    }

    fn upgrade(&self) -> Result<()> {
        let old = self.pid()?;
        kill_process(old, Signal::USR2).context("can't signal the server")?;
        let until = Instant::now() + UPGRADE_LIMIT;
        while self.pid()? == old {
            ensure!(Instant::now() < until, "no successor serves");
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Ok(pid) = self.pid() {
            // Fails if it has ended.
            let _ = kill_process(pid, Signal::KILL);
            let _ = fs::remove_file(&self.pid_file);
        }
    }
}

impl Count {
    fn plus(self, more: Self) -> Self {
        Self {
            requests: self.requests + more.requests,
            failed: self.failed + more.failed,
        }
    }
}

impl Site {
    /// Returns the link by which the server is started.
    fn link(&self) -> PathBuf {
        self.folder().join("wasgi")
    }

    /// Returns a program that fails.
    fn aside_program(&self) -> Result<PathBuf> {
        let path = self.folder().join("broken");
        fs::write(&path, "#!/bin/sh\nexit 1\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

/// Makes a link lead to a program, without a moment in which there is none.
fn link(program: &Path, link: &Path) -> Result<()> {
    let draft = link.with_extension("new");
    let _ = fs::remove_file(&draft);
    symlink(program, &draft).context("can't make a link")?;
    fs::rename(&draft, link).context("can't replace a link")
}

fn start_wrk(mode: &Mode, port: u16) -> Result<Child> {
    Command::new("wrk")
        .args([
            "--threads",
            "1",
            "--connections",
            CONNECTIONS,
            "--duration",
            RUN,
            "--timeout",
            TIMEOUT,
        ])
        .args(mode.arguments)
        .arg(format!("{}://127.0.0.1:{port}{HELLO}", mode.scheme))
        .stdout(Stdio::piped())
        .spawn()
        .context("can't start wrk: install it (Debian: apt-get install wrk)")
}

/// Reads the output of `wrk`. It names failures only if there are any.
fn parse(output: &str) -> Result<Count> {
    let mut count = None;
    let mut failed = 0;
    for line in output.lines().map(str::trim) {
        let numbers = |text: &str| -> u64 {
            let words = text.split(|byte: char| !byte.is_ascii_digit());
            words.filter_map(|word| word.parse::<u64>().ok()).sum()
        };
        if let Some((requests, _)) = line.split_once(" requests in ") {
            count = requests.parse().ok();
        } else if let Some(errors) = line.strip_prefix("Socket errors:") {
            failed += numbers(errors);
        } else if let Some(errors) = line.strip_prefix("Non-2xx or 3xx responses:") {
            failed += numbers(errors);
        }
    }
    match count {
        Some(requests) => Ok(Count { requests, failed }),
        None => bail!("wrk has counted nothing: {output}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted() {
        let good = "  2 threads\n  56 requests in 1.00s, 7KB read\nRequests/sec: 1\n";
        let count = |requests, failed| Count { requests, failed };
        assert_eq!(parse(good).expect("a count"), count(56, 0));
        let bad = format!(
            "{good}  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx \
             responses: 5\n"
        );
        assert_eq!(parse(&bad).expect("a count"), count(56, 15));
        assert!(parse("").is_err());
    }
}
