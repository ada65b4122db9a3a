//! The real program, which serves a site on a port that the system chose.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use super::client::{Client, Ending};
use super::command::{code_cache, wasgi};
use super::output::Output;
use super::process::{Ended, Process};
use super::response::Response;
use super::site::Site;
use super::{LOOK, PATIENCE, eventually};

/// A running server. Dropping it kills the process; [`Server::stop`] shuts it down.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    addr: SocketAddr,
}

impl Server {
    /// Serves a site on two threads.
    #[track_caller]
    pub(crate) fn new(site: &Site) -> Server {
        Server::with(site, &[])
    }

    /// Serves a site with these flags, on two threads unless they include `--threads`.
    #[track_caller]
    pub(crate) fn with(site: &Site, flags: &[&str]) -> Server {
        let mut command = wasgi(["serve", "--addr", "127.0.0.1:0"]);
        if !flags.contains(&"--threads") {
            command.args(["--threads", "2"]);
        }
        if !flags.contains(&"--code-cache") {
            command.arg("--code-cache").arg(code_cache());
        }
        command.args(flags).arg(site.path());
        Server::started(Process::start(&mut command))
    }

    /// Waits until the process listens and its handlers are loaded.
    #[track_caller]
    pub(crate) fn started(process: Process) -> Server {
        let server = Server::listening(process);
        let is_loaded = |line: &String| line.contains("all handlers are loaded");
        eventually("all handlers are loaded", || {
            let logs = [server.access_log(), server.error_log()];
            logs.iter().any(|log| log.lines().iter().any(is_loaded))
        });
        server
    }

    /// Waits until the process listens. Its handlers may be loaded later.
    #[track_caller]
    pub(crate) fn listening(mut process: Process) -> Server {
        // In which log the line is depends on their format.
        let address = |line: &String| {
            let (_, rest) = line.split_once("listening on http")?;
            let (_, rest) = rest.split_once("://")?;
            rest.split('/').next()?.parse().ok()
        };
        let until = Instant::now() + PATIENCE;
        loop {
            let logs = [&process.stdout, &process.stderr].map(Option::as_ref);
            let lines = logs.map(|log| log.map(Output::lines).unwrap_or_default());
            if let Some(addr) = lines.iter().flatten().find_map(address) {
                return Server { process, addr };
            }
            if process.has_ended() {
                panic!("{}", process.wait().everything());
            }
            assert!(Instant::now() < until, "it does not say where it listens");
            thread::sleep(LOOK);
        }
    }

    /// Returns the address that the server listens on.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Opens a connection to the server.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Sends a GET on a new connection and returns the response.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Response {
        self.ask("GET", target)
    }

    /// Sends a request with any method on a new connection and returns the response.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, target: &str) -> Response {
        let mut client = self.connect();
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ));
        let response = client.response_to(method);
        assert_eq!(client.ending(), Ending::Closed, "after {method} {target}");
        response
    }

    /// Returns the access log.
    pub(crate) fn access_log(&self) -> &Output {
        self.process.stdout.as_ref().expect("it is running")
    }

    /// Returns the error log.
    pub(crate) fn error_log(&self) -> &Output {
        self.process.stderr.as_ref().expect("it is running")
    }

    /// Sends SIGTERM and waits for the server to exit. Panics unless it exits with success.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.process.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the server to exit. Panics unless it exits with success.
    #[track_caller]
    pub(crate) fn wait(self) -> Ended {
        let ended = self.process.wait();
        assert!(ended.status.success(), "{}", ended.everything());
        ended
    }
}

/// Gives access to the process's methods.
impl Deref for Server {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
