//! New systems for the check: a folder with a release of Debian, or with nothing, in which commands
//! run with the folder as their root.
//!
//! The commands of a system share a namespace of mounts and processes. It ends with this process,
//! so nothing stays mounted and no process is left. The network is the host's: servers listen on
//! free ports of a loopback address.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use builder::Workspace;
use processes::{run, step, text_of};

/// The line with which the server says that it is complete.
const COMPLETE: &str = "all handlers are loaded";

/// The time limit of a server's start: the first one compiles the runtime of Python.
const START_TIME_LIMIT: Duration = Duration::from_secs(900);

/// The interval of looks at a server's output.
const POLL: Duration = Duration::from_millis(50);

/// Where a server's output is, in its system.
const OUTPUT: &str = "tmp/output";

/// What dpkg itself changes, and what only other programs write.
const NOT_OURS: [&str; 9] = [
    "/dev",
    "/etc/.pwd.lock",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/var/cache/ldconfig",
    "/var/lib/dpkg",
    "/var/log",
];

/// The script of the handler in the checks.
pub(super) const HANDLER: &str = "def application(environ, start_response):\n    \
                       start_response(\"200 OK\", [])\n    return [b\"from python\"]\n";

/// The pages and handlers that a server of the checks serves, with a part of their text.
pub(super) const SERVED: [(&str, &str); 2] =
    [("/", "wasgi serves this page"), ("/hello", "from python")];

/// A new system, which is removed when this is dropped.
pub(super) struct System {
    /// Before the folder, because it is dropped first.
    namespace: Namespace,
    folder: tempfile::TempDir,
}

/// A server in a system.
pub(super) struct Server {
    pub(super) addr: String,
}

/// A process that holds a namespace open. Dropping it ends all processes in it.
struct Namespace {
    unshare: Child,
    /// The first process in the namespace.
    first: u32,
}

impl System {
    /// Copies a release of Debian, which is downloaded once.
    pub(super) fn debian(workspace: &Workspace, release: &str) -> Result<Self> {
        let base = workspace.target.join("package").join(release);
        if !base.is_dir() {
            step(format!("debootstrap {release}"));
            let draft = folder(workspace, release)?;
            // With debootstrap's keys of the archive, which know a release by its symbolic name.
            run(Command::new("debootstrap")
                .args(["--variant=minbase", release])
                .arg(draft.path()))
            .context("debootstrap is Debian's package of the same name")?;
            fs::rename(draft.keep(), &base)?;
        }
        let folder = folder(workspace, release)?;
        step(format!("a new system: {release}"));
        run(Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(base.join("."))
            .arg(folder.path()))?;
        Self::in_folder(folder)
    }

    /// Makes a system without a file: no library, no shell, no `/etc/passwd`.
    pub(super) fn empty(workspace: &Workspace) -> Result<Self> {
        let folder = folder(workspace, "empty")?;
        for name in ["dev", "opt", "proc", "tmp"] {
            fs::create_dir(folder.path().join(name))?;
        }
        step("a new system: empty");
        Self::in_folder(folder)
    }

    fn in_folder(folder: tempfile::TempDir) -> Result<Self> {
        let namespace = Namespace::new(folder.path())?;
        Ok(Self { namespace, folder })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.path(name)).with_context(|| format!("can't read /{name}"))
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        super::files::write(&self.path(name), text)
    }

    /// Writes the page and the handler of the checks into a site.
    pub(super) fn write_site(&self, site: &str) -> Result<()> {
        self.write(&format!("{site}/html/index.html"), SERVED[0].1)?;
        self.write_handler(site)
    }

    /// Writes the handler of the checks into a site.
    pub(super) fn write_handler(&self, site: &str) -> Result<()> {
        self.write(&format!("{site}/handlers/hello.py"), HANDLER)
    }

    /// Returns a command in this system.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--pid", "--target"])
            .arg(self.namespace.first.to_string())
            .arg("chroot")
            .arg(self.folder.path())
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Result<()> {
        run(&mut self.command(arguments))
    }

    /// Returns all files, except for those that dpkg itself changes.
    pub(super) fn files(&self) -> Result<BTreeSet<String>> {
        let listed = text_of(&mut self.command(&["find", "/", "-xdev"]))?;
        let is_ours = |name: &&str| {
            let is_in = |folder: &&str| {
                let rest = name.strip_prefix(*folder);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            // useradd keeps the last version of each of its files.
            !NOT_OURS.iter().any(is_in) && !name.ends_with('-')
        };
        Ok(listed.lines().filter(is_ours).map(str::to_owned).collect())
    }

    /// Starts a server, and waits until all of its handlers are loaded.
    pub(super) fn serve(&self, command: &mut Command) -> Result<Server> {
        let file = File::create(self.path(OUTPUT))?;
        let mut child = command.stdout(file).spawn()?;
        Server::from_output(&wait_for_start(&mut child, || self.read(OUTPUT))?)
    }
}

/// Waits until a server says that all of its handlers are loaded. Returns its output.
pub(super) fn wait_for_start(
    server: &mut Child,
    output: impl Fn() -> Result<String>,
) -> Result<String> {
    let started = Instant::now();
    while started.elapsed() < START_TIME_LIMIT {
        let status = server.try_wait()?;
        let text = output()?;
        if let Some(end) = text.lines().find(|line| line.starts_with(COMPLETE)) {
            ensure!(end == COMPLETE, "{text}");
            return Ok(text);
        }
        if let Some(status) = status {
            bail!("the server ended before it was complete: {status}");
        }
        thread::sleep(POLL);
    }
    bail!("the server was not complete after {START_TIME_LIMIT:?}")
}

fn folder(workspace: &Workspace, name: &str) -> Result<tempfile::TempDir> {
    let parent = workspace.target.join("package");
    fs::create_dir_all(&parent)?;
    let prefix = format!("{name}-");
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
    let folder = folder?;
    // The root of a system is for all users.
    run(Command::new("chmod").arg("755").arg(folder.path()))?;
    Ok(folder)
}

impl Server {
    /// Reads the address from what a server prints at its start.
    pub(super) fn from_output(output: &str) -> Result<Self> {
        let mut lines = output.lines();
        let addr = lines.find_map(|line| line.strip_prefix("listening on http://"));
        let addr = addr.context("the server printed no address")?;
        Ok(Self {
            addr: addr.trim_end_matches('/').to_owned(),
        })
    }

    /// Requests the page and the handler of the checks.
    pub(super) fn expect_site(&self) -> Result<()> {
        for (path, text) in SERVED {
            self.expect(path, text)?;
            step(format!("{path} is served"));
        }
        Ok(())
    }

    /// Sends one request on a connection of its own.
    pub(super) fn expect(&self, path: &str, text: &str) -> Result<()> {
        let mut stream = TcpStream::connect(&self.addr).context("no connection")?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        ensure!(
            response.starts_with("HTTP/1.1 200 ") && response.contains(text),
            "{path}: {response}"
        );
        Ok(())
    }
}

impl Namespace {
    fn new(root: &Path) -> Result<Self> {
        // `cat` ends with the pipe, if this process is killed.
        let script = "mount -t proc proc \"$0/proc\" && mount --rbind /dev \"$0/dev\" && \
                      echo ready && exec cat";
        let mut unshare = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .args(["sh", "-c", script])
            .arg(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start unshare")?;
        let stdout = unshare.stdout.take().context("it has an output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == "ready\n", "no new namespace: this needs root");
        let pid = unshare.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let first = children.trim().parse();
        let first = first.with_context(|| format!("unshare has other children: {children}"))?;
        Ok(Self { unshare, first })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Ends the namespace with all of its processes. Fails if they have ended.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
