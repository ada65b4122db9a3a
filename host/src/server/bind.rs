//! The listening sockets: one per reactor, all on the same address, so that the kernel distributes
//! the connections and reactors never wait for each other.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::addr;

/// The length of the accept queue, per reactor: the kernel's default maximum
/// (`net.core.somaxconn`).
pub(super) const BACKLOG: i32 = 4096;

/// Which other processes may already use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// None.
    Alone,
    /// The processes that share the address with this one. Their supervisor has checked that no
    /// other program uses it.
    Shared,
}

/// Reserves an address for later sockets of this process or its children. Accepts no connections.
#[derive(Debug)]
pub(crate) struct Reservation {
    addr: SocketAddr,
    _socket: Socket,
}

impl Reservation {
    /// Reserves an address, given by `flag`. Port 0 selects a free port.
    ///
    /// # Errors
    ///
    /// Fails if the address is unavailable: it is used by another program, doesn't belong to this
    /// machine, or its port requires privileges.
    pub(crate) fn new(addr: SocketAddr, flag: &str) -> anyhow::Result<Self> {
        let socket = first(addr, Claim::Alone).map_err(|error| refused(addr, flag, &error))?;
        let addr = socket.local_addr()?.as_socket().unwrap_or(addr);
        Ok(Self {
            addr,
            _socket: socket,
        })
    }

    /// Returns the address, with the selected port.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Binds `count` sockets to one address, given by `flag`. With port 0, all share the port that the
/// first one got.
///
/// # Errors
///
/// Fails like [`Reservation::new`].
pub(super) fn bind(
    addr: SocketAddr,
    count: usize,
    flag: &str,
    claim: Claim,
) -> anyhow::Result<Vec<TcpListener>> {
    let refused = |error: io::Error| refused(addr, flag, &error);
    let first = first(addr, claim).map_err(refused)?;
    let addr = first.local_addr()?.as_socket().unwrap_or(addr);
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(socket(addr, true).map_err(refused)?);
    }
    for socket in &sockets {
        socket.listen(BACKLOG).map_err(refused)?;
    }
    Ok(sockets
        .into_iter()
        .map(|socket| TcpListener::from_std(socket.into()))
        .collect())
}

fn refused(addr: SocketAddr, flag: &str, error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!(addr::refusal(addr, flag, error))
}

/// Returns this process's first socket on an address. It doesn't listen yet.
fn first(addr: SocketAddr, claim: Claim) -> io::Result<Socket> {
    // With SO_REUSEPORT, the kernel shares the port among all sockets of this user, including those
    // of another wasgi, and each gets a part of the connections. So check first that the port is
    // free.
    if claim == Claim::Alone {
        drop(socket(addr, false)?);
    }
    socket(addr, true)
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
