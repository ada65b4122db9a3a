//! TCP sockets and name look-up: the functions of `wasi:sockets` 0.2 that replace the bindings'.

use std::sync::Arc;

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddressFamily, Network as NetworkToken,
};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
use wasmtime_wasi::p2::{DynPollable, TcpSocket, UdpSocket, subscribe};
use wasmtime_wasi::sockets::WasiSocketsView;

use super::sockets::Lookup;
use crate::engine::call::refusals::Thing;
use crate::engine::call::state::HostState;
use crate::engine::worlds::refused::VERSION;
use crate::grants::{Host, MAX_NAME_BYTES};
use crate::outbound::Limit;
use crate::printable;

/// Replaces the bindings' functions that create sockets and look up names.
pub(in crate::engine) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance(&format!("wasi:sockets/tcp-create-socket@{VERSION}"))?
        .func_wrap("create-tcp-socket", |mut store, (family,)| {
            Ok((create_tcp_socket(store.data_mut(), family)?,))
        })?;
    linker
        .instance(&format!("wasi:sockets/tcp@{VERSION}"))?
        .resource(
            "tcp-socket",
            ResourceType::host::<TcpSocket>(),
            |mut store, rep| {
                let state: &mut HostState = store.data_mut();
                let socket = Resource::<TcpSocket>::new_own(rep);
                state.ctx().table.delete(socket)?;
                state.network().sockets.permits.remove(&rep);
                Ok(())
            },
        )?;
    linker
        .instance(&format!("wasi:sockets/udp-create-socket@{VERSION}"))?
        .func_wrap(
            "create-udp-socket",
            |mut store, (_,): (IpAddressFamily,)| {
                let state: &mut HostState = store.data_mut();
                let text = "access to a UDP socket was denied: UDP can't be granted";
                state.refuse(Thing::Network, text);
                Ok((Err::<Resource<UdpSocket>, _>(ErrorCode::AccessDenied),))
            },
        )?;
    let mut names = linker.instance(&format!("wasi:sockets/ip-name-lookup@{VERSION}"))?;
    names.resource(
        "resolve-address-stream",
        ResourceType::host::<Lookup>(),
        |mut store, rep| {
            let lookup = Resource::<Lookup>::new_own(rep);
            store.data_mut().ctx().table.delete(lookup)?;
            Ok(())
        },
    )?;
    names.func_wrap(
        "resolve-addresses",
        |mut store, (network, name): (Resource<NetworkToken>, String)| {
            Ok((resolve_addresses(store.data_mut(), &network, &name)?,))
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store, (lookup,): (Resource<Lookup>,)| {
            let lookup = store.data_mut().ctx().table.get_mut(&lookup)?;
            Ok((lookup.next_address(),))
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store, (lookup,): (Resource<Lookup>,)| {
            let table = store.data_mut().ctx().table;
            let pollable: Resource<DynPollable> = subscribe(table, lookup)?;
            Ok((pollable,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn create_tcp_socket(
    state: &mut HostState,
    family: IpAddressFamily,
) -> wasmtime::Result<Result<Resource<TcpSocket>, ErrorCode>> {
    let network = state.network();
    let limit = network.limits.connections;
    let Some(granted) = &network.granted else {
        network.denials.not_granted("tcp://HOST:PORT");
        return Ok(Err(ErrorCode::AccessDenied));
    };
    let permit = match granted.connections.try_take(limit) {
        Ok(permit) => permit,
        Err(reached) => {
            if let Limit::Descriptors(limits) = reached {
                network.denials.no_descriptor(limits);
            }
            return Ok(Err(ErrorCode::NewSocketLimit));
        }
    };
    match state.sockets().create_tcp_socket(family) {
        Ok(socket) => {
            let sockets = &mut state.network().sockets;
            sockets.permits.insert(socket.rep(), permit);
            Ok(Ok(socket))
        }
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

fn resolve_addresses(
    state: &mut HostState,
    network: &Resource<NetworkToken>,
    name: &str,
) -> wasmtime::Result<Result<Resource<Lookup>, ErrorCode>> {
    state.ctx().table.get(network)?;
    let Ok(host) = Host::parse_bare(name) else {
        return Ok(Err(ErrorCode::InvalidArgument));
    };
    let network = state.network();
    let granted = network.granted.as_ref();
    let granted = granted.filter(|granted| match host {
        // A literal address is not looked up.
        Host::Address(_) => true,
        Host::Name(_) => granted.grants.outbound().allows_lookup(&host),
    });
    let Some(granted) = granted else {
        let name = printable::front(name, MAX_NAME_BYTES);
        network.denials.not_granted(&format!("tcp://{name}:PORT"));
        return Ok(Err(ErrorCode::AccessDenied));
    };
    let lookup = Lookup::start(
        host,
        granted.clone(),
        network.denials.clone(),
        Arc::clone(&network.sockets.looked_up),
    );
    Ok(Ok(state.ctx().table.push(lookup)?))
}
