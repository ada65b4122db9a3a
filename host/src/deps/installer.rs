//! The installer of the user's machine: uv, or the pip of `python3`.

use std::env;
use std::fmt;
use std::io::{self, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::PYTHON;
use super::requirements::Requirements;
use crate::printable;

/// The time limit of one installation: a large application over a slow connection.
const MAX_TIME: Duration = Duration::from_secs(600);

/// The part of the installer's output that is kept, in bytes: the end, which says why it failed.
const OUTPUT_BYTES: usize = 64 << 10;

/// The maximum length of the installer's reason in a message, in bytes.
const REASON_BYTES: usize = 400;

/// The polling interval for the installer's exit.
const LOOK: Duration = Duration::from_millis(20);

/// The time to wait for output of a process that has exited: another process may hold the pipe.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// Runs pip with the sandbox's values of environment markers: pip evaluates those of the Python
/// that runs it, whatever `--python-version` says. Modules of the current folder are not imported.
const PIP: &str = "\
import sys
sys.path[:] = [path for path in sys.path if path]
try:
    from pip._vendor.packaging import markers
    values = {**markers.default_environment(), 'python_version': 'VERSION',
        'python_full_version': 'VERSION.0', 'implementation_version': 'VERSION.0',
        'implementation_name': 'cpython', 'platform_python_implementation': 'CPython',
        'os_name': 'posix', 'sys_platform': 'wasi', 'platform_system': 'wasi',
        'platform_machine': 'wasm32', 'platform_release': '0.0.0', 'platform_version': '0.0.0'}
    markers.default_environment = lambda: dict(values)
except (ImportError, AttributeError):
    pass
import runpy
sys.argv[0] = 'pip'
runpy.run_module('pip', run_name='__main__')
";

/// The minor versions of glibc whose wheels are accepted (PEP 600). Only their Python files are
/// used, so the machine's own doesn't matter.
const GLIBC_VERSIONS: std::ops::RangeInclusive<u32> = 5..=45;

/// An installer of packages.
#[derive(Debug)]
pub(crate) struct Installer {
    program: PathBuf,
    is_uv: bool,
    max_time: Duration,
}

impl Installer {
    /// Finds an installer on the path.
    ///
    /// # Errors
    ///
    /// Fails if neither program is on the path.
    pub(crate) fn find() -> anyhow::Result<Self> {
        for (name, is_uv) in [("uv", true), ("python3", false)] {
            if let Some(program) = on_path(name) {
                return Ok(Self {
                    program,
                    is_uv,
                    max_time: MAX_TIME,
                });
            }
        }
        bail!(
            "there is no uv and no python3 on the path to install packages with (Debian: apt-get \
             install python3-pip)"
        )
    }

    /// Installs packages to a folder, which the installer creates. Runs in the folder `here`.
    ///
    /// # Errors
    ///
    /// Fails with the installer's reason in one line.
    pub(super) fn run(
        &self,
        requirements: &Requirements,
        here: &Path,
        target: &Path,
    ) -> anyhow::Result<()> {
        let file = here.join("requirements.txt");
        std::fs::write(&file, requirements.text())
            .with_context(|| format!("{}: can't be written", file.display()))?;
        let mut command = Command::new(&self.program);
        match self.is_uv {
            true => uv(&mut command),
            false => pip(&mut command),
        }
        command.arg("--target").arg(target).arg("-r").arg(&file);
        command.current_dir(here).env_remove("PYTHONPATH");
        let (status, output) = self.output(&mut command)?;
        if !status.success() {
            bail!("{self}: {}", self.reason(&output));
        }
        Ok(())
    }

    /// Runs a command, and returns its exit status and the end of its output.
    fn output(&self, command: &mut Command) -> anyhow::Result<(ExitStatus, String)> {
        let (reader, writer) = io::pipe().context("no pipe to the installer")?;
        command.stdin(Stdio::null());
        command.stdout(writer.try_clone().context("no pipe to the installer")?);
        command.stderr(writer);
        let mut child = command
            .spawn()
            .with_context(|| format!("{self} can't be started"))?;
        // The command holds the write end of the pipe until then.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(tail(reader)));
        let deadline = Instant::now() + self.max_time;
        let status = loop {
            if let Some(status) = child.try_wait().context("can't wait for the installer")? {
                break status;
            }
            if Instant::now() >= deadline {
                let _ = child.kill();
                let _ = child.wait();
                bail!("{self} takes longer than {} s", self.max_time.as_secs());
            }
            thread::sleep(LOOK);
        };
        let output = receiver.recv_timeout(LAST_OUTPUT).unwrap_or_default();
        Ok((status, String::from_utf8_lossy(&output).into_owned()))
    }

    /// Returns the reason of a failure, in one line.
    fn reason(&self, output: &str) -> String {
        if !self.is_uv && output.contains("No module named pip") {
            return "python3 has no pip (Debian: apt-get install python3-pip)".to_owned();
        }
        let error = output
            .lines()
            .find_map(|line| line.trim_start().strip_prefix("ERROR: "));
        let decoration = |c: char| c.is_whitespace() || "×╰│├─▶".contains(c);
        let told: Vec<&str> = match error {
            Some(error) => vec![error],
            None => output
                .lines()
                .map(|line| line.trim_matches(decoration))
                .filter(|line| !line.is_empty())
                .collect(),
        };
        let told = told.join(" ");
        let no_wheel = [
            "Could not find a version",
            "No matching distribution",
            "no wheels",
        ];
        let hint = match no_wheel.iter().any(|part| told.contains(part)) {
            true => {
                "; only wheels are installed, because building a package would run its code on \
                 this machine"
            }
            false => "",
        };
        let told = printable::one_line(printable::front(&told, REASON_BYTES)).to_string();
        format!("{told}{hint}")
    }
}

impl fmt::Display for Installer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_uv { "uv" } else { "pip" })
    }
}

fn uv(command: &mut Command) {
    command
        .args([
            "pip",
            "install",
            "--quiet",
            "--no-progress",
            "--no-build",
            "--no-python-downloads",
        ])
        .args(["--python-version", PYTHON])
        .args(["--python-platform", "x86_64-unknown-linux-gnu"]);
}

fn pip(command: &mut Command) {
    let abi = format!("cp{}", PYTHON.replace('.', ""));
    command
        .args(["-c", &PIP.replace("VERSION", PYTHON)])
        .args(["install", "--quiet", "--no-input", "--no-compile"])
        .args(["--disable-pip-version-check", "--only-binary=:all:"])
        .args(["--implementation", "cp", "--python-version", PYTHON])
        .args(["--abi", &abi, "--abi", "abi3", "--abi", "none"])
        .args(["--platform", "any", "--platform", "manylinux2014_x86_64"]);
    for minor in GLIBC_VERSIONS {
        command.args(["--platform", &format!("manylinux_2_{minor}_x86_64")]);
    }
}

/// Reads to the end, and returns the last bytes.
fn tail(mut reader: PipeReader) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = reader.read(&mut buffer) {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        let excess = kept.len().saturating_sub(OUTPUT_BYTES);
        if excess > OUTPUT_BYTES {
            kept.drain(..excess);
        }
    }
    let excess = kept.len().saturating_sub(OUTPUT_BYTES);
    kept.split_off(excess)
}

/// Returns the path of a program on the path.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Returns an installer that runs this shell script.
    fn script(folder: &Path, text: &str) -> Installer {
        let program = folder.join("installer");
        fs::write(&program, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
        Installer {
            program,
            is_uv: false,
            max_time: MAX_TIME,
        }
    }

    fn failure(text: &str, max_time: Duration) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let mut installer = script(folder.path(), text);
        installer.max_time = max_time;
        let target = folder.path().join("target");
        let error = installer
            .run(&Requirements::default(), folder.path(), &target)
            .expect_err("it fails");
        error.to_string()
    }

    #[test]
    fn a_failure_is_one_line_with_the_reason() {
        for (text, told) in [
            (
                "echo 'WARNING: slow'; echo 'ERROR: No matching distribution found for x' >&2; \
                 echo 'ERROR: later' >&2; exit 1",
                "pip: No matching distribution found for x; only wheels are installed, because \
                 building a package would run its code on this machine",
            ),
            ("echo one; echo; echo ' two'; exit 3", "pip: one two"),
            (
                "echo '/usr/bin/python3: No module named pip' >&2; exit 1",
                "pip: python3 has no pip (Debian: apt-get install python3-pip)",
            ),
        ] {
            assert_eq!(failure(text, MAX_TIME), told);
        }
    }

    #[test]
    fn an_installer_that_talks_or_hangs_without_end_is_bounded() {
        let talks = "i=0; while [ $i -lt 300 ]; do printf '%01000d' 0; i=$((i+1)); done; exit 1";
        let told = failure(talks, MAX_TIME);
        assert!(told.len() < 2 * REASON_BYTES, "{} bytes", told.len());
        let told = failure("exec sleep 1000", Duration::from_secs(1));
        assert_eq!(told, "pip takes longer than 1 s");
        // The shell's child keeps the pipe open after the shell's end.
        let told = failure("sleep 5 & echo 'ERROR: early'; exit 1", MAX_TIME);
        assert!(told.starts_with("pip: "), "{told}");
    }
}
