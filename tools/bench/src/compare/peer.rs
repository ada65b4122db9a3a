//! The measured servers: their names, and how they are found, installed and started.
//!
//! Each is configured as an expert would: without an access log, without a limit on the requests
//! per connection, and with one worker.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use super::stage::{Answer, Stage, VENV};

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Peer {
    /// The loop that always sends the same response: the baseline for the others.
    Bare,
    /// This project's server, with a number of threads in each of a number of processes.
    Wasgi {
        threads: usize,
        processes: usize,
    },
    /// `wasmtime serve`, with a new instance for each request or for a number of requests.
    Wasmtime {
        requests_per_instance: u32,
    },
    Nginx,
    Granian,
    Gunicorn,
    StaticWebServer,
}

/// With this many requests per instance, almost no instances are created.
pub(super) const REUSE: u32 = 1_000_000;

impl Peer {
    /// Returns the name in tables.
    pub(super) fn title(self) -> String {
        match self {
            Self::Bare => "bare epoll loop".to_owned(),
            Self::Wasgi {
                threads: 1,
                processes: 1,
            } => "wasgi".to_owned(),
            Self::Wasgi {
                threads,
                processes: 1,
            } => format!("wasgi, {threads} threads"),
            Self::Wasgi { processes, .. } => format!("wasgi, {processes} processes"),
            Self::Wasmtime {
                requests_per_instance: 1,
            } => "wasmtime serve".to_owned(),
            Self::Wasmtime { .. } => "wasmtime serve, reused instances".to_owned(),
            Self::Nginx => "nginx".to_owned(),
            Self::Granian => "granian".to_owned(),
            Self::Gunicorn => "gunicorn".to_owned(),
            Self::StaticWebServer => "static-web-server".to_owned(),
        }
    }

    /// Returns the program's name, unless it is part of this repository.
    pub(super) fn program(self) -> Option<&'static str> {
        match self {
            Self::Bare | Self::Wasgi { .. } => None,
            Self::Wasmtime { .. } => Some("wasmtime"),
            Self::Nginx => Some("nginx"),
            Self::Granian => Some("granian"),
            Self::Gunicorn => Some("gunicorn"),
            Self::StaticWebServer => Some("static-web-server"),
        }
    }

    /// Returns the command that installs it. Python servers are installed in the virtual
    /// environment that is searched first.
    pub(super) fn install(self) -> String {
        let pip =
            |package: &str| format!("python3 -m venv {VENV} && {VENV}/bin/pip install {package}");
        match self {
            Self::Bare | Self::Wasgi { .. } => "cargo xtask build".to_owned(),
            Self::Wasmtime { .. } => "cargo install wasmtime-cli".to_owned(),
            Self::Nginx => "apt-get install nginx-light".to_owned(),
            Self::Granian => pip("granian"),
            Self::Gunicorn => pip("gunicorn"),
            Self::StaticWebServer => "cargo install static-web-server".to_owned(),
        }
    }

    /// Returns the flag that prints its version.
    pub(super) fn version_flag(self) -> &'static str {
        match self {
            Self::Nginx => "-v",
            _ => "--version",
        }
    }

    /// Returns the command that starts it.
    pub(super) fn command(
        self,
        program: PathBuf,
        stage: &Stage,
        address: SocketAddr,
        answer: Answer,
    ) -> Command {
        let mut command = Command::new(program);
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let address = address.to_string();
        match self {
            Self::Bare => {
                command.args(["bare", "--addr", &address]);
                command.args(["--bytes", &stage.length(answer).to_string()]);
            }
            Self::Wasgi { threads, processes } => {
                stage.wasgi_arguments(&mut command, answer);
                command.args(["--addr", &address, "--threads", &threads.to_string()]);
                if processes > 1 {
                    command.args(["--processes", &processes.to_string()]);
                }
            }
            Self::Wasmtime {
                requests_per_instance,
            } => {
                command.args(["serve", "-Scli", "--addr", &address]);
                if requests_per_instance > 1 {
                    command.args(["--max-instance-reuse-count", &REUSE.to_string()]);
                }
                command.arg(stage.wasi_http());
            }
            Self::Nginx => {
                command.arg("-p").arg(stage.folder.join("nginx"));
                command.args(["-e", "error.log", "-c"]);
                command.arg(stage.folder.join("nginx/nginx.conf"));
                command.args(["-g", "daemon off;"]);
            }
            Self::Granian => {
                command.current_dir(&stage.peers).args([
                    "--interface",
                    "wsgi",
                    "--workers",
                    "1",
                    "--no-ws",
                    "--http",
                    "1",
                    "--log-level",
                    "warning",
                    "--host",
                    &ip,
                    "--port",
                    &port,
                    "hello:application",
                ]);
            }
            Self::Gunicorn => {
                // The default worker closes each connection; this one keeps it open.
                command.current_dir(&stage.peers).args([
                    "--workers",
                    "1",
                    "--worker-class",
                    "gthread",
                    "--threads",
                    "8",
                    "--log-level",
                    "warning",
                    "--bind",
                    &address,
                    "hello:application",
                ]);
            }
            Self::StaticWebServer => {
                command.args(["--host", &ip, "--port", &port, "--log-level", "error"]);
                // If built with compression, it compresses for clients that accept it, which the
                // load generator doesn't.
                command.args(["--threads-multiplier", "1"]);
                command.arg("--root").arg(&stage.pages);
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stranger_says_how_it_is_installed() {
        for peer in [
            Peer::Wasmtime {
                requests_per_instance: 1,
            },
            Peer::Nginx,
            Peer::Granian,
            Peer::Gunicorn,
            Peer::StaticWebServer,
        ] {
            let program = peer.program().expect("none of ours");
            assert!(peer.install().contains(program), "{program}");
        }
        assert_eq!(Peer::Bare.program(), None);
    }
}
