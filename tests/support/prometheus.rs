//! A real Prometheus that scrapes servers, with the project's alerts, and the queries to ask it.
//! The test suite and `cargo xtask prometheus` use it.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

/// The dashboard.
const DASHBOARD: &str = include_str!("../../docs/grafana-dashboard.json");

/// The alerts.
const ALERTS: &str = include_str!("../../docs/prometheus-alerts.yml");

/// A running Prometheus. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Prometheus {
    child: Child,
    addr: SocketAddr,
    /// Reads its log, which must not fill the pipe.
    log: Option<JoinHandle<()>>,
}

impl Prometheus {
    /// Starts a Prometheus with its files in `folder`, which scrapes all `targets` in an interval,
    /// and waits for each answer as long.
    ///
    /// # Errors
    ///
    /// Fails if it can't be started, or ends before it listens.
    pub(crate) fn start(
        folder: &Path,
        targets: &[SocketAddr],
        interval: Duration,
    ) -> io::Result<Self> {
        let targets: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
        let seconds = interval.as_secs();
        let config = format!(
            "global:\n  scrape_interval: {seconds}s\n  scrape_timeout: {seconds}s\n  \
             evaluation_interval: {seconds}s\nrule_files: [alerts.yml]\n\
             scrape_configs:\n- job_name: wasgi\n  static_configs:\n  - targets: {targets:?}\n"
        );
        fs::write(folder.join("prometheus.yml"), config)?;
        fs::write(folder.join("alerts.yml"), ALERTS)?;
        let path = |name: &str| folder.join(name).display().to_string();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .args(["--web.listen-address=127.0.0.1:0", "--log.level=info"])
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take();
        let mut lines = stderr.map(|stderr| BufReader::new(stderr).lines());
        let addr = lines
            .iter_mut()
            .flatten()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, rest) = line.split_once("Listening on\" address=")?;
                rest.split_whitespace().next()?.parse().ok()
            });
        let log = thread::spawn(move || lines.into_iter().flatten().for_each(drop));
        let Some(addr) = addr else {
            // Both fail only if it has ended.
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::other("prometheus does not say where it listens"));
        };
        Ok(Self {
            child,
            addr,
            log: Some(log),
        })
    }

    /// Returns the address of its HTTP API.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take() {
            // Its panic would be a failed read.
            let _ = log.join();
        }
    }
}

/// Returns whether a program of the package `prometheus` can be started. Prints a line if not.
pub(crate) fn is_there(program: &str) -> bool {
    let started = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_there = started.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("skipped: there is no {program} (the package prometheus)");
    }
    is_there
}

/// Returns the path of the API for a query.
pub(crate) fn query_path(query: &str) -> String {
    let encoded = query.bytes().map(|byte| format!("%{byte:02X}"));
    format!("/api/v1/query?query={}", encoded.collect::<String>())
}

/// Returns all queries of the dashboard, each with an interval of `minutes` in place of the
/// dashboard's variable.
pub(crate) fn dashboard_queries(minutes: u32) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap_or_default();
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.filter_map(|panel| panel["targets"].as_array());
    let queries = targets.flatten().filter_map(|one| one["expr"].as_str());
    let interval = format!("{minutes}m");
    let queries = queries.map(|query| query.replace("$__rate_interval", &interval));
    queries.collect()
}

/// Returns what is wrong with the alerts, according to the answer of `/api/v1/rules`; and their
/// queries without the thresholds, which have values even if nothing is wrong.
pub(crate) fn alert_queries(rules: &Value) -> (Vec<String>, Vec<String>) {
    let (mut wrong, mut queries) = (Vec::new(), Vec::new());
    let groups = rules["data"]["groups"].as_array().into_iter().flatten();
    let rules = groups.filter_map(|group| group["rules"].as_array());
    for rule in rules.flatten() {
        let query = rule["query"].as_str().unwrap_or_default();
        if rule["health"] != "ok" {
            wrong.push(format!("{}: {}", rule["name"], rule["lastError"]));
        }
        let mut words = query.rsplitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some(number), Some("==" | ">" | "<"), Some(left)) if number.parse::<f64>().is_ok() => {
                queries.push(left.to_owned());
            }
            _ => wrong.push(format!("{}: {query} has no threshold", rule["name"])),
        }
    }
    (wrong, queries)
}
