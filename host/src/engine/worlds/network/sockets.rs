//! The sockets of an instance and its look-ups of names.
//!
//! A name can be looked up if one of its ports is granted. A socket can be connected to an address
//! that a look-up has returned, at a port that is granted for that name, or to an address that is
//! granted literally. The address of each connection is checked, so it doesn't matter what a name
//! stands for later. Sockets don't listen, and UDP can't be granted.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::engine::call::denials::HostDenials;
use crate::grants::{Grants, Host, Prohibited};
use crate::outbound::{Connection, Connections, LookupError, look_up};

/// The maximum number of names of which an instance's look-ups are remembered: the oldest is
/// forgotten.
const MAX_NAMES_COUNT: usize = 64;

type Addresses = Result<Arc<[IpAddr]>, LookupError>;

/// The grants of a handler, and its connections.
#[derive(Clone)]
pub(super) struct Granted {
    pub(super) grants: Arc<Grants>,
    pub(super) connections: Arc<Connections>,
}

/// A handler's sockets.
pub(in crate::engine) struct Sockets {
    granted: Option<Granted>,
    denials: HostDenials,
    pub(super) looked_up: LookedUp,
    /// The permits of open sockets, by their handles.
    pub(super) permits: HashMap<u32, Connection>,
}

/// The results of an instance's look-ups.
pub(super) type LookedUp = Arc<Mutex<Vec<(Host, Arc<[IpAddr]>)>>>;

impl Sockets {
    pub(super) fn new(granted: Option<Granted>, denials: HostDenials) -> Self {
        Self {
            granted,
            denials,
            looked_up: LookedUp::default(),
            permits: HashMap::new(),
        }
    }

    /// Allows sockets if a host is granted, and checks the address of each connection.
    pub(in crate::engine) fn set_up(&self, context: &mut WasiCtxBuilder) {
        let Some(granted) = self.granted.clone() else {
            context.allow_tcp(false);
            return;
        };
        let (denials, looked_up) = (self.denials.clone(), Arc::clone(&self.looked_up));
        context
            .allow_tcp(true)
            .socket_addr_check(move |address, usage| {
                let is_allowed = match usage {
                    SocketAddrUse::TcpConnect => {
                        is_allowed(&granted, &denials, &looked_up, address)
                    }
                    // A connection binds its socket to a free port.
                    SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
                    _ => false,
                };
                Box::pin(async move { is_allowed })
            });
    }
}

/// Reports whether a socket may be connected to an address. Logs a denial.
fn is_allowed(
    granted: &Granted,
    denials: &HostDenials,
    looked_up: &LookedUp,
    address: SocketAddr,
) -> bool {
    let hosts = granted.grants.outbound();
    let (ip, port) = (address.ip(), address.port());
    let literal = Host::Address(ip);
    if hosts.check_socket(&literal, port, ip).is_ok() {
        return true;
    }
    let looked_up = looked_up.lock().unwrap_or_else(PoisonError::into_inner);
    let mut names = looked_up.iter().filter(|(_, found)| found.contains(&ip));
    if names.any(|(name, _)| hosts.check_socket(name, port, ip).is_ok()) {
        return true;
    }
    let mut names = looked_up.iter().filter(|(_, found)| found.contains(&ip));
    let host = names.next_back().map_or(&literal, |(name, _)| name);
    denials.not_granted(&format!("tcp://{host}:{port}"));
    false
}

/// The look-up of a name.
pub(super) struct Lookup {
    host: Host,
    granted: Granted,
    denials: HostDenials,
    looked_up: LookedUp,
    state: Progress,
}

enum Progress {
    Pending(Pin<Box<dyn Future<Output = Addresses> + Send>>),
    /// The addresses that are left to return.
    Found(std::vec::IntoIter<IpAddr>),
    Failed(ErrorCode),
}

impl Lookup {
    /// Starts a look-up that is allowed.
    pub(super) fn start(
        host: Host,
        granted: Granted,
        denials: HostDenials,
        looked_up: LookedUp,
    ) -> Self {
        let found = look_up(host.clone(), Arc::clone(&granted.connections));
        Self {
            host,
            granted,
            denials,
            looked_up,
            state: Progress::Pending(Box::pin(found)),
        }
    }

    /// Returns the next address, or `None` at the end.
    pub(super) fn next_address(&mut self) -> Result<Option<IpAddress>, ErrorCode> {
        let mut context = Context::from_waker(Waker::noop());
        if self.poll_ready(&mut context).is_pending() {
            return Err(ErrorCode::WouldBlock);
        }
        match &mut self.state {
            Progress::Pending(_) => Err(ErrorCode::WouldBlock),
            Progress::Found(left) => Ok(left.next().map(Into::into)),
            Progress::Failed(code) => Err(*code),
        }
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Progress::Pending(found) = &mut self.state else {
            return Poll::Ready(());
        };
        let Poll::Ready(found) = found.as_mut().poll(context) else {
            return Poll::Pending;
        };
        self.state = match found {
            Ok(found) => self.found(&found),
            Err(LookupError::NoSuchName) => Progress::Failed(ErrorCode::NameUnresolvable),
            Err(LookupError::Failed) => Progress::Failed(ErrorCode::TemporaryResolverFailure),
        };
        Poll::Ready(())
    }

    /// Remembers the addresses that are permitted, and returns them.
    fn found(&self, found: &[IpAddr]) -> Progress {
        if let Host::Address(_) = self.host {
            return Progress::Found(Vec::from(found).into_iter());
        }
        let hosts = self.granted.grants.outbound();
        let mut prohibited: Option<Prohibited> = None;
        let mut permitted = Vec::new();
        for address in found {
            match hosts.check_lookup(&self.host, *address) {
                Ok(()) => permitted.push(*address),
                Err((why, port)) => {
                    if prohibited.replace(why).is_none() {
                        let entry = format!("tcp://{}:{port}", self.host);
                        self.denials.prohibited(&entry, why);
                    }
                }
            }
        }
        if permitted.is_empty() {
            return Progress::Failed(ErrorCode::AccessDenied);
        }
        let mut looked_up = self
            .looked_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        looked_up.retain(|(host, _)| *host != self.host);
        if looked_up.len() >= MAX_NAMES_COUNT {
            looked_up.remove(0);
        }
        looked_up.push((self.host.clone(), permitted.clone().into()));
        Progress::Found(permitted.into_iter())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll_ready(context)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::call::guest_log::GuestLog;
    use crate::engine::call::refusals::Refused;
    use crate::gateway::Exchange;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn denials() -> HostDenials {
        let log = GuestLog::new("changing".into(), None, 0, &Exchange::new(false));
        HostDenials::new(log, Refused::default())
    }

    /// The addresses of a look-up's result that are passed on.
    fn passed_on(lookup: &Lookup, found: &[&str]) -> Vec<IpAddr> {
        let found: Vec<IpAddr> = found.iter().map(|address| ip(address)).collect();
        match lookup.found(&found) {
            Progress::Found(left) => left.collect(),
            Progress::Failed(ErrorCode::AccessDenied) => Vec::new(),
            Progress::Failed(_) | Progress::Pending(_) => panic!("the look-up has a result"),
        }
    }

    #[test]
    fn a_name_that_changes_its_address_leads_a_socket_to_no_other() {
        let granted = Granted {
            grants: Arc::new(Grants::of_hosts(&["tcp://db.example.com:5432"])),
            connections: Connections::for_handler("changing"),
        };
        let looked_up = LookedUp::default();
        let host = Host::parse("db.example.com").expect("a name");
        let lookup = Lookup::start(host, granted.clone(), denials(), Arc::clone(&looked_up));
        let is_allowed = |address: &str| {
            let address: SocketAddr = address.parse().expect("an address");
            is_allowed(&granted, &denials(), &looked_up, address)
        };
        assert!(!is_allowed("93.184.216.34:5432"), "nothing was looked up");
        let public = ["93.184.216.34", "10.0.0.1", "::ffff:127.0.0.1"];
        assert_eq!(passed_on(&lookup, &public), [ip("93.184.216.34")]);
        let check_others = || {
            for other in [
                "10.0.0.1:5432",
                "127.0.0.1:5432",
                "[::ffff:127.0.0.1]:5432",
                "[::1]:5432",
                "169.254.169.254:5432",
                "93.184.216.34:5433",
                "93.184.216.35:5432",
            ] {
                assert!(!is_allowed(other), "{other}");
            }
        };
        assert!(is_allowed("93.184.216.34:5432"));
        check_others();
        // Between two connections, the name gets private addresses.
        for private in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"] {
            assert_eq!(
                passed_on(&lookup, &[private]),
                [] as [IpAddr; 0],
                "{private}"
            );
            check_others();
        }
        assert_eq!(
            passed_on(&lookup, &["93.184.216.36"]),
            [ip("93.184.216.36")]
        );
        assert!(is_allowed("93.184.216.36:5432"));
        assert!(!is_allowed("93.184.216.34:5432"), "the name has left it");
        check_others();
    }
}
