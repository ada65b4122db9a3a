//! Lets a real Prometheus scrape a server under load, and asks it each query of the dashboard and
//! of the alerts.

#[path = "../../../tests/support/prometheus.rs"]
mod process;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use builder::Workspace;
use processes::step;
use serde_json::Value;
use tempfile::TempDir;

use self::process::{Prometheus, alert_queries, dashboard_queries, is_there, query_path};
use crate::client::Client;
use crate::load::{Load, Outcome, Task};
use crate::options::Options;
use crate::server::{START_LIMIT, Server, Site};

/// The requests and their intervals.
const LOADS: [(Task, Duration); 4] = [
    (Task::Page, Duration::from_millis(10)),
    (Task::Handler, Duration::from_millis(10)),
    (Task::Handler, Duration::from_millis(10)),
    (Task::Upload, Duration::from_millis(100)),
];

/// A handler that fails, and one that takes one request at a time.
const FAIL: &str = "fail";
const BUSY: &str = "sleep";

/// The targets of requests that fail. Each of two clients keeps the second handler busy for more
/// than half of the time, so some of their requests are rejected.
const FAULTS: [&str; 3] = ["/fail?how=panic", "/sleep?ms=1500", "/sleep?ms=1500"];

/// The pause between two requests of a client to each of them.
const FAULT_INTERVAL: Duration = Duration::from_secs(1);

/// The interval of scrapes, and the time limit of each: a machine on which compilers run may need
/// more than five seconds, and Prometheus' own default is a minute.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(15);

/// The minimum fraction of scrapes that must have succeeded, of one per interval after the first,
/// which has no scrape if Prometheus begins late in it.
const MIN_SCRAPED_SHARE: f64 = 0.9;

/// Serves a site under load while Prometheus scrapes it every few seconds, and then asks it all
/// queries.
///
/// # Errors
///
/// Fails if something does not build or start, a scrape has failed, or a query has no data.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    ensure!(
        is_there("prometheus"),
        "Prometheus is needed; Debian: apt-get install prometheus"
    );
    let site = Site::make(workspace, options, "prometheus")?;
    let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    configure(&site, admin)?;
    let mut server = Server::start(&site, options)?;
    let folder = tempfile::tempdir().context("can't make a folder")?;
    let secure = SecureServer::start(site.program())?;
    let targets = [admin, secure.admin];
    let prometheus = Prometheus::start(folder.path(), &targets, SCRAPE_INTERVAL)
        .context("can't start prometheus")?;
    step(format!("{} s of load", options.time.as_secs()));
    let loads = LOADS.map(|(task, interval)| (task, Load::start(server.address, task, interval)));
    let ends = Arc::new(AtomicBool::new(false));
    let faults = FAULTS.map(|target| {
        let (address, ends) = (server.address, ends.clone());
        thread::spawn(move || cause_faults(address, target, &ends))
    });
    let begin = Instant::now();
    while begin.elapsed() < options.time {
        thread::sleep(FAULT_INTERVAL);
        server.expect_alive()?;
    }
    let answers = ask_all(prometheus.addr(), options.time);
    ends.store(true, Ordering::Relaxed);
    for thread in faults {
        // Its requests are expected to fail.
        let _ = thread.join();
    }
    let mut failed = 0;
    for (task, load) in loads {
        let outcome: Outcome = load.finish()?;
        println!("{task:?}: {outcome}");
        failed += outcome.failed;
    }
    println!("{}", answers?);
    drop(prometheus);
    server.stop()?;
    ensure!(failed == 0, "{failed} requests failed");
    Ok(())
}

/// A server of one page with a certificate, whose expiry is on the dashboard. Dropping it kills the
/// process.
#[derive(Debug)]
struct SecureServer {
    child: Child,
    /// The address of its admin listener.
    admin: SocketAddr,
    _site: TempDir,
}

impl SecureServer {
    /// Starts the server, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// Fails if it does not start in time.
    fn start(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir().context("can't make a folder")?;
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = format!(
            "[server]\naddr = \"127.0.0.1:0\"\naccess-log = false\n[admin]\naddr = \"{admin}\"\n\
             [site]\ncode-cache = \"code\"\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n"
        );
        for name in ["html", "handlers", "code"] {
            fs::create_dir(folder.path().join(name)).context("can't make a folder")?;
        }
        let (cert, key) = (
            certificate.cert.pem(),
            certificate.signing_key.serialize_pem(),
        );
        for (name, text) in [("wasgi.toml", config), ("cert.pem", cert), ("key.pem", key)] {
            fs::write(folder.path().join(name), text)
                .with_context(|| format!("can't write {name}"))?;
        }
        let child = Command::new(program)
            .arg("serve")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("can't start the server with a certificate")?;
        let server = Self {
            child,
            admin,
            _site: folder,
        };
        let until = Instant::now() + START_LIMIT;
        while !Client::new(admin)
            .get("/readyz")
            .is_ok_and(|response| response.status == 200)
        {
            ensure!(
                Instant::now() < until,
                "the server with a certificate is not ready"
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for SecureServer {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds the handlers that fail, and the admin listener.
fn configure(site: &Site, admin: SocketAddr) -> Result<()> {
    let config =
        format!("[admin]\naddr = \"{admin}\"\n[handlers.{BUSY}]\nconcurrent-requests = 1\n");
    fs::write(site.config(), config).context("can't write the configuration")?;
    for name in [FAIL, BUSY] {
        let file = format!("{name}.wasm");
        fs::copy(site.originals.join(&file), site.handlers().join(&file))
            .with_context(|| format!("can't copy {file}"))?;
    }
    Ok(())
}

fn cause_faults(address: SocketAddr, target: &str, ends: &AtomicBool) {
    let mut client = Client::new(address);
    while !ends.load(Ordering::Relaxed) {
        // The status says that it has failed, which is intended.
        let _ = client.get(target);
        thread::sleep(FAULT_INTERVAL);
    }
}

/// Asks Prometheus all queries, and returns a summary.
///
/// # Errors
///
/// Fails if scrapes are missing, an alert is invalid, or a query has no data.
fn ask_all(prometheus: SocketAddr, time: Duration) -> Result<String> {
    let mut client = Client::new(prometheus);
    let mut ask = |path: &str| -> Result<Value> {
        let response = client.get(path)?;
        serde_json::from_slice(&response.body).context("Prometheus did not respond with JSON")
    };
    let minutes = u32::try_from(time.as_secs() / 60 + 1)?;
    let scraped = ask(&query_path(&format!("min(sum_over_time(up[{minutes}m]))")))?;
    let scraped = number(&scraped).context("there is no scrape")?;
    let least = ask(&query_path(&format!("min(min_over_time(up[{minutes}m]))")))?;
    ensure!(number(&least) == Some(1.0), "a scrape has failed");
    let intervals = time.div_duration_f64(SCRAPE_INTERVAL) - 1.0;
    ensure!(
        scraped >= intervals * MIN_SCRAPED_SHARE,
        "only {scraped} scrapes in {} s",
        time.as_secs()
    );
    let (wrong, alerts) = alert_queries(&ask("/api/v1/rules")?);
    ensure!(wrong.is_empty(), "alerts: {}", wrong.join("; "));
    let dashboard = dashboard_queries(minutes);
    for query in alerts.iter().chain(&dashboard) {
        let answer = ask(&query_path(query))?;
        let data = answer["data"]["result"].as_array();
        if answer["status"] != "success" || data.is_none_or(Vec::is_empty) {
            bail!("no data for {query}: {answer}");
        }
    }
    let longest = ask(&query_path(&format!(
        "max(max_over_time(scrape_duration_seconds[{minutes}m]))"
    )))?;
    let samples = ask(&query_path("max(scrape_samples_scraped)"))?;
    Ok(format!(
        "{scraped} scrapes of each server, none failed; up to {} samples each, the longest took {:.1} ms; \
         {} queries of the dashboard and {} of alerts have data",
        number(&samples).unwrap_or_default(),
        number(&longest).unwrap_or_default() * 1000.0,
        dashboard.len(),
        alerts.len()
    ))
}

/// Returns the first value of an answer.
fn number(answer: &Value) -> Option<f64> {
    answer["data"]["result"][0]["value"][1]
        .as_str()?
        .parse()
        .ok()
}
