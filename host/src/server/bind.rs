//! The listening sockets: one per reactor, all on the same address, so that the kernel deals out
//! connections and no two reactors ever wait for each other.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::addr;

/// Connections that wait to be accepted, per reactor: what the kernel grants by default at most
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Who may be on an address before us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody.
    Alone,
    /// The processes that this one shares the address with. Their supervisor has seen to it that
    /// nobody else is.
    Shared,
}

/// An address that is kept for sockets to come, of this process or of its children. No connection
/// goes to it by itself.
#[derive(Debug)]
pub struct Reservation {
    addr: SocketAddr,
    _socket: Socket,
}

impl Reservation {
    /// Takes an address, which `flag` gives. Port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// Fails when the address can't be had: taken by another program, not of this machine, or a
    /// port that asks for privileges.
    pub fn of(addr: SocketAddr, flag: &str) -> anyhow::Result<Self> {
        let socket = first(addr, Claim::Alone).map_err(|error| refused(addr, flag, &error))?;
        let addr = socket.local_addr()?.as_socket().unwrap_or(addr);
        Ok(Self {
            addr,
            _socket: socket,
        })
    }

    /// The address, with the port that was picked.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Binds `count` sockets to one address, which `flag` gives. With port 0 they share the one that
/// the first was given.
///
/// # Errors
///
/// As [`Reservation::of`].
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

/// The first socket of this process on an address. It doesn't listen yet.
fn first(addr: SocketAddr, claim: Claim) -> io::Result<Socket> {
    // Sockets that share a port share it with any other of this user, another wasgi's included,
    // and each would get a part of the connections. So first see that nobody is there.
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
    // Lets a restart have the port while old connections of it are still being forgotten.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}
