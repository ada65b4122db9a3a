//! The listening sockets of a site: one per reactor, all on the same address, so that the kernel
//! distributes the connections and reactors never wait for each other.
//!
//! They are bound by the process that was started, before it gives up privileges. It keeps them,
//! and passes each worker its part, or all of them to its successor. A socket listens as soon as
//! its reactor is about to run.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context as _, ensure};
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::addr;
use super::options::ServerOptions;
use super::tls::TlsOptions;

/// The flag with the listening address.
const ADDR_FLAG: &str = "--addr";

/// The flag with the listening address for clients that are redirected to https.
const REDIRECT_FLAG: &str = "--redirect-http";

/// The length of the accept queue, per reactor: the kernel's default maximum
/// (`net.core.somaxconn`).
pub(crate) const BACKLOG: i32 = 4096;

/// The bound sockets of a site, or of one of its processes.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// At least one.
    site: Vec<Socket>,
    redirect: Vec<Socket>,
}

/// Sockets that another process has bound: a supervisor, a predecessor or the init system.
#[derive(Debug, Default)]
pub(crate) struct GivenSockets {
    /// For the site.
    pub site: Vec<OwnedFd>,
    /// For redirects to the site by https.
    pub redirect: Vec<OwnedFd>,
}

impl Sockets {
    /// Takes the `given` sockets, and binds those addresses of a configuration for which there is
    /// none: one socket for each reactor of each process. Port 0 selects a free port. The sockets
    /// that are bound here don't listen yet.
    ///
    /// # Errors
    ///
    /// Fails if an address is unavailable: it is used by another program, doesn't belong to this
    /// machine, or its port requires privileges; or if a given socket is not a TCP socket.
    pub(crate) fn open(
        given: GivenSockets,
        server: &ServerOptions,
        tls: &TlsOptions,
    ) -> anyhow::Result<Self> {
        let count = server.threads() * usize::from(server.processes);
        let GivenSockets { site, redirect } = given;
        let site = match site.is_empty() {
            true => bind(server.addr, count, ADDR_FLAG)?,
            false => site.into_iter().map(check).collect::<Result<_, _>>()?,
        };
        let redirect = match (tls.redirect_http, redirect.is_empty()) {
            (None, _) => Vec::new(),
            (Some(addr), true) => bind(addr, count, REDIRECT_FLAG)?,
            (Some(_), false) => redirect.into_iter().map(check).collect::<Result<_, _>>()?,
        };
        Ok(Self { site, redirect })
    }

    /// Takes the sockets that a supervisor has bound for this process.
    ///
    /// # Errors
    ///
    /// Fails if the site has no socket, or if one is not a TCP socket.
    pub(crate) fn from_supervisor(given: GivenSockets) -> anyhow::Result<Self> {
        let GivenSockets { site, redirect } = given;
        ensure!(!site.is_empty(), "no socket for the site was passed");
        Ok(Self {
            site: site.into_iter().map(check).collect::<Result<_, _>>()?,
            redirect: redirect.into_iter().map(check).collect::<Result<_, _>>()?,
        })
    }

    /// Returns the listening address, with the selected port.
    ///
    /// # Errors
    ///
    /// Fails if the system can't tell.
    pub(crate) fn addr(&self) -> anyhow::Result<SocketAddr> {
        let first = self.site.first().context("there is no socket")?;
        local_addr(first)
    }

    /// Returns the listening address for clients that are redirected to https.
    ///
    /// # Errors
    ///
    /// Fails if the system can't tell.
    pub(crate) fn redirect_addr(&self) -> anyhow::Result<Option<SocketAddr>> {
        self.redirect.first().map(local_addr).transpose()
    }

    /// Returns the sockets of one of `count` processes, which share them if there are too few.
    ///
    /// # Errors
    ///
    /// Fails for lack of descriptors.
    pub(crate) fn part(&self, index: usize, count: usize) -> io::Result<Self> {
        Ok(Self {
            site: part(&self.site, index, count)?,
            redirect: part(&self.redirect, index, count)?,
        })
    }

    /// Returns the descriptors of the site, and those of the redirect.
    pub(crate) fn files(&self) -> [Vec<BorrowedFd<'_>>; 2] {
        [&self.site, &self.redirect].map(|sockets| sockets.iter().map(AsFd::as_fd).collect())
    }

    /// Accepts no connections until the next [`listen`](Self::listen): the kernel gives them to
    /// other sockets of the same address.
    pub(crate) fn pause(&self) {
        for socket in self.site.iter().chain(&self.redirect) {
            // Fails for a socket that doesn't listen.
            let _ = socket.shutdown(std::net::Shutdown::Read);
        }
    }

    /// Listens, and returns the sockets of each of `count` reactors: of the site, and of the
    /// redirect.
    ///
    /// # Errors
    ///
    /// Fails if an address has been taken meanwhile, or for lack of descriptors.
    pub(super) fn listen(
        self,
        count: usize,
    ) -> anyhow::Result<Vec<(Vec<TcpListener>, Vec<TcpListener>)>> {
        let addr = self.addr()?;
        for socket in self.site.iter().chain(&self.redirect) {
            let listens = socket.listen(BACKLOG);
            listens.map_err(|error| refused(addr, ADDR_FLAG, &error))?;
        }
        (0..count)
            .map(|index| {
                let Self { site, redirect } = self.part(index, count)?;
                let listeners = |sockets: Vec<Socket>| {
                    let sockets = sockets.into_iter();
                    sockets
                        .map(|socket| TcpListener::from_std(socket.into()))
                        .collect()
                };
                Ok((listeners(site), listeners(redirect)))
            })
            .collect()
    }
}

/// Checks that a socket can be used.
fn check(file: OwnedFd) -> anyhow::Result<Socket> {
    let socket = Socket::from(file);
    let is_stream = socket.r#type().is_ok_and(|found| found == Type::STREAM);
    let is_ip = socket
        .local_addr()
        .is_ok_and(|addr| addr.as_socket().is_some());
    ensure!(
        is_stream && is_ip,
        "a socket that was passed for the site is not a TCP socket: use another ListenStream="
    );
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Returns every `count`th socket, beginning with the one at `index`. If there are too few, one is
/// shared.
fn part(sockets: &[Socket], index: usize, count: usize) -> io::Result<Vec<Socket>> {
    if sockets.is_empty() {
        return Ok(Vec::new());
    }
    let own = sockets.iter().skip(index).step_by(count.max(1));
    let shared = sockets.iter().skip(index % sockets.len()).take(1);
    let clone = |socket: &Socket| socket.try_clone();
    match index < sockets.len() {
        true => own.map(clone).collect(),
        false => shared.map(clone).collect(),
    }
}

fn local_addr(socket: &Socket) -> anyhow::Result<SocketAddr> {
    let addr = socket
        .local_addr()
        .context("the listening socket has no address")?;
    addr.as_socket()
        .context("the listening socket has no IP address")
}

/// Binds `count` sockets to one address, given by `flag`. With port 0, all share one port that the
/// kernel has chosen.
fn bind(addr: SocketAddr, count: usize, flag: &str) -> anyhow::Result<Vec<Socket>> {
    let refused = |error: io::Error| refused(addr, flag, &error);
    // With SO_REUSEPORT, the kernel shares the port among all sockets of this user, including those
    // of another wasgi, and each gets a part of the connections. So check first that the port is
    // free.
    drop(socket(addr, false).map_err(refused)?);
    let first = socket(addr, true).map_err(refused)?;
    let addr = local_addr(&first)?;
    // Not the first one: a socket loses a port that the kernel has chosen when it is paused.
    let sockets = (0..count).map(|_| socket(addr, true).map_err(refused));
    let sockets = sockets.collect();
    drop(first);
    sockets
}

fn refused(addr: SocketAddr, flag: &str, error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!(addr::refusal(addr, flag, error))
}

fn socket(addr: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    // Allows a restart to bind while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn sockets(processes: u16, threads: u16) -> Sockets {
        let server = ServerOptions {
            addr: ([127, 0, 0, 1], 0).into(),
            threads: Some(threads),
            processes,
            ..ServerOptions::default()
        };
        Sockets::open(GivenSockets::default(), &server, &TlsOptions::default())
            .expect("a free port")
    }

    #[test]
    fn each_process_and_each_reactor_has_a_socket() {
        let sockets = sockets(2, 3);
        assert_eq!(sockets.site.len(), 6);
        for (index, count, expected) in [(0, 2, 3), (1, 2, 3), (0, 4, 2), (3, 4, 1), (9, 10, 1)] {
            let part = sockets.part(index, count).expect("a descriptor");
            assert_eq!(part.site.len(), expected, "{index} of {count}");
            assert!(part.redirect.is_empty());
        }
        let listeners = sockets.listen(8).expect("it is free");
        assert!(listeners.iter().all(|(site, _)| site.len() == 1));
    }

    #[test]
    fn a_paused_socket_gets_no_connections_and_can_listen_again() {
        let sockets = sockets(1, 1);
        let addr = sockets.addr().expect("an address");
        TcpStream::connect(addr).expect_err("it doesn't listen yet");
        let listening = sockets.part(0, 1).expect("a descriptor").listen(1);
        drop(listening.expect("it listens"));
        TcpStream::connect(addr).expect("the queue of a socket that is still open");
        sockets.pause();
        TcpStream::connect(addr).expect_err("it is paused");
        let _listening = sockets.listen(1).expect("it listens again");
        TcpStream::connect(addr).expect("accepted");
    }
}
