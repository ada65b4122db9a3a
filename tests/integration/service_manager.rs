//! The protocol of systemd: sockets that it has bound, and messages about the server's state.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::command::{code_cache, wasgi};
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::{PATIENCE, eventually};

/// The interval of the watchdog, in microseconds.
const WATCHDOG_MICROSECONDS: &str = "200000";

fn site() -> Site {
    Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("hello", "the handler")
}

/// Receives the messages of a server.
struct Manager(UnixDatagram);

impl Manager {
    fn new(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Manager(socket)
    }

    /// Waits for a message with a line that begins with `start`. Returns the rest of that line.
    #[track_caller]
    fn expect(&self, start: &str) -> String {
        loop {
            let mut message = [0; 4096];
            let count = self.0.recv(&mut message).expect("a message");
            let message = String::from_utf8_lossy(&message[..count]).into_owned();
            if let Some(rest) = message.lines().find_map(|line| line.strip_prefix(start)) {
                return rest.to_owned();
            }
        }
    }
}

#[test]
fn the_manager_learns_each_state_and_that_all_reactors_run() {
    for processes in ["1", "2"] {
        let site = site();
        let path = site.path().join("notify.sock");
        let manager = Manager::new(&path);
        let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--processes", processes]);
        command.arg("--code-cache").arg(code_cache());
        command.env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", WATCHDOG_MICROSECONDS);
        let server = Server::started(Process::start(command.arg(site.path())));
        assert_eq!(manager.expect("MAINPID="), server.id().to_string());
        for _ in 0..3 {
            manager.expect("WATCHDOG=1");
        }
        server.signal(Signal::HUP);
        manager.expect("RELOADING=1");
        manager.expect("READY=1");
        server.signal(Signal::TERM);
        manager.expect("STOPPING=1");
        server.wait();
    }
}

/// Serves a site on a socket that is already bound.
fn activated(site: &Site, listener: &TcpListener, processes: &str) -> Server {
    // As systemd passes it: from descriptor 3 on, with the process ID of the server.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=site exec \"$@\" 3<&0 0</dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]);
    let server = wasgi(["serve", "--addr", "127.0.0.1:1", "--threads", "2"]);
    command.arg(server.get_program()).args(server.get_args());
    command.args(["--processes", processes, "--code-cache"]);
    command.arg(code_cache()).arg(site.path());
    for (name, value) in server.get_envs() {
        command.env(name, value.expect("it is set"));
    }
    let socket = OwnedFd::from(listener.try_clone().expect("a descriptor"));
    let process = Process::start_with(&mut command, socket.into(), Stdio::piped());
    Server::started(process)
}

#[test]
fn a_socket_of_the_manager_is_served_and_keeps_connections_between_two_servers() {
    for processes in ["1", "2"] {
        let site = site();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let server = activated(&site, &listener, processes);
        assert_eq!(server.addr(), addr);
        for _ in 0..4 {
            assert_eq!(server.get("/hello").text(), "the handler");
        }
        server.stop();
        // Nobody serves, and nobody is refused.
        let mut client = Client::connect(addr);
        client.request("GET", "/hello");
        let server = activated(&site, &listener, processes);
        assert_eq!(client.response().text(), "the handler");
        drop(client);
        server.stop();
    }
}

#[test]
fn the_manager_learns_the_process_of_a_successor() {
    let site = site();
    let path = site.path().join("notify.sock");
    let manager = Manager::new(&path);
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
    command.arg(code_cache()).env("NOTIFY_SOCKET", &path);
    let server = Server::started(Process::start(command.arg(site.path())));
    let first = manager.expect("MAINPID=");
    server.signal(Signal::USR2);
    let second = manager.expect("MAINPID=");
    assert_ne!(first, second);
    // From the successor itself.
    assert_eq!(manager.expect("MAINPID="), second);
    let pid = second.parse().ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.expect("a process");
    assert_eq!(server.get("/").status(), 200);
    rustix::process::kill_process(pid, Signal::TERM).expect("it is there");
    manager.expect("STOPPING=1");
    eventually("nobody listens", || {
        std::net::TcpStream::connect(server.addr()).is_err()
    });
}
