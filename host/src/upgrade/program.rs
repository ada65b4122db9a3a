//! The program of a successor: the file at the path from which this process was started, which may
//! be a newer one by now, with the same arguments.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::predecessor::FLAG;
use crate::bundle::process_arguments;

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    /// The name and the arguments of this process.
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// Finds the program of this process. Must be called at the start: later, the file may have
    /// been replaced.
    ///
    /// # Errors
    ///
    /// Fails if the system doesn't tell.
    pub(crate) fn of_process() -> io::Result<Self> {
        let mut arguments = process_arguments().into_iter();
        let name = arguments.next().unwrap_or_else(|| "wasgi".into());
        let running = env::current_exe()?;
        let folders = env::var_os("PATH").unwrap_or_default();
        Ok(Self {
            path: find(&name, &folders, &running).unwrap_or(running),
            name,
            arguments: without_internal_flags(arguments),
        })
    }

    /// Returns the path of the program.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the command that starts a successor of this process.
    pub(super) fn command(&self) -> Command {
        let mut arguments = self.arguments.clone();
        // Directly after the command's name: at the end, the flag could follow a `--`.
        let place = arguments.len().min(1);
        arguments.insert(place, flag(std::process::id()).into());
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(arguments);
        // They name this process. The sockets of the init system are handed over like others.
        for variable in ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(variable);
        }
        command
    }
}

/// Returns the argument of the successor of a process.
pub(crate) fn flag(server: u32) -> String {
    format!("{FLAG}{server}")
}

/// Returns arguments without those that this program has added itself.
pub(crate) fn without_internal_flags(
    arguments: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let is_own = |argument: &OsString| {
        let text = argument.to_str();
        text.is_some_and(|text| text.starts_with(FLAG))
    };
    let arguments = arguments.into_iter();
    arguments.filter(|argument| !is_own(argument)).collect()
}

/// Returns the path by which a running program was started, if that still leads to it. Follows no
/// link at the end of the path: it may lead to a newer version later.
fn find(name: &OsStr, folders: &OsStr, running: &Path) -> Option<PathBuf> {
    let named = Path::new(name);
    let candidates: Vec<PathBuf> = match named.components().count() {
        1 if !name.is_empty() && !has_slash(name) => env::split_paths(folders)
            .map(|folder| folder.join(named))
            .collect(),
        _ => vec![named.to_owned()],
    };
    let is_running = |path: &PathBuf| {
        let canonical = path.canonicalize().ok();
        canonical.is_some() && canonical == running.canonicalize().ok()
    };
    let found = candidates.into_iter().find(is_running)?;
    std::path::absolute(found).ok()
}

fn has_slash(name: &OsStr) -> bool {
    name.as_encoded_bytes().contains(&b'/')
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_program_is_found_by_the_path_that_was_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().canonicalize().expect("it is there");
        let [old, link] = ["wasgi-1", "wasgi"].map(|name| folder.join(name));
        fs::write(&old, "").expect("written");
        symlink(&old, &link).expect("linked");
        let none = OsStr::new("");
        assert_eq!(find(link.as_os_str(), none, &old), Some(link.clone()));
        let folders = env::join_paths([Path::new("/no/such"), &folder]).expect("a list");
        assert_eq!(find(OsStr::new("wasgi"), &folders, &old), Some(link));
        // A name that leads elsewhere is not the program.
        assert_eq!(find(OsStr::new("/bin/sh"), &folders, &old), None);
        assert_eq!(find(none, none, &old), None);
    }

    #[test]
    fn flags_of_an_earlier_upgrade_are_removed() {
        let arguments = ["serve", "--upgrade-from=7", "--addr", "a"].map(OsString::from);
        let rest = without_internal_flags(arguments);
        assert_eq!(rest, ["serve", "--addr", "a"]);
    }
}
