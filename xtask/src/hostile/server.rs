//! The server under attack, and its site.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::options::Options;
use crate::bench::Tree;
use crate::guest_toolchain::GuestToolchain;
use crate::guests;
use crate::workspace::Workspace;

pub(super) const PAGE: &str = "/";
pub(super) const PAGE_TEXT: &str = "<!doctype html><title>A page</title>It is here.\n";
pub(super) const HELLO: &str = "/hello";
pub(super) const ECHO: &str = "/echo";

/// What the site's `wasgi.toml` says: lower limits than by default, so that files which reach them
/// do so in seconds, and all are through in minutes.
const CONFIG: &str = "[compile]\ncpu-time = \"5s\"\nwall-time = \"20s\"\n";

/// The site's good handlers.
const GOOD: [&str; 2] = ["hello.wasm", "echo.wasm"];

/// How long it may take to the first page before it counts as never.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How long it may take until the good handlers answer.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// How long it may take to end when it is told to.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// A site of its own below the target folder: a page and two handlers.
#[derive(Debug)]
pub(super) struct Site {
    folder: PathBuf,
    program: PathBuf,
    /// Where the demo site's handlers are.
    pub(super) originals: PathBuf,
}

impl Site {
    /// Builds what it needs, and makes it anew.
    ///
    /// # Errors
    ///
    /// When something does not build, or can't be written.
    pub(super) fn make(workspace: &Workspace, options: &Options, name: &str) -> Result<Self> {
        let toolchain = GuestToolchain::ensure(&workspace.root)?;
        let originals = guests::build_tracked(workspace, &toolchain, None, None)?;
        let program = match &options.server {
            Some(program) => program.clone(),
            None => crate::build_server(workspace)?,
        };
        let site = Self {
            folder: workspace.target.join(name),
            program,
            originals,
        };
        if site.folder.exists() {
            fs::remove_dir_all(&site.folder).context("can't remove the last site")?;
        }
        for folder in ["html", "handlers", "code"] {
            fs::create_dir_all(site.folder.join(folder)).context("can't make a folder")?;
        }
        fs::write(site.folder.join("html/index.html"), PAGE_TEXT)?;
        fs::write(site.folder.join("wasgi.toml"), CONFIG)?;
        for name in GOOD {
            fs::copy(site.originals.join(name), site.handlers().join(name))
                .with_context(|| format!("can't copy {name}"))?;
        }
        Ok(site)
    }

    pub(super) fn handlers(&self) -> PathBuf {
        self.folder.join("handlers")
    }

    /// Where files are written before they are moved into the folder of handlers.
    pub(super) fn aside(&self) -> PathBuf {
        self.folder.join("aside")
    }

    fn cache(&self) -> PathBuf {
        self.folder.join("code")
    }

    /// Throws the compiled code away.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub(super) fn empty_cache(&self) -> Result<()> {
        fs::remove_dir_all(self.cache()).context("can't empty the cache")?;
        fs::create_dir(self.cache()).context("can't make the cache's folder")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    /// From before it was started to its first page.
    pub(super) start_time: Duration,
    log: PathBuf,
}

impl Server {
    /// Starts it, and waits for a page and the good handlers.
    ///
    /// # Errors
    ///
    /// When it does not start, or they don't come in time.
    pub(super) fn start(site: &Site, options: &Options) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = File::options().create(true).append(true).open(site.log())?;
        let mut command = Command::new(&site.program);
        command
            .arg("serve")
            .arg(&site.folder)
            .args(["--addr", &address.to_string(), "--no-access-log"])
            .arg("--code-cache")
            .arg(site.cache())
            .args(&options.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let begin = Instant::now();
        let child = command.spawn().context("can't start the server")?;
        let mut server = Self {
            child,
            address,
            start_time: Duration::ZERO,
            log: site.log(),
        };
        server.await_good(PAGE, begin + START_LIMIT)?;
        server.start_time = begin.elapsed();
        for target in [HELLO, ECHO] {
            server.await_good(target, Instant::now() + READY_LIMIT)?;
        }
        Ok(server)
    }

    fn await_good(&mut self, target: &str, until: Instant) -> Result<()> {
        let mut client = Client::new(self.address);
        loop {
            self.expect_alive()?;
            match client.get(target) {
                Ok(answer) if answer.status == 200 => return Ok(()),
                _ if Instant::now() >= until => bail!("{target} does not answer"),
                _ => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// # Errors
    ///
    /// When it has ended.
    pub(super) fn expect_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server has ended ({status}): {}", last_line(&self.log)),
        }
    }

    /// The memory that the process has, in bytes, and that of those it has started.
    pub(super) fn resident_bytes(&self) -> (u64, u64) {
        let all = Tree::of(self.child.id()).resident_kib();
        let own = Tree::only(self.child.id()).resident_kib();
        let bytes = |kib: f64| (kib * 1024.0) as u64;
        (bytes(own), bytes(all - own))
    }

    /// Ends it in order.
    ///
    /// # Errors
    ///
    /// When it does not end in order and in time.
    pub(super) fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("it has no process ID")?;
        kill_process(pid, Signal::TERM).context("can't tell the server to end")?;
        let until = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the server ended with {status}");
                return Ok(());
            }
            ensure!(Instant::now() < until, "the server does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().next_back().unwrap_or("without a word");
    last.chars().take(300).collect()
}
