//! The listening sockets: one per reactor, all on the same address, so that the kernel deals out
//! connections and no two reactors ever wait for each other.

use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted, per reactor: what the kernel grants by default at most
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Binds `count` sockets to one address, which `flag` gives. With port 0 they share the one that
/// the first was given.
///
/// # Errors
///
/// Fails when the address can't be had: taken by another program, not of this machine, or a port
/// that asks for privileges.
pub(super) fn bind(addr: SocketAddr, count: usize, flag: &str) -> anyhow::Result<Vec<TcpListener>> {
    let explain = || match addr.port() {
        0 => format!("could not listen on {addr} ({flag})"),
        port => {
            format!("could not listen on {addr}: is port {port} taken? ({flag} picks another)")
        }
    };
    // Sockets that share a port share it with any other of this user, another wasgi's included,
    // and each would get a part of the connections. So first see that nobody is there.
    drop(socket(addr, false).with_context(explain)?);
    let first = socket(addr, true).with_context(explain)?;
    let addr = first.local_addr()?.as_socket().unwrap_or(addr);
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(socket(addr, true).with_context(explain)?);
    }
    Ok(sockets
        .into_iter()
        .map(|socket| TcpListener::from_std(socket.into()))
        .collect())
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
    if shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}
