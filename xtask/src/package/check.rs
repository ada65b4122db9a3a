//! Checks the packages in new systems: of Debian 12 for the Debian package, and of another release,
//! or of no file at all for a static program, for the archive. Needs root and debootstrap, which
//! downloads the systems.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use builder::Workspace;
use processes::{run, step, text_of};

use super::files::Packages;
use super::system::{SERVED, Server, System};
use super::{image, unit};

/// The release for which the package is built.
const DEBIAN: &str = "bookworm";

/// Another release, with a later libc.
const OTHER: &str = "trixie";

/// The site and the configuration of the package.
const SITE: &str = "var/lib/wasgi/site";
const CONFIG: &str = "etc/wasgi/wasgi.toml";

/// The file with the server's process ID.
const PID: &str = "run/wasgi/wasgi.pid";

/// The configuration of an administrator.
const OWN_CONFIG: &str = "[server]\nserver-field = false\npid-file = \"/run/wasgi/wasgi.pid\"\n\
                          [state]\nfolder = \"/var/lib/wasgi/state\"\n";

/// The key with which a server refuses to be upgraded.
const CONFINED: &str = "[server]\nconfine = \"best-effort\"\n";

/// Installs, uses, upgrades, removes and purges the package, and uses the archive.
///
/// # Errors
///
/// Fails if anything doesn't work, or if something is left.
pub(super) fn check(workspace: &Workspace, packages: &Packages, next: Option<&Path>) -> Result<()> {
    ensure!(
        text_of(Command::new("id").arg("-u"))?.trim() == "0",
        "--check makes new systems, for which it must run as root"
    );
    let (Some(deb), Some(next)) = (&packages.deb, next) else {
        check_archive(&System::empty(workspace)?, &packages.archive)?;
        return image::check(workspace);
    };
    lint(deb)?;
    check_deb(&System::debian(workspace, DEBIAN)?, deb, next)?;
    check_archive(&System::debian(workspace, OTHER)?, &packages.archive)
}

/// Runs Debian's own checks of packages, if they are installed.
fn lint(deb: &Path) -> Result<()> {
    if Command::new("lintian").arg("--version").output().is_err() {
        step("SKIPPED: lintian (apt-get install lintian)");
        return Ok(());
    }
    step("lintian");
    run(Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error"])
        .arg(deb))
}

fn check_deb(system: &System, deb: &Path, next: &Path) -> Result<()> {
    unit::stand_in(system)?;
    let before = system.files()?;
    let users = system.read("etc/passwd")?;
    check_installation(system, deb)?;
    check_upgrade(system, next)?;
    check_restarts(system, next)?;
    step("removed");
    system.run(&["dpkg", "--remove", "wasgi"])?;
    expect_call(system, "stop", true)?;
    ensure!(
        !system.path("usr/bin/wasgi").exists(),
        "the program is left"
    );
    ensure!(
        system.path(CONFIG).is_file() && system.path(SITE).join("html/index.html").is_file(),
        "the configuration or the site is gone before a purge"
    );
    step("purged");
    system.run(&["dpkg", "--purge", "wasgi"])?;
    let after = system.files()?;
    let changed: Vec<&String> = after.symmetric_difference(&before).collect();
    ensure!(
        changed.is_empty(),
        "changed after the purge: {}",
        changed
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    ensure!(system.read("etc/passwd")? == users, "the user is left");
    step(format!("the same {} files as before", after.len()));
    Ok(())
}

fn check_installation(system: &System, deb: &Path) -> Result<()> {
    step("installed");
    install(system, deb)?;
    expect_call(system, "restart", true)?;
    ensure!(system.read("etc/passwd")?.contains("\nwasgi:"), "no user");
    for file in [
        "usr/share/man/man1/wasgi.1.gz",
        "usr/share/doc/wasgi/copyright",
        "etc/systemd/system/multi-user.target.wants/wasgi.service",
    ] {
        ensure!(system.path(file).symlink_metadata().is_ok(), "no {file}");
    }
    system.write_handler(SITE)
}

/// Upgrades a server that serves: no request fails, and the administrator's configuration stays.
fn check_upgrade(system: &System, next: &Path) -> Result<()> {
    system.write(CONFIG, OWN_CONFIG)?;
    let server = unit::start(system)?;
    server.expect_site()?;
    let old = system.read(PID)?;
    step("upgraded");
    let requests = under_load(&server, || install(system, next))?;
    expect_call(system, "restart", false)?;
    let new = system.read(PID)?;
    ensure!(new != old, "process {old} has not been replaced");
    step(format!(
        "{requests} requests during the upgrade, of which none failed"
    ));
    server.expect_site()?;
    ensure!(
        system.read(CONFIG)? == OWN_CONFIG,
        "the upgrade has changed the configuration"
    );
    kill(system)
}

/// Upgrades where a server can't be replaced: where it refuses, and where the unit has changed; and
/// where a restart would end a server, because its configuration has become invalid.
fn check_restarts(system: &System, next: &Path) -> Result<()> {
    step("restarted, where the server refuses");
    let refuses = format!("{CONFINED}{}", OWN_CONFIG.trim_start_matches("[server]\n"));
    system.write(CONFIG, &refuses)?;
    unit::start(system)?.expect_site()?;
    install(system, next)?;
    expect_call(system, "restart", true)?;
    step("not restarted, where the configuration is invalid");
    system.write(CONFIG, "[sever]\n")?;
    install(system, next)?;
    expect_call(system, "restart", false)?;
    kill(system)?;
    step("restarted, where the unit has changed");
    system.write(CONFIG, OWN_CONFIG)?;
    unit::start(system)?;
    let changed = system.read(unit::FILES[0])? + "# Another version.\n";
    system.write(unit::FILES[0], &changed)?;
    install(system, next)?;
    expect_call(system, "restart", true)?;
    kill(system)
}

/// Ends the server.
fn kill(system: &System) -> Result<()> {
    let script = format!("kill -KILL {}", system.read(PID)?.trim());
    system.run(&["sh", "-c", &script])
}

/// Installs a package as an administrator does who keeps the configuration.
fn install(system: &System, deb: &Path) -> Result<()> {
    fs::copy(deb, system.path("tmp/wasgi.deb"))?;
    system.run(&["dpkg", "--force-confold", "--install", "/tmp/wasgi.deb"])?;
    Ok(fs::remove_file(system.path("tmp/wasgi.deb"))?)
}

/// Checks whether the scripts have called `systemctl` with this action since the last check.
fn expect_call(system: &System, action: &str, expected: bool) -> Result<()> {
    let calls = unit::calls(system)?;
    let mut words = calls.split_whitespace();
    let is_called = words.any(|word| word == action);
    ensure!(
        is_called == expected,
        "{action} must be called: {expected}; the calls of systemctl:\n{calls}"
    );
    Ok(())
}

/// Sends requests one after the other until `change` ends. Returns how many.
fn under_load(server: &Server, change: impl FnOnce() -> Result<()>) -> Result<u64> {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let requests = scope.spawn(|| {
            let mut count = 0;
            while !is_done.load(Ordering::Relaxed) {
                for (path, text) in SERVED {
                    server.expect(path, text)?;
                    count += 1;
                }
            }
            Ok(count)
        });
        let changed = change();
        is_done.store(true, Ordering::Relaxed);
        let count = requests.join().unwrap_or_else(|_| Ok(0));
        changed?;
        count
    })
}

fn check_archive(system: &System, archive: &Path) -> Result<()> {
    step("unpacked");
    run(Command::new("tar")
        .args(["--strip-components=1", "-C"])
        .arg(system.path("opt"))
        .arg("-xf")
        .arg(archive))?;
    system.write_site("srv/site")?;
    let mut command = system.command(&["/opt/bin/wasgi", "serve", "/srv/site"]);
    command.args(["--addr", "127.0.0.1:0"]).env("HOME", "/root");
    system.serve(&mut command)?.expect_site()
}
