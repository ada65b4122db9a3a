//! The command line: `wasgi serve`, `wasgi routes`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Budget, Config};
use crate::http1;
use crate::server::{proxy, tls};

/// Serves a folder of pages and a folder of sandboxed handlers.
///
/// `html/about.html` is /about.html. `handlers/hello.wasm` is /hello, and each request runs in a
/// sandbox of its own. Change a file, and the next request has it.
#[derive(Debug, Parser)]
#[command(name = "wasgi", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a site until interrupted
    Serve(Box<Serve>),
    /// Show what serves each route, without serving
    Routes(Routes),
}

/// Where a site's two folders are.
#[derive(Debug, Args)]
pub struct Site {
    /// The folder that holds both of them
    #[arg(value_name = "SITE", default_value = ".")]
    pub site: PathBuf,
    /// The folder of pages [default: SITE/html]
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// The folder of handlers [default: SITE/handlers]
    #[arg(long, value_name = "FOLDER")]
    pub handlers: Option<PathBuf>,
    /// Where compiled handlers are kept, so that a restart need not compile; `none` for nowhere
    /// [default: wasgi/code in the user's cache folder]
    #[arg(long, value_name = "FOLDER")]
    pub code_cache: Option<PathBuf>,
}

/// `wasgi routes`.
#[derive(Debug, Args)]
pub struct Routes {
    /// Where the site is.
    #[command(flatten)]
    pub site: Site,
}

/// `wasgi serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where the site is.
    #[command(flatten)]
    pub site: Site,
    /// Where to listen; port 0 picks a free port
    #[arg(long, value_name = "IP:PORT", default_value_t = Config::DEFAULT_ADDR)]
    pub addr: SocketAddr,
    /// Threads that serve [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Leave out the line per request on standard output
    #[arg(long)]
    pub no_access_log: bool,
    /// How long requests in flight may go on after SIGINT or SIGTERM
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub shutdown_grace: Duration,
    /// The certificate, in PEM form; its chain after it. With it, HTTPS is served
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM form
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Where to listen for plain HTTP, to send it on to HTTPS
    #[arg(long, value_name = "IP:PORT", requires = "tls_cert")]
    pub redirect_http: Option<SocketAddr>,
    /// A proxy that may say who a client is (X-Forwarded-For); can be given several times
    #[arg(long, value_name = "NETWORK")]
    pub trust_proxy: Vec<proxy::Network>,
    /// Connections from trusted proxies begin with a PROXY header
    #[arg(long, requires = "trust_proxy")]
    pub proxy_protocol: bool,
    /// What a request may cost.
    #[command(flatten)]
    pub limits: Limits,
}

/// What one request may cost its handler, or ask of the server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Memory of one instance
    #[arg(long, value_name = "MIB", default_value = "128", value_parser = mebibytes)]
    pub max_memory: usize,
    /// Time from a request's head to its response's end
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub max_wall_time: Duration,
    /// Time a request may compute, waiting not counted
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub max_cpu_time: Duration,
    /// Requests that one handler may have in work at a time
    #[arg(long, value_name = "N", default_value_t = Budget::default().concurrent_requests)]
    pub max_concurrent: usize,
    /// Status and fields of a response together
    #[arg(long, value_name = "KIB", default_value = "64", value_parser = kibibytes)]
    pub max_response_head: usize,
    /// What a request may write to the error log
    #[arg(long, value_name = "KIB", default_value = "64", value_parser = kibibytes)]
    pub max_log: usize,
    /// Body of a request
    #[arg(long, value_name = "MIB", default_value = "64", value_parser = mebibytes)]
    pub max_body: usize,
    /// How long a request's head may take to arrive
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub head_timeout: Duration,
    /// How long a body may keep its reader waiting
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub body_timeout: Duration,
    /// How long a connection may wait for its next request
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub idle_timeout: Duration,
}

impl Site {
    /// The folder of pages.
    pub fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| self.within("html"))
    }

    /// The folder of handlers.
    pub fn handlers(&self) -> PathBuf {
        self.handlers
            .clone()
            .unwrap_or_else(|| self.within("handlers"))
    }

    /// The folder of compiled handlers, if they are to be kept.
    pub fn code_cache(&self) -> Option<PathBuf> {
        match &self.code_cache {
            Some(folder) if folder.as_os_str() == "none" => None,
            Some(folder) => Some(folder.clone()),
            None => {
                // The XDG base directory specification: a relative path there is to be ignored.
                let set = |name| std::env::var_os(name).map(PathBuf::from);
                let absolute = |path: &PathBuf| path.is_absolute();
                let caches = set("XDG_CACHE_HOME")
                    .filter(absolute)
                    .or_else(|| set("HOME").filter(absolute).map(|home| home.join(".cache")))?;
                Some(caches.join("wasgi").join("code"))
            }
        }
    }

    fn within(&self, name: &str) -> PathBuf {
        if self.site.as_os_str() == "." {
            name.into()
        } else {
            self.site.join(name)
        }
    }
}

impl Serve {
    /// The settings that the flags make.
    pub fn config(&self) -> Config {
        let limits = &self.limits;
        Config {
            addr: self.addr,
            root: self.site.root(),
            handlers: self.site.handlers(),
            threads: self.threads.map_or_else(processors, usize::from),
            budget: Budget {
                memory_bytes: limits.max_memory,
                wall_time: limits.max_wall_time,
                cpu_time: limits.max_cpu_time,
                concurrent_requests: limits.max_concurrent,
                response_head_bytes: limits.max_response_head,
                log_bytes: limits.max_log,
            },
            http: http1::Limits {
                body_bytes: limits.max_body as u64,
                head_timeout: limits.head_timeout,
                body_patience: limits.body_timeout,
                idle_timeout: limits.idle_timeout,
                ..http1::Limits::default()
            },
            tls: tls::Options {
                cert: self.tls_cert.clone(),
                key: self.tls_key.clone(),
                redirect_http: self.redirect_http,
                ..tls::Options::default()
            },
            proxy: proxy::Options {
                trusted: self.trust_proxy.clone(),
                protocol: self.proxy_protocol,
                ..proxy::Options::default()
            },
            access_log: !self.no_access_log,
            shutdown_grace: self.shutdown_grace,
            code_cache: self.site.code_cache(),
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A duration that a person would give: a number of seconds, fractions allowed, a day at most.
fn seconds(text: &str) -> Result<Duration, String> {
    const DAY: f64 = 24.0 * 60.0 * 60.0;
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=DAY).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected seconds, from 0.001 to 86400".into()),
    }
}

fn mebibytes(text: &str) -> Result<usize, String> {
    bytes(text, 1024 * 1024, 4096)
}

fn kibibytes(text: &str) -> Result<usize, String> {
    bytes(text, 1024, 1024 * 1024)
}

fn bytes(text: &str, unit: usize, most: usize) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if (1..=most).contains(&count) => Ok(count * unit),
        _ => Err(format!("expected a whole number from 1 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_without_a_word_are_the_defaults() {
        let Command::Serve(serve) = Cli::parse_from(["wasgi", "serve"]).command else {
            panic!("expected serve");
        };
        let config = serve.config();
        assert_eq!(config.budget, Budget::default());
        assert_eq!(config.http, http1::Limits::default());
        assert_eq!(config.addr, Config::DEFAULT_ADDR);
        assert_eq!(config.shutdown_grace, Config::DEFAULT_SHUTDOWN_GRACE);
        assert_eq!(config.root, PathBuf::from("html"));
        assert_eq!(config.handlers, PathBuf::from("handlers"));
    }

    #[test]
    fn a_site_holds_both_folders_and_each_can_be_given_alone() {
        let Command::Routes(routes) =
            Cli::parse_from(["wasgi", "routes", "/srv/site", "--root", "/srv/www"]).command
        else {
            panic!("expected routes");
        };
        assert_eq!(routes.site.root(), PathBuf::from("/srv/www"));
        assert_eq!(routes.site.handlers(), PathBuf::from("/srv/site/handlers"));
    }

    #[test]
    fn nonsense_is_refused() {
        for flag in [
            "--max-memory=0",
            "--max-cpu-time=-1",
            "--max-wall-time=NaN",
            "--threads=0",
        ] {
            assert!(
                Cli::try_parse_from(["wasgi", "serve", flag]).is_err(),
                "{flag}"
            );
        }
    }
}
