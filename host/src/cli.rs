//! The command line: `wasgi serve`, `wasgi routes` and `wasgi config`. The arguments of `wasgi
//! check` and `wasgi run` are in `trial`, those of `wasgi deps` in `deps`, and arguments that
//! several commands share are in `budget`.
//!
//! A flag that is not given has no value here: `config` has the defaults, and the file's values
//! take precedence over them.

mod budget;
mod deps;
mod mistakes;
mod trial;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Draft, ResolvedConfig, Sources};
use crate::engine::compile;
use crate::log;
use crate::server::{addr, proxy};
use crate::supervisor;
use crate::units::{duration, size};

pub use budget::Budget;
pub use deps::Deps;
pub use trial::{Check, Run, Trial};

/// The help heading of the limits.
const LIMITS_HEADING: &str = "Limits (more in wasgi.toml)";

/// Serves a folder of pages and a folder of sandboxed handlers.
///
/// `html/about.html` is served at /about.html, and `handlers/hello.wasm` answers at /hello. Each
/// request runs in a fresh sandbox. A changed file is served as soon as it is saved.
#[derive(Debug, Parser)]
#[command(name = "wasgi", version, max_term_width = 100)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses this process's command line. Exits the process if the command line is invalid, or if
    /// it asks for help or the version.
    pub fn of_process() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Self::try_parse_from(&arguments)
            .unwrap_or_else(|error| mistakes::explain(error, &arguments).exit())
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a site until interrupted
    Serve(Box<Serve>),
    /// Show what serves each route, without serving
    Routes(Routes),
    /// Check handlers against the contract, without serving, and explain each problem
    Check(Check),
    /// Send one request to a handler, without serving, and print the response
    Run(Run),
    /// Install the packages that applications in folders require, for the sandbox
    Deps(Deps),
    /// Write the WIT of the handler contract to a folder, for component toolchains
    Wit(Wit),
    /// Print the configuration that `wasgi serve` would use with the same flags, as TOML
    Config(Box<Serve>),
    /// Compile what a server sends: for servers only
    #[command(hide = true)]
    CompileForServer(compile::Limits),
}

/// The site's folders and configuration file.
#[derive(Clone, Debug, Args)]
pub struct Site {
    /// The folder with html, handlers and wasgi.toml
    #[arg(value_name = "SITE", default_value = ".")]
    pub site: PathBuf,
    /// The configuration file; flags take precedence over it [default: SITE/wasgi.toml, if it
    /// exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder of pages [default: SITE/html]
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// The folder of handlers [default: SITE/handlers]
    #[arg(long, value_name = "FOLDER")]
    pub handlers: Option<PathBuf>,
    /// The folder for compiled handlers, which makes restarts fast; `none` disables it
    /// [default: wasgi/code in the user's cache folder]
    #[arg(long, value_name = "FOLDER")]
    pub code_cache: Option<PathBuf>,
    /// Serve even if the folder of pages contains the handlers or wasgi.toml, which visitors can
    /// then read
    #[arg(long)]
    pub allow_overlap: bool,
}

/// `wasgi routes`.
#[derive(Debug, Args)]
pub struct Routes {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Also show what each handler imports
    #[arg(short, long)]
    pub verbose: bool,
    /// The site.
    #[command(flatten)]
    pub site: Site,
}

/// `wasgi wit`.
#[derive(Debug, Args)]
pub struct Wit {
    /// The folder to write to; created if it doesn't exist
    #[arg(value_name = "DIR", default_value = "wit")]
    pub folder: PathBuf,
    /// The world to write: wasgi:gateway/handler, or wasi:http/proxy@0.2.N
    #[arg(long, value_name = "NAME", default_value = "wasgi:gateway/handler")]
    pub world: String,
}

/// `wasgi serve`.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// The site.
    #[command(flatten)]
    pub site: Site,
    /// The address to listen on: an address or a name with a port, or a port of 127.0.0.1; port 0
    /// picks a free port [default: 127.0.0.1:8000]
    #[arg(long, value_name = "HOST:PORT", value_parser = addr::parse)]
    pub addr: Option<SocketAddr>,
    /// Serving threads per process [default: one per processor; 1 with several processes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Serving processes, isolated from each other; one that dies is replaced [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub processes: Option<u16>,
    /// Which worker of which supervisor this is: for supervisors only.
    #[arg(long, hide = true, value_name = "NUMBER/SUPERVISOR")]
    pub worker: Option<supervisor::WorkerId>,
    /// Don't write a line per request to standard output
    #[arg(long)]
    pub no_access_log: bool,
    /// The least severe level of messages in the error log [default: info]
    #[arg(long, value_name = "LEVEL", conflicts_with = "quiet")]
    pub log_level: Option<log::Verbosity>,
    /// Log only warnings and errors: no routes at startup, no line per request
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't send the Server field
    #[arg(long)]
    pub no_server_field: bool,
    /// How long requests in flight may take after SIGINT or SIGTERM [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub shutdown_grace: Option<Duration>,
    /// Serve HTTPS with this certificate, in PEM, followed by its chain
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// An address for plain HTTP, whose requests are redirected to HTTPS
    #[arg(long, value_name = "HOST:PORT", value_parser = addr::parse)]
    pub redirect_http: Option<SocketAddr>,
    /// A proxy whose X-Forwarded fields are trusted; repeatable
    #[arg(long, value_name = "NETWORK")]
    pub trust_proxy: Vec<proxy::Network>,
    /// Connections from trusted proxies begin with a PROXY header
    #[arg(long)]
    pub proxy_protocol: bool,
    /// The limits.
    #[command(flatten)]
    pub limits: Limits,
}

/// The limits of a request and of a connection.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = LIMITS_HEADING)]
pub struct Limits {
    /// The budget of a request.
    #[command(flatten)]
    pub budget: Budget,
    /// Concurrent requests per handler [default: 10000]
    #[arg(long, value_name = "N")]
    pub max_concurrent: Option<usize>,
    /// Largest request body [default: 64]
    #[arg(long, value_name = "MIB", value_parser = mebibytes)]
    pub max_body: Option<usize>,
    /// Open connections; further ones are closed [default: 32768]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u32>,
    /// Open connections per address; further ones get a 503 [default: 16384]
    #[arg(long, value_name = "N")]
    pub max_connections_per_address: Option<u32>,
    /// How long a request's head may take to arrive [default: 20]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub head_timeout: Option<Duration>,
    /// How long a handler may wait for a request body [default: 20]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub body_timeout: Option<Duration>,
    /// How long a connection may be idle between requests [default: 75]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub idle_timeout: Option<Duration>,
    /// How long a client may read nothing of its response [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub write_timeout: Option<Duration>,
    /// Time from a request's head to the end of its response [default: 3600]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub request_timeout: Option<Duration>,
}

impl Site {
    /// Returns the sources of the configuration.
    pub fn sources(&self) -> Sources {
        Sources {
            site: self.site.clone(),
            file: self.config.clone(),
        }
    }

    /// Overrides the file's values with the flags that were given.
    pub fn set(&self, draft: &mut Draft) {
        let root = self.root.clone().map(Some);
        draft.flag("site.root", "--root", root.as_ref(), |it| &mut it.site.root);
        let handlers = self.handlers.clone().map(Some);
        draft.flag("site.handlers", "--handlers", handlers.as_ref(), |it| {
            &mut it.site.handlers
        });
        let code_cache = self.code_cache.clone().map(Some);
        draft.flag(
            "site.code-cache",
            "--code-cache",
            code_cache.as_ref(),
            |it| &mut it.site.code_cache,
        );
        let allow_overlap = self.allow_overlap.then_some(true);
        draft.flag(
            "site.allow-overlap",
            "--allow-overlap",
            allow_overlap.as_ref(),
            |it| &mut it.site.allow_overlap,
        );
    }

    /// Loads the configuration of a site, for commands that do not serve. Also returns a log
    /// message for each overlap of its folders that is allowed.
    ///
    /// # Errors
    ///
    /// Fails if the file or a flag is invalid, or if visitors could read files that are not pages;
    /// see [`ResolvedConfig::load`] and [`ResolvedConfig::check_layout`].
    pub fn load(&self) -> anyhow::Result<(ResolvedConfig, Vec<String>)> {
        let resolved = ResolvedConfig::load(&self.sources(), |draft| self.set(draft))?;
        let overlaps = resolved.check_layout(&self.sources())?;
        Ok((resolved, overlaps))
    }
}

impl Serve {
    /// Overrides the file's values with the flags that were given.
    pub fn set(&self, draft: &mut Draft) {
        self.site.set(draft);
        draft.flag("server.addr", "--addr", self.addr.as_ref(), |it| {
            &mut it.server.addr
        });
        let threads = self.threads.map(Some);
        draft.flag("server.threads", "--threads", threads.as_ref(), |it| {
            &mut it.server.threads
        });
        let processes = self.processes.as_ref();
        draft.flag("server.processes", "--processes", processes, |it| {
            &mut it.server.processes
        });
        let off = |flag: bool| flag.then_some(false);
        let access_log = off(self.no_access_log);
        draft.flag(
            "server.access-log",
            "--no-access-log",
            access_log.as_ref(),
            |it| &mut it.server.access_log,
        );
        let log_level = self.log_level.as_ref();
        draft.flag("server.log-level", "--log-level", log_level, |it| {
            &mut it.server.log_level
        });
        let quiet = self.quiet.then_some(log::Verbosity::Warn);
        draft.flag("server.log-level", "--quiet", quiet.as_ref(), |it| {
            &mut it.server.log_level
        });
        let no_access_log = off(self.quiet);
        draft.flag(
            "server.access-log",
            "--quiet",
            no_access_log.as_ref(),
            |it| &mut it.server.access_log,
        );
        let server_field = off(self.no_server_field);
        draft.flag(
            "server.server-field",
            "--no-server-field",
            server_field.as_ref(),
            |it| &mut it.server.server_field,
        );
        let grace = self.shutdown_grace.as_ref();
        draft.flag("server.shutdown-grace", "--shutdown-grace", grace, |it| {
            &mut it.server.shutdown_grace
        });
        self.set_tls(draft);
        self.set_proxy(draft);
        self.limits.set(draft);
    }

    fn set_tls(&self, draft: &mut Draft) {
        let cert = self.tls_cert.clone().map(Some);
        draft.flag("tls.cert", "--tls-cert", cert.as_ref(), |it| {
            &mut it.tls.cert
        });
        let key = self.tls_key.clone().map(Some);
        draft.flag("tls.key", "--tls-key", key.as_ref(), |it| &mut it.tls.key);
        let redirect = self.redirect_http.map(Some);
        draft.flag(
            "tls.redirect-http",
            "--redirect-http",
            redirect.as_ref(),
            |it| &mut it.tls.redirect_http,
        );
    }

    fn set_proxy(&self, draft: &mut Draft) {
        let trusted = Some(&self.trust_proxy).filter(|networks| !networks.is_empty());
        draft.flag("proxy.trusted", "--trust-proxy", trusted, |it| {
            &mut it.proxy.trusted
        });
        let protocol = self.proxy_protocol.then_some(true);
        draft.flag(
            "proxy.protocol",
            "--proxy-protocol",
            protocol.as_ref(),
            |it| &mut it.proxy.protocol,
        );
    }

    /// Loads the configuration for `wasgi serve`. Also returns a log message for each overlap of
    /// the site's folders that is allowed.
    ///
    /// # Errors
    ///
    /// Fails if the file or a flag is invalid, or if visitors could read files that are not pages;
    /// see [`ResolvedConfig::load`] and [`ResolvedConfig::check_layout`].
    pub fn load(&self) -> anyhow::Result<(ResolvedConfig, Vec<String>)> {
        let resolved = ResolvedConfig::load(&self.site.sources(), |draft| self.set(draft))?;
        let overlaps = resolved.check_layout(&self.site.sources())?;
        Ok((resolved, overlaps))
    }
}

impl Limits {
    fn set(&self, draft: &mut Draft) {
        self.budget.set(draft);
        let concurrent = self.max_concurrent.as_ref();
        draft.flag(
            "budget.concurrent-requests",
            "--max-concurrent",
            concurrent,
            |it| &mut it.budget.concurrent_requests,
        );
        self.set_connections(draft);
        self.set_timeouts(draft);
    }

    fn set_connections(&self, draft: &mut Draft) {
        let body = self.max_body.map(|bytes| bytes as u64);
        draft.flag("limits.body", "--max-body", body.as_ref(), |it| {
            &mut it.http.body_bytes
        });
        let connections = self.max_connections.as_ref();
        draft.flag(
            "limits.connections",
            "--max-connections",
            connections,
            |it| &mut it.limits.connections_count,
        );
        let (key, flag) = (
            "limits.connections-per-address",
            "--max-connections-per-address",
        );
        let per_address = self.max_connections_per_address.as_ref();
        draft.flag(key, flag, per_address, |it| {
            &mut it.limits.connections_per_address_count
        });
    }

    fn set_timeouts(&self, draft: &mut Draft) {
        draft.flag(
            "limits.head-timeout",
            "--head-timeout",
            self.head_timeout.as_ref(),
            |it| &mut it.http.head_timeout,
        );
        draft.flag(
            "limits.body-timeout",
            "--body-timeout",
            self.body_timeout.as_ref(),
            |it| &mut it.http.body_patience,
        );
        draft.flag(
            "limits.idle-timeout",
            "--idle-timeout",
            self.idle_timeout.as_ref(),
            |it| &mut it.http.idle_timeout,
        );
        let write = self.write_timeout.as_ref();
        draft.flag("limits.write-timeout", "--write-timeout", write, |it| {
            &mut it.limits.write_patience
        });
        let request = self.request_timeout.as_ref();
        draft.flag(
            "limits.request-timeout",
            "--request-timeout",
            request,
            |it| &mut it.limits.request_timeout,
        );
    }
}

/// Parses a duration: a number of seconds, fractions allowed, or with a unit as in the file.
fn seconds(text: &str) -> Result<Duration, String> {
    if text.ends_with(|last: char| last.is_ascii_digit()) {
        duration::parse(&format!("{text}s"))
            .map_err(|_| "expected seconds, from 0.001 to 86400".into())
    } else {
        duration::parse(text)
    }
}

fn mebibytes(text: &str) -> Result<usize, String> {
    bytes(text, "MiB")
}

fn kibibytes(text: &str) -> Result<usize, String> {
    bytes(text, "KiB")
}

/// Parses a size. A number without a unit is in `unit`.
fn bytes(text: &str, unit: &str) -> Result<usize, String> {
    let bytes = if text.ends_with(|last: char| last.is_ascii_digit()) {
        size::parse(&format!("{text}{unit}"))?
    } else {
        size::parse(text)?
    };
    match usize::try_from(bytes) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("expected more than nothing".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::Config;

    /// Returns the configuration of a site with these flags and no file.
    fn resolved(flags: &[&str]) -> ResolvedConfig {
        let folder = tempfile::tempdir().expect("a folder");
        let site = folder.path().to_str().expect("a name");
        let arguments = ["wasgi", "serve", site]
            .into_iter()
            .chain(flags.iter().copied());
        let Command::Serve(serve) = Cli::parse_from(arguments).command else {
            panic!("expected serve");
        };
        serve.load().expect("a configuration").0
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_flags_all_values_are_defaults() {
        let mut resolved = resolved(&[]);
        assert!(resolved.origins.is_empty());
        resolved.config.site = Default::default();
        assert_eq!(resolved.config, Config::default());
    }

    #[test]
    fn the_help_says_the_defaults() {
        let mut command = Cli::command();
        let help = |command: &mut clap::Command, name: &str| {
            let command = command.find_subcommand_mut(name).expect("it is there");
            command.render_long_help().to_string()
        };
        // The limits of a request are defined once for all commands.
        for name in ["check", "run"] {
            let help = help(&mut command, name);
            assert!(help.contains("--max-cpu-time"), "{name}: {help}");
        }
        let help = help(&mut command, "serve");
        let config = Config::default();
        let seconds = |time: Duration| time.as_secs_f64().to_string();
        for (flag, default) in [
            ("--addr", config.server.addr.to_string()),
            ("--processes ", config.server.processes.to_string()),
            ("--shutdown-grace", seconds(config.server.shutdown_grace)),
            (
                "--max-memory",
                (config.budget.memory_bytes >> 20).to_string(),
            ),
            ("--max-wall-time", seconds(config.budget.wall_time)),
            ("--max-cpu-time", seconds(config.budget.cpu_time)),
            (
                "--max-concurrent",
                config.budget.concurrent_requests.to_string(),
            ),
            (
                "--max-response-head",
                (config.budget.response_head_bytes >> 10).to_string(),
            ),
            ("--max-log", (config.budget.log_bytes >> 10).to_string()),
            ("--max-body", (config.http.body_bytes >> 20).to_string()),
            (
                "--max-connections ",
                config.limits.connections_count.to_string(),
            ),
            (
                "--max-connections-per-address",
                config.limits.connections_per_address_count.to_string(),
            ),
            ("--head-timeout", seconds(config.http.head_timeout)),
            ("--body-timeout", seconds(config.http.body_patience)),
            ("--idle-timeout", seconds(config.http.idle_timeout)),
            ("--write-timeout", seconds(config.limits.write_patience)),
            ("--request-timeout", seconds(config.limits.request_timeout)),
        ] {
            let (_, after) = help.split_once(flag).expect(flag);
            let (_, after) = after.split_once("[default: ").expect(flag);
            let (shown, _) = after.split_once(']').expect(flag);
            assert_eq!(shown, default, "{flag}");
        }
    }

    #[test]
    fn each_flag_sets_the_key_that_it_names() {
        let flags = [
            "--root=/a --handlers=/b --code-cache=/c --addr=[::1]:0 --threads=3",
            "--processes=2",
            "--log-level=debug --no-access-log --no-server-field --shutdown-grace=7 --max-memory=1GiB",
            "--max-wall-time=7 --max-cpu-time=1500ms --max-concurrent=7",
            "--max-response-head=7 --max-log=7 --max-body=7 --max-connections=70",
            "--max-connections-per-address=7 --head-timeout=7 --body-timeout=7",
            "--idle-timeout=7 --write-timeout=7 --request-timeout=7 --tls-cert=/d --tls-key=/e",
            "--redirect-http=[::1]:0 --trust-proxy=10.0.0.0/8 --proxy-protocol",
        ];
        let flags: Vec<&str> = flags.iter().flat_map(|line| line.split(' ')).collect();
        let resolved = resolved(&flags);
        assert_eq!(resolved.origins.len(), flags.len());
        // Each key that is attributed to a flag has a value other than the default.
        let shown = resolved.show();
        let default = crate::config::values(&Config::default());
        let values = crate::config::values(&resolved.config);
        for key in resolved.origins.keys() {
            assert!(values.contains_key(key), "{key} is no key");
            assert_ne!(values.get(key), default.get(key), "{key}");
        }
        assert_eq!(shown.matches("# flag --").count(), flags.len(), "{shown}");
    }

    #[test]
    fn invalid_values_are_rejected() {
        for flag in [
            "--max-memory=0",
            "--max-memory=1.5",
            "--max-cpu-time=-1",
            "--max-cpu-time=0",
            "--max-wall-time=NaN",
            "--max-wall-time=86401",
            "--threads=0",
            "--processes=0",
            "--worker=1",
        ] {
            assert!(
                Cli::try_parse_from(["wasgi", "serve", flag]).is_err(),
                "{flag}"
            );
        }
    }
}
