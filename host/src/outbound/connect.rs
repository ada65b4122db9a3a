//! A connection to another host: look-up, check of the addresses, TCP, and TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use super::error::Error;
use super::handler::Sender;
use super::resolve::{Lookups, Resolve};
use super::target::{Limits, Target};
use super::tls;
use crate::grants::{Host, Prohibited};

/// The maximum number of addresses of a host that are tried.
const MAX_TRIED_COUNT: usize = 4;

/// A connection.
pub(super) struct Connected {
    pub(super) stream: Stream,
    /// The address that it is connected to.
    pub(super) address: IpAddr,
}

/// The stream of a connection.
#[allow(
    clippy::large_enum_variant,
    reason = "a box would be an allocation, and most connections are encrypted"
)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(TlsStream<TcpStream>),
}

/// Connects to a host, at one of the addresses that its grant permits.
pub(super) async fn connect<R: Resolve>(
    lookups: &Lookups<R>,
    target: &Target,
    sender: &Sender,
    limits: Limits,
) -> Result<Connected, Error> {
    let deadline = Instant::now() + limits.connect_time;
    let found: Arc<[IpAddr]> = match &target.host {
        Host::Address(address) => [*address].into(),
        Host::Name(name) => {
            let found = lookups.addresses(name, &sender.connections);
            found.await.map_err(Error::Lookup)?
        }
    };
    let (stream, address) =
        connect_to(permitted(&found, target, sender)?, target.port, deadline).await?;
    // Requests are written whole: waiting for more only delays them. An error is harmless.
    let _ = stream.set_nodelay(true);
    let stream = match target.is_https {
        true => Stream::Tls(tls::handshake(stream, &target.host).await?),
        false => Stream::Plain(stream),
    };
    Ok(Connected { stream, address })
}

/// Returns the addresses that may be connected to.
fn permitted(found: &[IpAddr], target: &Target, sender: &Sender) -> Result<Vec<IpAddr>, Error> {
    let grants = sender.grants.outbound();
    let mut prohibited: Option<Prohibited> = None;
    let mut permitted = Vec::new();
    for address in found {
        let checked = grants.check_http(target.protocol(), &target.host, target.port, *address);
        match checked {
            Ok(()) => permitted.push(*address),
            Err(why) => prohibited = prohibited.or(Some(why)),
        }
    }
    match (permitted.is_empty(), prohibited) {
        (true, Some(why)) => Err(Error::Prohibited(why)),
        _ => Ok(permitted),
    }
}

/// Tries addresses in order. Each has an equal share of the remaining time.
pub(super) async fn connect_to(
    addresses: Vec<IpAddr>,
    port: u16,
    deadline: Instant,
) -> Result<(TcpStream, IpAddr), Error> {
    let mut last = Error::Connect(io::ErrorKind::AddrNotAvailable.into());
    let count = addresses.len().min(MAX_TRIED_COUNT);
    for (tried, address) in addresses.into_iter().take(count).enumerate() {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let share = remaining / u32::try_from(count - tried).unwrap_or(1);
        let connecting = TcpStream::connect(SocketAddr::new(address, port));
        match timeout(share, connecting).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => last = Error::Connect(error),
            Err(_) => last = Error::ConnectTimeout,
        }
    }
    Err(last)
}

macro_rules! with_stream {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::Future;
    use std::net::TcpListener;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::grants::Grants;
    use crate::outbound::error::LookupError;
    use crate::outbound::{Connections, Sender};

    /// A name whose addresses change with each look-up.
    struct Changing(Mutex<VecDeque<Vec<IpAddr>>>);

    impl Resolve for Changing {
        fn resolve<'r>(
            &'r self,
            _: &'r str,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, LookupError>> + Send + 'r>> {
            let next = self.0.lock().expect("not poisoned").pop_front();
            Box::pin(async move { next.ok_or(LookupError::Failed) })
        }
    }

    fn lookups<const N: usize>(answers: [&[[u8; 4]]; N]) -> Lookups<Changing> {
        let addresses = |answer: &[[u8; 4]]| answer.iter().copied().map(IpAddr::from).collect();
        let answers = answers.into_iter().map(addresses).collect();
        Lookups::new(Changing(Mutex::new(answers)), Duration::ZERO)
    }

    /// Connects to a name once for each of its answers. Returns the results.
    fn results(host: &str, port: u16, lookups: &Lookups<Changing>) -> Vec<String> {
        let target = Target {
            is_https: false,
            host: Host::parse(host).expect("a host"),
            port,
        };
        let sender = Sender {
            connections: Connections::for_handler("changing"),
            grants: Arc::new(Grants::of_hosts(&[&format!("http://{host}:{port}")])),
        };
        let limits = Limits {
            connect_time: Duration::from_secs(60),
            ..Limits::default()
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut results = Vec::new();
            loop {
                results.push(match connect(lookups, &target, &sender, limits).await {
                    Ok(connected) => format!("connected to {}", connected.address),
                    Err(Error::Prohibited(why)) => format!("{} prohibited", why.address),
                    Err(Error::Lookup(_)) => return results,
                    Err(_) => "not reached".into(),
                });
            }
        })
    }

    #[test]
    fn a_name_that_changes_its_address_is_checked_at_each_connection() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        // Names below localhost may stand for loopback addresses alone, and others for public ones.
        let loopback = lookups([
            &[[127, 0, 0, 1]],
            &[[10, 0, 0, 1]],
            &[[169, 254, 169, 254]],
            &[[192, 168, 0, 1], [127, 0, 0, 1]],
            &[[192, 0, 2, 1]],
        ]);
        assert_eq!(
            results("api.localhost", port, &loopback),
            [
                "connected to 127.0.0.1",
                "10.0.0.1 prohibited",
                "169.254.169.254 prohibited",
                "connected to 127.0.0.1",
                "192.0.2.1 prohibited",
            ]
        );
        let private = lookups([&[[127, 0, 0, 1]], &[[10, 0, 0, 1], [127, 0, 0, 1]]]);
        assert_eq!(
            results("api.example.com", port, &private),
            ["127.0.0.1 prohibited", "10.0.0.1 prohibited"]
        );
        // Nothing else has arrived.
        listener.set_nonblocking(true).expect("it is a socket");
        let accepted = std::iter::from_fn(|| listener.accept().ok()).count();
        assert_eq!(accepted, 2);
    }
}
