//! The server under attack, and its site.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use builder::toolchain::GuestToolchain;
use builder::{Workspace, handlers};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::options::Options;

pub(crate) const PAGE: &str = "/";
pub(crate) const PAGE_TEXT: &str = "<!doctype html><title>A page</title>It is here.\n";
pub(crate) const HELLO: &str = "/hello";
pub(crate) const ECHO: &str = "/echo";

/// The site's `wasgi.toml`: limits below the default, so that files reach them within seconds, and
/// all files are processed within minutes.
pub(crate) const CONFIG: &str = "[compile]\ncpu-time = \"5s\"\nwall-time = \"20s\"\n";

/// The site's good handlers.
const GOOD: [&str; 2] = ["hello.wasm", "echo.wasm"];

/// The time limit for the first page.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(120);

/// The time limit until the good handlers respond.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// The time limit for a shutdown.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// A separate site in the target folder: a page and two handlers.
#[derive(Debug)]
pub(crate) struct Site {
    folder: PathBuf,
    program: PathBuf,
    /// The folder of the demo site's handlers.
    pub(crate) originals: PathBuf,
}

impl Site {
    /// Builds the programs, and creates the site.
    ///
    /// # Errors
    ///
    /// Fails if something does not build, or can't be written.
    pub(crate) fn make(workspace: &Workspace, options: &Options, name: &str) -> Result<Self> {
        let toolchain = GuestToolchain::ensure(&workspace.root)?;
        let originals = handlers::build_tracked(workspace, &toolchain, None)?;
        let program = match &options.server {
            Some(program) => program.clone(),
            None => builder::server::build(workspace)?,
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
        fs::write(site.config(), CONFIG)?;
        for name in GOOD {
            fs::copy(site.originals.join(name), site.handlers().join(name))
                .with_context(|| format!("can't copy {name}"))?;
        }
        Ok(site)
    }

    pub(crate) fn handlers(&self) -> PathBuf {
        self.folder.join("handlers")
    }

    pub(crate) fn pages(&self) -> PathBuf {
        self.folder.join("html")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("wasgi.toml")
    }

    /// Replaces the folder of pages by a link to `folder`, which gets a copy of the page.
    ///
    /// # Errors
    ///
    /// Fails if a file or link can't be written.
    pub(crate) fn move_pages(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("index.html"), PAGE_TEXT).context("can't write a page")?;
        fs::remove_dir_all(self.pages()).context("can't remove the folder of pages")?;
        symlink(folder, self.pages()).context("can't make a link")
    }

    /// Returns the folder in which files are written before they are moved to the folder of
    /// handlers.
    pub(crate) fn aside(&self) -> PathBuf {
        self.folder.join("aside")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.join("code")
    }

    /// Deletes the compiled code.
    ///
    /// # Errors
    ///
    /// Fails if the files can't be deleted.
    pub(crate) fn empty_cache(&self) -> Result<()> {
        fs::remove_dir_all(self.cache()).context("can't empty the cache")?;
        fs::create_dir(self.cache()).context("can't make the cache's folder")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The time from just before the start to the first page.
    pub(crate) start_time: Duration,
    log: PathBuf,
}

impl Server {
    /// Starts the server, and waits for a page and the good handlers.
    ///
    /// # Errors
    ///
    /// Fails if it doesn't start, or they don't respond in time.
    pub(crate) fn start(site: &Site, options: &Options) -> Result<Self> {
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

    /// Waits until a target responds with status 200.
    ///
    /// # Errors
    ///
    /// Fails if it does not until then, or the server has ended.
    pub(crate) fn await_good(&mut self, target: &str, until: Instant) -> Result<()> {
        let mut client = Client::new(self.address);
        loop {
            self.expect_alive()?;
            match client.get(target) {
                Ok(response) if response.status == 200 => return Ok(()),
                _ if Instant::now() >= until => bail!("{target} does not respond with status 200"),
                _ => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Checks that the server is running.
    ///
    /// # Errors
    ///
    /// Fails if it has ended.
    pub(crate) fn expect_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server exited ({status}): {}", last_line(&self.log)),
        }
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Shuts the server down.
    ///
    /// # Errors
    ///
    /// Fails if it doesn't exit with success in time.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("it has no process ID")?;
        kill_process(pid, Signal::TERM).context("can't send SIGTERM to the server")?;
        let until = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the server exited with {status}");
                return Ok(());
            }
            ensure!(Instant::now() < until, "the server does not exit");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().next_back().unwrap_or("without a message");
    last.chars().take(300).collect()
}
