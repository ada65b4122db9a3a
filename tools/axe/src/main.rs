//! Checks pages in Chromium.
//!
//! `cargo xtask axe` checks the accessibility of the demo site's pages and of the pages that the
//! server generates: runs axe-core on each, light and dark, on a phone and on a desktop. `cargo
//! xtask browser` tests `wasgi dev`, measures it with `--measure`, or compares it with others with
//! `--others`.
//!
//! Chromium, Node and npm must be installed. axe-core and Playwright come from npm, each in one
//! version, whose hash is known. If a program is missing, this prints a line and does nothing.

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

/// A package of npm in one version.
struct Package {
    /// Its name and version.
    name: &'static str,
    /// The file that npm writes, and the BLAKE3 hash of its bytes.
    archive: &'static str,
    hash: &'static str,
    /// What is needed of it.
    path: &'static str,
}

/// axe-core, of which only a script is needed.
const AXE: Package = Package {
    name: "axe-core@4.11.0",
    archive: "axe-core-4.11.0.tgz",
    hash: "7519e15b558d9deceb043ea103104bc396d5f7eb271a91ace69139dbdb0ec0f9",
    path: "package/axe.min.js",
};

/// Playwright without browsers.
const PLAYWRIGHT: Package = Package {
    name: "playwright-core@1.65.1",
    archive: "playwright-core-1.65.1.tgz",
    hash: "e4c6009ff0ef6a046a5294b254384e525dbd8a193ba24f160794d549fca85130",
    path: "package",
};

/// The servers that `wasgi dev` is compared with, and their versions. They come with their
/// dependencies, without install scripts, and only for this measurement.
const OTHERS: [&str; 2] = ["vite@8.4.0", "live-server@1.2.2"];

/// The flag that compares with other servers.
const OTHERS_FLAG: &str = "--others";

/// The program that tests `wasgi dev`, relative to the repository's root.
const DEV: &str = "tests/browser/dev.mjs";

/// The program that checks pages, relative to the repository's root.
const LOOK: &str = "tests/browser/axe.mjs";

/// The names of Chromium's program in different packages.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Pages of the demo site that its start page does not link to, in the order in which they are
/// checked.
const UNLINKED: [&str; 3] = ["/nothing", "/bottle/", "/django/"];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let run = |workspace: &Workspace| match arguments.split_first() {
        Some((first, rest)) if first == "dev" => dev(workspace, rest),
        _ => run(workspace),
    };
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
    let Some(browser) = browser() else {
        return Ok(());
    };
    let script = AXE.fetch(&workspace.target.join("axe"))?;
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

/// Tests `wasgi dev` in Chromium, or measures it. `arguments` go to the program.
///
/// # Errors
///
/// Fails if something does not build, a package can't be downloaded, or a test fails.
fn dev(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let Some(browser) = browser() else {
        return Ok(());
    };
    let folder = workspace.target.join("axe");
    let axe = AXE.fetch(&folder)?;
    let modules = folder.join("node_modules");
    let playwright = PLAYWRIGHT.fetch(&folder.join("playwright"))?;
    fs::create_dir_all(&modules)?;
    let link = modules.join("playwright-core");
    if !link.exists() {
        std::os::unix::fs::symlink(&playwright, &link)
            .with_context(|| format!("can't make {}", link.display()))?;
    }
    let server = builder::server::build(workspace)?;
    let (flags, arguments): (Vec<&String>, Vec<&String>) = arguments
        .iter()
        .partition(|argument| *argument == OTHERS_FLAG);
    let mut program = Command::new("node");
    program
        .arg(workspace.root.join(DEV))
        .arg(browser)
        .arg(server)
        .arg("--axe")
        .arg(axe)
        .args(arguments)
        .current_dir(&folder);
    if !flags.is_empty() {
        program
            .arg(OTHERS_FLAG)
            .arg(others(&folder.join("others"))?);
    }
    processes::run(&mut program)
}

/// Installs the other servers in a folder, if necessary. Returns the folder of their packages.
///
/// # Errors
///
/// Fails if npm can't install them.
fn others(folder: &Path) -> Result<PathBuf> {
    let modules = folder.join("node_modules");
    if !modules.is_dir() {
        step(format!("npm install {}", OTHERS.join(" ")));
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--ignore-scripts", "--prefix"])
            .arg(folder)
            .args(OTHERS);
        processes::run(&mut npm)?;
    }
    Ok(modules)
}

/// Returns Chromium, if everything that is necessary to use it is installed.
fn browser() -> Option<PathBuf> {
    let browser = BROWSERS.iter().find_map(|name| find(name));
    let (Some(browser), Some(_), Some(_)) = (browser, find("node"), find("npm")) else {
        step("skipped: Chromium, Node or npm is not on the path (Debian: chromium, nodejs, npm)");
        return None;
    };
    Some(browser)
}

/// Returns the path of a program on the path.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

impl Package {
    /// Returns the path of what is needed, and downloads the package from npm if necessary.
    fn fetch(&self, folder: &Path) -> Result<PathBuf> {
        let archive = folder.join(self.archive);
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        if !archive.is_file() {
            step(format!("npm pack {}", self.name));
            processes::run(
                Command::new("npm")
                    .args(["pack", "--silent", self.name])
                    .current_dir(folder),
            )?;
        }
        let bytes =
            fs::read(&archive).with_context(|| format!("can't read {}", archive.display()))?;
        let found = blake3::hash(&bytes).to_string();
        ensure!(
            found == self.hash,
            "{}: has the hash {found}, but {} must have {}",
            archive.display(),
            self.name,
            self.hash
        );
        processes::run(
            Command::new("tar")
                .args(["-xzf", self.archive, self.path])
                .current_dir(folder),
        )?;
        Ok(folder.join(self.path))
    }
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
