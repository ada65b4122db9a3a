//! Runs the package's unit in a system without systemd: starts what the unit says, and stands in
//! for `systemctl`, which the package's scripts call.

use std::fs;

use anyhow::{Context, Result};

use super::system::{Server, System};

/// The unit, and the package's addition to it, in the order in which systemd reads them.
pub(super) const FILES: [&str; 2] = [
    "usr/lib/systemd/system/wasgi.service",
    "usr/lib/systemd/system/wasgi.service.d/package.conf",
];

/// The folder by which scripts recognize a system that runs systemd.
const RUNS: &str = "run/systemd/system";

/// The calls of `systemctl`, one per line.
const CALLS: &str = "run/systemctl.calls";

/// Exists while the service is active.
const ACTIVE: &str = "run/systemctl.active";

/// The stand-in for `systemctl`.
const PROGRAM: &str = "usr/local/bin/systemctl";

/// Records its arguments, and says whether the service is active and enabled.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >>/run/systemctl.calls
case "$*" in
    *is-active*) test -e /run/systemctl.active ;;
    *is-enabled*) echo enabled ;;
esac
"#;

/// Makes the scripts of a system call the stand-in.
///
/// # Errors
///
/// Fails if the system's files can't be written.
pub(super) fn stand_in(system: &System) -> Result<()> {
    fs::create_dir_all(system.path(RUNS))?;
    system.write(PROGRAM, SYSTEMCTL)?;
    system.run(&["chmod", "755", &format!("/{PROGRAM}")])
}

/// Starts the service as the unit says, on a free port of a loopback address.
///
/// # Errors
///
/// Fails if the unit is not installed, or if the server can't start.
pub(super) fn start(system: &System) -> Result<Server> {
    let texts: Result<Vec<String>> = FILES.iter().map(|file| system.read(file)).collect();
    let unit = texts?.concat();
    let user = value(&unit, "User")?;
    let folder = format!("/run/{}", value(&unit, "RuntimeDirectory")?);
    system.run(&["install", "-d", "-o", user, "-g", user, &folder])?;
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    let mut command = vec!["setpriv", &uid, &gid, "--init-groups", "env"];
    command.push(value(&unit, "Environment")?);
    command.extend(value(&unit, "ExecStart")?.split_whitespace());
    command.extend(["--addr", "127.0.0.1:0"]);
    let server = system.serve(&mut system.command(&command))?;
    fs::write(system.path(ACTIVE), "")?;
    Ok(server)
}

/// Returns the calls of `systemctl` since the last call of this.
///
/// # Errors
///
/// Fails if there was none.
pub(super) fn calls(system: &System) -> Result<String> {
    let calls = system.read(CALLS)?;
    fs::remove_file(system.path(CALLS))?;
    Ok(calls)
}

/// Returns the value of a key that counts, which is the last one.
fn value<'a>(unit: &'a str, key: &str) -> Result<&'a str> {
    let of_key = |line: &'a str| line.strip_prefix(key)?.strip_prefix('=');
    let value = unit.lines().rev().find_map(of_key);
    value.with_context(|| format!("the unit has no {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts() {
        let unit = "[Service]\nExecStart=a b\nUser=x\nExecStart=\nExecStart=c d\n";
        assert_eq!(value(unit, "ExecStart").expect("it is there"), "c d");
        assert_eq!(value(unit, "User").expect("it is there"), "x");
        assert!(value(unit, "Exec").is_err());
    }
}
