//! `bench instructions`: counts the instructions of a request, and compares the count with the last
//! one that was kept. Counts again with the admin listener on.
//!
//! `bench count` counts. This starts it with a time limit, and stores the count.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use processes::step;
use serde_json::Value;

use crate::arguments::Arguments;

/// The file with the last count, relative to the repository's root.
const KEPT: &str = "benches/instructions.txt";

/// The number of requests to count. Single-stepping takes about half a second for each.
const REQUESTS: &str = "10";

/// The time limit for the whole count. On a busy machine each step waits for its turn.
const LIMIT: Duration = Duration::from_secs(180);

/// The difference, in percent, that is considered noise: the layout of hash maps differs between
/// processes.
const NOISE_PERCENT: f64 = 2.0;

/// The files to count with, which `cargo xtask instructions` builds.
#[derive(Debug)]
pub(crate) struct Options {
    /// The repository's root.
    root: PathBuf,
    /// Cargo's target folder.
    target: PathBuf,
    /// The handler `hello`.
    handler: PathBuf,
    wasgi: PathBuf,
    /// Whether to store the count.
    write: bool,
}

impl Options {
    /// Parses the arguments.
    pub(crate) fn take(arguments: &mut Arguments) -> Result<Self> {
        let options = Self {
            root: arguments.need("--root")?,
            target: arguments.need("--target")?,
            handler: arguments.need("--handler")?,
            wasgi: arguments.need("--wasgi")?,
            write: arguments.flag("--write"),
        };
        arguments.finish()?;
        Ok(options)
    }
}

/// Counts, and prints the result. If counting fails, for example because tracing is not permitted,
/// it prints a line and succeeds, since that doesn't indicate a regression.
///
/// # Errors
///
/// Fails if the count can't be stored.
pub(crate) fn run(options: &Options) -> Result<()> {
    let file = options.root.join(KEPT);
    match count(options, "") {
        Ok(count_off) => {
            let kept = fs::read_to_string(&file).unwrap_or_default();
            println!("{}", compare(count_off, parse(&kept)));
            let section = "[admin]\naddr = \"127.0.0.1:0\"\n";
            match count(options, section) {
                Ok(with) => println!("with [admin]: {with} ({:+.1} %)", percent(with, count_off)),
                Err(error) => println!("with [admin]: not counted: {error:#}"),
            }
            if options.write {
                fs::write(&file, format_kept(count_off))
                    .with_context(|| format!("can't write {KEPT}"))?;
                step(format!("wrote {KEPT}"));
            }
        }
        Err(error) => println!("instructions of a fresh hello: not counted: {error:#}"),
    }
    Ok(())
}

/// Counts with a configuration: the text of `wasgi.toml`.
fn count(options: &Options, config: &str) -> Result<u64> {
    let folder = options.target.join("instructions");
    fs::create_dir_all(&folder)?;
    fs::copy(&options.handler, folder.join("hello.wasm"))?;
    let config_file = options.target.join("instructions.toml");
    fs::write(&config_file, config)?;
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let address = address.to_string();
    let mut command = Command::new(env::current_exe()?);
    command.args(["count", "--addr", &address, "--path", "/hello"]);
    command.args(["--thread", "wasgi-0", "--requests", REQUESTS, "--"]);
    command.arg(&options.wasgi).arg("serve").arg("--root");
    command.arg(options.root.join("html")).arg("--handlers");
    command.arg(&folder).args(["--addr", &address]);
    command.arg("--config").arg(&config_file);
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
            bail!("not finished within {} s", LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}",
            said.lines()
                .next_back()
                .unwrap_or("the counter failed without a message")
        );
    }
    let counted: Value = serde_json::from_str(&said).context("the counter's output is not JSON")?;
    let count = counted["instructions"].as_u64();
    count.context("the counter printed no count")
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
        env::consts::ARCH
    )
}

/// Returns by how many percent `count` exceeds `before`.
fn percent(count: u64, before: u64) -> f64 {
    (count as f64 / before as f64 - 1.0) * 100.0
}

fn compare(count: u64, before: Option<u64>) -> String {
    let now = format!("instructions of a fresh hello: {count}");
    let Some(before) = before.filter(|&before| before > 0) else {
        return format!("{now} (no earlier count)");
    };
    let percent = percent(count, before);
    let what = if percent.abs() < NOISE_PERCENT {
        "about the same"
    } else if percent > 0.0 {
        "more"
    } else {
        "fewer"
    };
    format!("{now} (earlier: {before}; {percent:+.1} %, {what})")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_stored_count_is_parsed_again() {
        assert_eq!(parse(&format_kept(12_345)), Some(12_345));
        assert_eq!(parse("something else"), None);
    }

    #[test]
    fn a_difference_is_stated_in_percent() {
        assert!(compare(100, None).contains("no earlier count"));
        assert!(compare(101, Some(100)).ends_with("+1.0 %, about the same)"));
        assert!(compare(110, Some(100)).ends_with("+10.0 %, more)"));
        assert!(compare(50, Some(100)).ends_with("-50.0 %, fewer)"));
    }

    #[test]
    fn the_repositorys_count_is_parsed() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(KEPT);
        let kept = fs::read_to_string(file).expect("it is there");
        assert!(parse(&kept).is_some(), "{kept}");
    }
}
