//! `cargo xtask instructions`: counts the instructions of a request, and compares the count with
//! the previous one.
//!
//! `bench-tools` counts; this builds and starts it, and stores the count.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::build_tools;
use crate::guest_toolchain::GuestToolchain;
use crate::guests;
use crate::process::step;
use crate::workspace::Workspace;

/// The file with the last count.
const KEPT: &str = "benches/instructions.txt";

/// The number of requests to count. Single-stepping takes about half a second for each.
const REQUESTS: &str = "10";

/// The time limit for the whole count. On a busy machine each step waits for its turn.
const LIMIT: Duration = Duration::from_secs(180);

/// The difference, in percent, that is considered noise: the layout of hash maps differs between
/// processes.
const NOISE_PERCENT: f64 = 2.0;

/// Counts, and prints the result. With `--write` it stores the count; with `--server FILE` it uses
/// a server that has already been built. If counting fails, for example because tracing is not
/// permitted, it prints a line and succeeds, since that doesn't indicate a regression.
///
/// # Errors
///
/// Fails if an argument is invalid, or if a package does not build.
pub(crate) fn instructions(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let (mut write, mut server) = (false, None);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--write") => write = true,
            Some("--server") => {
                server = Some(words.next().context("--server has no value")?.into());
            }
            _ => bail!("{} means nothing here", word.display()),
        }
    }
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    let demos = guests::build_tracked(workspace, &toolchain, None, None)?;
    let tools = build_tools(workspace)?;
    let server = match server {
        Some(server) => server,
        None => crate::build_server(workspace)?,
    };
    let file = workspace.root.join(KEPT);
    match count(workspace, &demos, &tools, &server) {
        Ok(count) => {
            let kept = fs::read_to_string(&file).unwrap_or_default();
            println!("{}", compare(count, parse(&kept)));
            if write {
                fs::write(&file, format_kept(count))
                    .with_context(|| format!("can't write {KEPT}"))?;
                step(format!("wrote {KEPT}"));
            }
        }
        Err(error) => println!("instructions of a fresh hello: not counted: {error:#}"),
    }
    Ok(())
}

fn count(workspace: &Workspace, demos: &Path, tools: &Path, server: &Path) -> Result<u64> {
    let folder = workspace.target.join("instructions");
    fs::create_dir_all(&folder)?;
    fs::copy(demos.join("hello.wasm"), folder.join("hello.wasm"))?;
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let address = address.to_string();
    let mut command = Command::new(tools);
    command.args(["instructions", "--addr", &address, "--path", "/hello"]);
    command.args(["--thread", "wasgi-0", "--requests", REQUESTS, "--"]);
    command.arg(server).arg("serve").arg("--root");
    command.arg(workspace.root.join("html")).arg("--handlers");
    command.arg(&folder).args(["--addr", &address]);
    command.args(["--threads", "1", "--no-access-log", "--code-cache", "none"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("can't start the counter")?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > LIMIT {
            // The kernel ends the traced server with it.
            child.kill()?;
            child.wait()?;
            bail!("not done in {} s", LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}", said.lines().next_back().unwrap_or("without a word"));
    }
    parse(&said).context("the counter said something else")
}

/// Returns the count of the line `instructions N`, and ignores all other lines.
fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("instructions "))?;
    line.trim().parse().ok()
}

fn format_kept(count: u64) -> String {
    format!(
        "# User-space instructions of one request to handlers/hello in a fresh instance, by\n\
         # `cargo xtask instructions --write`, on {}.\n\
         instructions {count}\n",
        std::env::consts::ARCH
    )
}

fn compare(count: u64, before: Option<u64>) -> String {
    let now = format!("instructions of a fresh hello: {count}");
    let Some(before) = before.filter(|&before| before > 0) else {
        return format!("{now} (none were kept before)");
    };
    let percent = (count as f64 / before as f64 - 1.0) * 100.0;
    let what = if percent.abs() < NOISE_PERCENT {
        "about the same"
    } else if percent > 0.0 {
        "more"
    } else {
        "fewer"
    };
    format!("{now} (kept: {before}; {percent:+.1} %, {what})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        assert_eq!(parse(&format_kept(12_345)), Some(12_345));
        assert_eq!(parse("something else"), None);
    }

    #[test]
    fn a_difference_is_told() {
        assert!(compare(100, None).contains("none were kept"));
        assert!(compare(101, Some(100)).ends_with("+1.0 %, about the same)"));
        assert!(compare(110, Some(100)).ends_with("+10.0 %, more)"));
        assert!(compare(50, Some(100)).ends_with("-50.0 %, fewer)"));
    }

    #[test]
    fn the_kept_file_is_readable() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(KEPT);
        let kept = fs::read_to_string(file).expect("it is there");
        assert!(parse(&kept).is_some(), "{kept}");
    }
}
