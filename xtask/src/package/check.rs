//! Checks the packages in new systems: of Debian 12 for the Debian package, and of another release
//! for the archive. Needs root and debootstrap, which downloads the systems.
//!
//! Commands run in a new mount namespace, so nothing stays mounted. The network is the host's: the
//! server listens on a free port of a loopback address.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use builder::Workspace;
use processes::{run, step, text_of};

use super::Packages;

/// The release for which the package is built.
const DEBIAN: &str = "bookworm";

/// Another release, with a later libc.
const OTHER: &str = "trixie";

/// The line with which the server says that it is complete.
const COMPLETE: &str = "all handlers are loaded";

/// What dpkg itself changes, and what only other programs write.
const NOT_OURS: [&str; 6] = [
    "/var/lib/dpkg",
    "/var/log",
    "/var/cache/ldconfig",
    "/proc",
    "/etc/.pwd.lock",
    "/run",
];

/// The script of the handler in the check.
const HANDLER: &str = "def application(environ, start_response):\n    \
                       start_response(\"200 OK\", [])\n    return [b\"from python\"]\n";

/// Installs, uses, upgrades, removes and purges the package, and uses the archive.
///
/// # Errors
///
/// Fails if anything doesn't work, or if something is left.
pub(super) fn check(workspace: &Workspace, packages: &Packages, next: Option<&Path>) -> Result<()> {
    if let (Some(deb), Some(next)) = (&packages.deb, next) {
        let system = System::new(workspace, DEBIAN)?;
        check_deb(&system, deb, next)?;
    }
    let system = System::new(workspace, OTHER)?;
    check_archive(&system, &packages.archive)
}

fn check_deb(system: &System, deb: &Path, next: &Path) -> Result<()> {
    let before = system.files()?;
    let users = system.read("etc/passwd")?;
    step("installed");
    system.install(deb)?;
    ensure!(system.read("etc/passwd")?.contains("\nwasgi:"), "no user");
    system.write("var/lib/wasgi/site/handlers/hello.py", HANDLER)?;
    system.expect_site()?;
    for file in [
        "usr/share/man/man1/wasgi.1.gz",
        "usr/share/doc/wasgi/copyright",
    ] {
        ensure!(system.path(file).is_file(), "no {file}");
    }
    step("upgraded");
    let config = "[server]\nserver-field = false\n[state]\nfolder = \"/var/lib/wasgi/state\"\n";
    system.write("etc/wasgi/wasgi.toml", config)?;
    system.install(next)?;
    ensure!(
        system.read("etc/wasgi/wasgi.toml")? == config,
        "the upgrade has changed the configuration"
    );
    system.expect_site()?;
    step("removed");
    system.run(&["dpkg", "--remove", "wasgi"])?;
    ensure!(
        !system.path("usr/bin/wasgi").exists(),
        "the program is left"
    );
    ensure!(
        system.path("etc/wasgi/wasgi.toml").is_file()
            && system.path("var/lib/wasgi/site/html/index.html").is_file(),
        "the configuration or the site is gone before a purge"
    );
    step("purged");
    system.run(&["dpkg", "--purge", "wasgi"])?;
    let left: Vec<String> = system.files()?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "left after the purge: {}", left.join(", "));
    ensure!(system.read("etc/passwd")? == users, "the user is left");
    Ok(())
}

fn check_archive(system: &System, archive: &Path) -> Result<()> {
    step("unpacked");
    let folder = system.path("opt");
    run(Command::new("tar")
        .args(["--strip-components=1", "-C"])
        .arg(&folder)
        .arg("-xf")
        .arg(archive))?;
    system.write("srv/site/html/index.html", "wasgi serves this page")?;
    system.write("srv/site/handlers/hello.py", HANDLER)?;
    let server = system.serve(&[
        "env",
        "HOME=/root",
        "/opt/bin/wasgi",
        "serve",
        "/srv/site",
        "--addr",
        "127.0.0.1:0",
    ])?;
    server.expect_site()
}

/// A new system in a folder, which is removed when this is dropped.
struct System(tempfile::TempDir);

impl System {
    /// Copies a release of Debian, which is downloaded once.
    fn new(workspace: &Workspace, release: &str) -> Result<Self> {
        ensure!(
            text_of(Command::new("id").arg("-u"))?.trim() == "0",
            "--check makes new systems, for which it must run as root"
        );
        let base = workspace.target.join("package").join(release);
        if !base.join("usr/bin/dpkg").is_file() {
            step(format!("debootstrap {release}"));
            // With debootstrap's keys of the archive, which know a release by its symbolic name.
            run(Command::new("debootstrap")
                .args(["--variant=minbase", release])
                .arg(&base))
            .context("debootstrap is Debian's package of the same name")?;
        }
        let folder = tempfile::Builder::new()
            .prefix(&format!("{release}-"))
            .tempdir_in(workspace.target.join("package"))?;
        step(format!("a new system: {release}"));
        run(Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(base.join("."))
            .arg(folder.path()))?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.path(name)).with_context(|| format!("can't read /{name}"))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        super::write(&self.path(name), text)
    }

    /// Returns a command in this system, with its own `/proc`.
    fn command(&self, arguments: &[&str]) -> Command {
        let script = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                script,
            ])
            .arg(self.0.path())
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        run(&mut self.command(arguments))
    }

    /// Installs a package as an administrator does who keeps the configuration.
    fn install(&self, deb: &Path) -> Result<()> {
        fs::copy(deb, self.path("tmp/wasgi.deb"))?;
        self.run(&["dpkg", "--force-confold", "--install", "/tmp/wasgi.deb"])?;
        Ok(fs::remove_file(self.path("tmp/wasgi.deb"))?)
    }

    /// Returns all files, except for those that dpkg itself changes.
    fn files(&self) -> Result<BTreeSet<String>> {
        let listed = text_of(&mut self.command(&["find", "/", "-xdev"]))?;
        let is_ours = |name: &&str| {
            let is_below = |folder: &&str| name.starts_with(*folder);
            !NOT_OURS.iter().any(is_below) && !name.ends_with('-')
        };
        Ok(listed.lines().filter(is_ours).map(str::to_owned).collect())
    }

    /// Serves the package's site as its unit does, and requests a page and a handler.
    fn expect_site(&self) -> Result<()> {
        let server = self.serve(&[
            "setpriv",
            "--reuid=wasgi",
            "--regid=wasgi",
            "--init-groups",
            "env",
            "XDG_CACHE_HOME=/var/cache",
            "/usr/bin/wasgi",
            "serve",
            "/var/lib/wasgi/site",
            "--config",
            "/etc/wasgi/wasgi.toml",
            "--code-cache",
            "/var/cache/wasgi/code",
            "--addr",
            "127.0.0.1:0",
        ])?;
        server.expect_site()
    }

    fn serve(&self, arguments: &[&str]) -> Result<Server> {
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("it has an output")?;
        let mut server = Server {
            child,
            addr: String::new(),
        };
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if let Some(addr) = line.strip_prefix("listening on http://") {
                server.addr = addr.trim_end_matches('/').to_owned();
            }
            if line.starts_with(COMPLETE) {
                ensure!(line == COMPLETE, "{line}");
                return Ok(server);
            }
        }
        bail!("the server ended before it was complete")
    }
}

/// A server in a system, which is ended when this is dropped.
struct Server {
    child: Child,
    addr: String,
}

impl Server {
    fn expect_site(&self) -> Result<()> {
        for (path, text) in [("/", "wasgi serves this page"), ("/hello", "from python")] {
            let mut stream = TcpStream::connect(&self.addr)?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut response = String::new();
            stream.read_to_string(&mut response)?;
            ensure!(
                response.starts_with("HTTP/1.1 200 ") && response.contains(text),
                "{path}: {response}"
            );
            step(format!("{path} is served"));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ends the namespace with all of its processes. Fails if they have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
