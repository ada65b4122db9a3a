//! Checks the accessibility of the demo site's pages and of the pages that the server generates:
//! runs axe-core on each in Chromium, light and dark, on a phone and on a desktop. The command is
//! `cargo xtask axe`.
//!
//! Chromium, Node and npm must be installed. axe-core comes from npm in one version, whose hash is
//! known. If a program is missing, this prints a line and does nothing.

#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use builder::toolchain::GuestToolchain;
use builder::{Workspace, handlers, tracked};
use processes::step;

/// The npm package of axe-core, with its version.
const PACKAGE: &str = "axe-core@4.11.0";

/// The file that npm writes, and the BLAKE3 hash of its bytes.
const ARCHIVE: (&str, &str) = (
    "axe-core-4.11.0.tgz",
    "7519e15b558d9deceb043ea103104bc396d5f7eb271a91ace69139dbdb0ec0f9",
);

/// The only file of the package that is needed.
const SCRIPT: &str = "package/axe.min.js";

/// The program that checks pages, relative to the repository's root.
const LOOK: &str = "tests/browser/axe.mjs";

/// The names of Chromium's program in different packages.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Pages of the demo site that its start page does not link to, in the order in which they are
/// checked.
const UNLINKED: [&str; 3] = ["/nothing", "/bottle/", "/django/"];

fn main() -> ExitCode {
    match Workspace::load().and_then(|workspace| run(&workspace)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("axe: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the site, serves it, and checks its pages.
///
/// # Errors
///
/// Fails if something does not build, axe-core can't be downloaded, or there is a finding.
fn run(workspace: &Workspace) -> Result<()> {
    let browser = BROWSERS.iter().find_map(|name| find(name));
    let (Some(browser), Some(_), Some(_)) = (browser, find("node"), find("npm")) else {
        step("skipped: Chromium, Node or npm is not on the path (Debian: chromium, nodejs, npm)");
        return Ok(());
    };
    let script = script(&workspace.target.join("axe"))?;
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    let demos = handlers::build_tracked(workspace, &toolchain, None)?;
    let server = builder::server::build(workspace)?;
    let demo_site = demo_site(workspace, &demos)?;
    let bare_site = bare_site()?;
    let demo = Server::start(&server, workspace, demo_site.path())?;
    let bare = Server::start(&server, workspace, bare_site.path())?;
    let mut look = Command::new("node");
    look.arg(workspace.root.join(LOOK))
        .arg(browser)
        .arg(script)
        .arg(format!("{}/", demo.url));
    for path in UNLINKED {
        let handler = format!("handlers/{}.wasm", path.trim_matches('/'));
        if !path.ends_with('/') || demo_site.path().join(handler).is_file() {
            look.arg(format!("{}{path}", demo.url));
        }
    }
    look.arg(format!("{}/", bare.url))
        .arg(format!("{}/nothing", bare.url));
    processes::run(&mut look)
}

/// Returns the path of a program on the path.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Returns the path of axe-core, and downloads it from npm if necessary.
fn script(folder: &Path) -> Result<PathBuf> {
    let (name, hash) = ARCHIVE;
    let archive = folder.join(name);
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    if !archive.is_file() {
        step(format!("npm pack {PACKAGE}"));
        processes::run(
            Command::new("npm")
                .args(["pack", "--silent", PACKAGE])
                .current_dir(folder),
        )?;
    }
    let bytes = fs::read(&archive).with_context(|| format!("can't read {}", archive.display()))?;
    let found = blake3::hash(&bytes).to_string();
    ensure!(
        found == hash,
        "{}: has the hash {found}, but {PACKAGE} must have {hash}",
        archive.display()
    );
    processes::run(
        Command::new("tar")
            .args(["-xzf", name, SCRIPT])
            .current_dir(folder),
    )?;
    Ok(folder.join(SCRIPT))
}

/// Creates the demo site, with those Python demos that are built.
fn demo_site(workspace: &Workspace, demos: &Path) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let handlers = folder.path().join("handlers");
    copy(
        &tracked::copy(workspace)?.join("html"),
        &folder.path().join("html"),
    )?;
    copy(demos, &handlers)?;
    let python = workspace.target.join("guests/python-demos");
    if python.is_dir() {
        copy(&python, &handlers)?;
    } else {
        step("skipping the pages of the Python demos: `cargo xtask python` was not run");
    }
    Ok(folder)
}

/// Creates a site whose pages are generated by the server: a directory listing, and errors.
fn bare_site() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for name in ["handlers", "html/a folder"] {
        fs::create_dir_all(folder.path().join(name))?;
    }
    fs::write(folder.path().join("html/notes & more.txt"), "Notes.\n")?;
    fs::write(
        folder.path().join("wasgi.toml"),
        "[pages]\nlisting = true\n",
    )?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let entries = from
        .read_dir()
        .with_context(|| format!("can't read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)
                .with_context(|| format!("can't copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// A server of a site. Dropping it kills the process.
struct Server {
    child: Child,
    /// The URL of the site, without a slash at the end.
    url: String,
}

impl Server {
    /// Starts the server, and waits until all handlers are loaded.
    fn start(program: &Path, workspace: &Workspace, site: &Path) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut child = Command::new(program)
            .arg("serve")
            .arg(site)
            .args([
                "--addr",
                &address.to_string(),
                "--no-access-log",
                "--code-cache",
            ])
            .arg(workspace.target.join("axe/cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("can't start the server")?;
        let said = child.stdout.take().context("no output")?;
        let server = Self {
            child,
            url: format!("http://{address}"),
        };
        for line in BufReader::new(said).lines() {
            if line?.starts_with("all handlers are loaded") {
                return Ok(server);
            }
        }
        bail!("the server exited: `wasgi serve {}`", site.display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
