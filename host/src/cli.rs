//! The command line: `wasgi serve`, `wasgi routes` and `wasgi config`. The arguments of `wasgi
//! check` and `wasgi run` are in `trial`, those of `wasgi new`, `wasgi build`, `wasgi deps`, `wasgi
//! dev`, `wasgi state`, `wasgi test` and `wasgi top` in files of the same name, the arguments that
//! name a site in `site`, and the flags of configuration keys in `flags`.
//!
//! A flag that is not given has no value here: `config` has the defaults, and the file's values
//! take precedence over them.

mod build;
mod bundle;
mod completions;
mod deps;
mod dev;
mod doctor;
mod flags;
mod mistakes;
mod new;
mod pull;
mod self_contained;
mod site;
mod state;
mod test;
mod top;
mod trial;
mod upgrade;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bundle::{own_path, process_arguments};
use crate::config::{Draft, ResolvedConfig, Value};
use crate::engine::compile;
use crate::log;
use crate::supervisor;
use flags::{Flags, OfBudget, OfClients, OfLimits, OfServer};

pub use build::Build;
pub use bundle::Bundle;
pub use completions::Completions;
pub use deps::Deps;
pub use dev::Dev;
pub use doctor::Doctor;
pub use new::{Language, New};
pub use pull::Pull;
pub use site::{Site, SiteArgument, SiteFlag, SourcesSite};
pub use state::{StateArguments, StateCommand};
pub use test::Test;
pub use top::Top;
pub(crate) use trial::TrialSite;
pub use trial::{Check, Run, Trial};
pub use upgrade::Upgrade;

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
        let arguments = process_arguments();
        let parsed = match own_path() {
            Some(own) => self_contained::parse(&arguments, own),
            None => Self::try_parse_from(&arguments),
        };
        parsed.unwrap_or_else(|error| mistakes::explain(error, &arguments).exit())
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a site with a page, a handler and a test, or add a handler to a site
    New(New),
    /// Serve a site until interrupted
    Serve(Box<Serve>),
    /// Serve a site while it is being developed: pages follow changes, failures explain themselves
    Dev(Box<Dev>),
    /// Show what serves each route, without serving
    Routes(Routes),
    /// Check handlers against the contract, without serving, and explain each problem
    Check(Check),
    /// Send one request to a handler, without serving, and print the response
    Run(Run),
    /// Send the requests of test files to handlers, without serving, and compare the responses
    Test(Test),
    /// Build a portable .wasm file from a handler's sources
    Build(Build),
    /// Make one file of a site, which `wasgi serve` serves like the site's folder
    Bundle(Bundle),
    /// Download a handler or a bundle from an OCI registry, and print its reference with its digest
    Pull(Pull),
    /// Install the packages that applications in folders require, for the sandbox
    Deps(Deps),
    /// Read and change the key-value buckets of handlers, while the server runs or not
    State(StateArguments),
    /// Write the WIT of the handler contract to a folder, for component toolchains
    Wit(Wit),
    /// Print the configuration that `wasgi serve` would use with the same flags, as TOML
    Config(Box<Serve>),
    /// Replace a running server by the current file of its program, without a refused connection
    Upgrade(Upgrade),
    /// Say what this machine and this site lack, and what to do about it
    Doctor(Doctor),
    /// Show routes, rates, latencies, memory and the last errors of a running server
    Top(Top),
    /// Print a script that completes this program's arguments in a shell
    Completions(Completions),
    /// Print the manual page, for man(1)
    Man,
    /// Compile what a server sends: for servers only
    #[command(hide = true)]
    CompileForServer(compile::Limits),
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
    /// The flags of the keys in `[server]`.
    #[command(flatten)]
    server: Flags<OfServer>,
    /// Log only warnings and errors: no routes at startup, no line per request
    #[arg(short, long, conflicts_with = "server.log-level")]
    pub quiet: bool,
    /// Which worker of which supervisor this is: for supervisors only.
    #[arg(long, hide = true, value_name = "NUMBER/SUPERVISOR")]
    pub worker: Option<supervisor::WorkerId>,
    /// The server that this process replaces: for servers only.
    #[arg(long, hide = true, value_name = "PID")]
    pub upgrade_from: Option<u32>,
    /// The flags of the keys in `[tls]` and `[proxy]`.
    #[command(flatten)]
    clients: Flags<OfClients>,
    /// The flags of the keys in `[budget]`.
    #[command(flatten)]
    budget: Flags<OfBudget>,
    /// The flags of the keys in `[limits]`.
    #[command(flatten)]
    limits: Flags<OfLimits>,
}

impl Serve {
    /// Overrides the file's values with the flags that were given.
    pub fn set(&self, draft: &mut Draft) {
        self.site.set(draft);
        self.server.set(draft);
        if self.quiet {
            let level = Value::Level(log::Verbosity::Warn);
            draft.flag_of("server.log-level", "--quiet", &level);
            draft.flag_of("server.access-log", "--quiet", &Value::Switch(false));
        }
        self.clients.set(draft);
        self.budget.set(draft);
        self.limits.set(draft);
    }

    /// Loads the configuration for `wasgi serve`. Also returns a log message for each overlap of
    /// the site's folders that is allowed.
    ///
    /// # Errors
    ///
    /// Fails if the file or a flag is invalid, or if visitors could read files that are not pages;
    /// see [`ResolvedConfig::load`] and [`ResolvedConfig::check_layout`].
    pub(crate) fn load(&self) -> anyhow::Result<(ResolvedConfig, Vec<String>)> {
        self.site.load_with(|draft| self.set(draft))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        resolved.config.state = Default::default();
        resolved.config.acme.folder = None;
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
            "--log-level=debug --no-access-log --no-server-field --max-memory=1GiB",
            "--drain-delay=7 --shutdown-grace=7",
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
