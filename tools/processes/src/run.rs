//! Runs other programs, with errors that name the program.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The polling interval for a program with a time limit.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Prints a line about the next step, with the name of the running program.
pub fn step(what: impl Display) {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or(&program);
    eprintln!("{}: {what}", name.display());
}

/// Runs a program until it exits, with its output on the terminal.
///
/// # Errors
///
/// Fails if it can't be started, or fails.
pub fn run(command: &mut Command) -> Result<()> {
    Running::start(command)?.finish()
}

/// A program that runs beside this one, with its output on the terminal. It is killed when this is
/// dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    ///
    /// Fails if it can't be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = name_of(command);
        let child = command
            .spawn()
            .with_context(|| format!("can't start {name}"))?;
        Ok(Self { child, name })
    }

    /// Waits until it exits.
    ///
    /// # Errors
    ///
    /// Fails if it fails.
    pub fn finish(mut self) -> Result<()> {
        let name = &self.name;
        let status = self
            .child
            .wait()
            .with_context(|| format!("can't wait for {name}"))?;
        if !status.success() {
            bail!("{name} failed ({status})");
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Neither has an effect on a program that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program until it exits and returns its standard output. Its standard error goes to the
/// terminal.
///
/// # Errors
///
/// Fails if it can't be started, fails, or writes invalid UTF-8.
pub fn text_of(command: &mut Command) -> Result<String> {
    let name = name_of(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("can't start {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of {name} is not UTF-8"))
}

/// Runs a program until it exits and returns its standard output, and whether it succeeded. Its
/// standard error goes to the terminal.
///
/// # Errors
///
/// Fails if it can't be started, or writes invalid UTF-8.
pub fn text_and_success_of(command: &mut Command) -> Result<(String, bool)> {
    let name = name_of(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("can't start {name}"))?;
    let text = String::from_utf8(output.stdout);
    let text = text.with_context(|| format!("the output of {name} is not UTF-8"))?;
    Ok((text, output.status.success()))
}

/// Runs a program until it exits or exceeds `limit`, without showing its output.
///
/// # Errors
///
/// Fails if it can't be started, exceeds the limit, or fails; the error then contains the line of
/// its standard error that gives the reason.
pub fn run_quietly(command: &mut Command, limit: Duration) -> Result<()> {
    let name = name_of(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't start {name}"))?;
    // Read by a separate thread, so that the program doesn't block on a full pipe.
    let complaint = child.stderr.take().map(|mut stderr| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // If reading fails, the output so far is used.
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    });
    if !finish_within(&mut child, limit).with_context(|| format!("can't wait for {name}"))? {
        bail!("{name} did not finish within {} s", limit.as_secs());
    }
    let status = child
        .wait()
        .with_context(|| format!("can't wait for {name}"))?;
    if !status.success() {
        let said = complaint
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        match reason_in(&said) {
            Some(reason) => bail!("{name} failed: {reason}"),
            None => bail!("{name} failed ({status})"),
        }
    }
    Ok(())
}

/// Waits for a child and returns whether it exited in time. Kills it after `limit`.
fn finish_within(child: &mut Child, limit: Duration) -> std::io::Result<bool> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        thread::sleep(POLL_INTERVAL);
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// Returns the line that says why a program failed: the first line that is marked as an error, as
/// rustup and apt do, or else the last line.
fn reason_in(said: &str) -> Option<&str> {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let marked = lines().find_map(|l| l.strip_prefix("error: ").or_else(|| l.strip_prefix("E: ")));
    marked.or_else(|| lines().next_back())
}

/// Returns the program and its first argument, such as `cargo build`, to identify it in messages.
fn name_of(command: &Command) -> String {
    let program = command.get_program();
    let program = Path::new(program).file_name().unwrap_or(program);
    let mut name = program.to_string_lossy().into_owned();
    let first = command
        .get_args()
        .find(|argument| !argument.to_string_lossy().starts_with('-'));
    if let Some(first) = first {
        name.push(' ');
        name.push_str(&first.to_string_lossy());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn a_failure_is_told_with_the_last_line_that_was_written() {
        let error = run_quietly(
            &mut shell("echo first >&2; echo last >&2; echo >&2; exit 3"),
            SOON,
        )
        .expect_err("exit 3 is a failure");
        assert!(error.to_string().ends_with("failed: last"), "{error}");
    }

    #[test]
    fn a_line_that_is_marked_as_an_error_is_the_reason() {
        assert_eq!(reason_in("info: a\nerror: b\nnote: c\n"), Some("b"));
        assert_eq!(reason_in("W: a\nE: b\nE: c\n"), Some("b"));
        assert_eq!(reason_in("a\n  b\n\n"), Some("b"));
        assert_eq!(reason_in("\n"), None);
    }

    #[test]
    fn a_silent_failure_is_told_with_its_status() {
        let error = run_quietly(&mut shell("exit 3"), SOON).expect_err("exit 3 is a failure");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let started = Instant::now();
        let limit = Duration::from_millis(200);
        let error = run_quietly(&mut shell("exec sleep 60"), limit).expect_err("60 s is too long");
        assert!(error.to_string().contains("did not finish"), "{error}");
        assert!(started.elapsed() < SOON, "it was waited for");
    }

    #[test]
    fn much_output_does_not_block() {
        let script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789 >&2; i=$((i+1)); done";
        run_quietly(&mut shell(script), SOON).expect("200 kB of output is no failure");
    }

    #[test]
    fn the_output_is_returned() {
        assert_eq!(
            text_of(&mut shell("printf abc")).expect("printf works"),
            "abc"
        );
        assert!(text_of(&mut shell("printf abc; exit 1")).is_err());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("no-such-program-anywhere")).expect_err("not there");
        assert!(
            error.to_string().contains("no-such-program-anywhere"),
            "{error}"
        );
    }

    /// Exceeds the run time of all these programs on a busy machine.
    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn a_program_that_is_not_waited_for_is_killed() {
        let started = Instant::now();
        drop(Running::start(&mut shell("exec sleep 600")).expect("it starts"));
        assert!(started.elapsed() < Duration::from_secs(300));
    }
}
