//! What an instance may use of the network: the hooks of the bindings.

use std::future::Future;
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::sockets::{Granted, Sockets};
use super::target::{entry, target};
use super::trace::{self, OutboundTrace};
use crate::engine::call::denials::HostDenials;
use crate::grants::Grants;
use crate::outbound::{self, Connections, Limit, Limits, Sender, Target};

/// The maximum size of one write to a body, in bytes. For a receiver that doesn't read, the host
/// holds four such blocks: two in the bindings' channel, one that may be the last, one in transit.
pub(in crate::engine::worlds) const BLOCK_BYTES: usize = 64 * 1024;

/// The pending response to an outgoing request.
type Sending = dyn Future<Output = Result<(Response<WasiBody>, Box<Worker>), Error>> + Send;

/// The task that drives an outgoing request.
type Worker = dyn Future<Output = Result<(), Error>> + Send;

/// A handler's access to the network: the hooks of the bindings.
pub(in crate::engine) struct Network {
    /// The grants and the connections, if a host is granted.
    pub(super) granted: Option<Granted>,
    /// The limits of the next request.
    pub(in crate::engine) limits: Limits,
    /// The guest's own limits of the next request.
    pub(super) options: Option<RequestOptions>,
    pub(super) denials: HostDenials,
    /// The trace of the request, if traces are recorded.
    pub(in crate::engine) trace: Option<OutboundTrace>,
    pub(super) sockets: Sockets,
}

impl Network {
    pub(in crate::engine) fn new(
        handler: &str,
        grants: Option<&Arc<Grants>>,
        denials: HostDenials,
    ) -> Self {
        let grants = grants.filter(|grants| !grants.outbound().is_empty());
        let granted = grants.map(|grants| Granted {
            grants: Arc::clone(grants),
            connections: Connections::for_handler(handler),
        });
        Self {
            sockets: Sockets::new(granted.clone(), denials.clone()),
            granted,
            limits: Limits::default(),
            options: None,
            denials,
            trace: None,
        }
    }

    /// Returns the sockets.
    pub(in crate::engine) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Reports whether an HTTP request may be sent to a host.
    pub(super) fn allows(&self, target: &Target) -> bool {
        let protocol = target.protocol();
        self.granted.as_ref().is_some_and(|granted| {
            let hosts = granted.grants.outbound();
            hosts.allows_http(protocol, &target.host, target.port)
        })
    }

    /// Returns the limits of the next request: the guest's own may be shorter.
    fn next_limits(&mut self) -> Limits {
        let mut limits = self.limits;
        if let Some(options) = self.options.take() {
            let RequestOptions {
                connect_timeout,
                first_byte_timeout,
                between_bytes_timeout,
            } = options;
            for (limit, wanted) in [
                (&mut limits.connect_time, connect_timeout),
                (&mut limits.first_byte_time, first_byte_timeout),
                (&mut limits.between_bytes_time, between_bytes_timeout),
            ] {
                *limit = wanted.map_or(*limit, |wanted| wanted.min(*limit));
            }
        }
        limits
    }
}

impl WasiHttpHooks for Network {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<Worker>,
    ) -> Box<Sending> {
        let limits = self.next_limits();
        let denials = self.denials.clone();
        let granted = self.granted.clone();
        let trace = self.trace.clone();
        Box::new(async move {
            let (mut request, target) = in_origin_form(request)?;
            let granted = granted.ok_or(Error::HttpRequestDenied)?;
            let sender = Sender {
                connections: granted.connections,
                grants: granted.grants,
            };
            let entry = entry(&target);
            let span = trace.and_then(|trace| trace.begin(&mut request, &target));
            let sent = outbound::send(request, target, sender, limits).await;
            trace::end(span, &sent);
            let response = sent.map_err(|error| {
                match error {
                    outbound::Error::Prohibited(why) => denials.prohibited(&entry, why),
                    outbound::Error::TooManyConnections(Limit::Descriptors(limits)) => {
                        denials.no_descriptor(limits);
                    }
                    _ => {}
                }
                error_code(error)
            })?;
            let response = response.map(|body| WasiBody::new(body.map_err(error_code)));
            let worker: Box<Worker> = Box::new(async { Ok(()) });
            Ok((response, worker))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BLOCK_BYTES
    }
}

/// Separates the host from a request, whose URI is then a path and a query (RFC 9112 section
/// 3.2.1).
fn in_origin_form(mut request: Request<WasiBody>) -> Result<(Request<WasiBody>, Target), Error> {
    let uri = request.uri();
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err(Error::HttpProtocolError),
    };
    let authority = uri.authority().map_or("", Authority::as_str);
    let target = target(Some(&scheme), authority)?;
    if request.method() == Method::CONNECT {
        return Err(Error::HttpRequestMethodInvalid);
    }
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let path = match path.starts_with('?') {
        true => format!("/{path}"),
        false => path.to_owned(),
    };
    let path: PathAndQuery = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    *request.uri_mut() = Uri::from(path);
    Ok((request, target))
}

/// Returns the error that the guest sees.
fn error_code(error: outbound::Error) -> Error {
    use crate::outbound::{Error as E, LookupError};
    use std::io::ErrorKind;
    match error {
        E::Lookup(LookupError::NoSuchName) => Error::DnsError {
            rcode: Some("NXDOMAIN".into()),
            info_code: None,
        },
        E::Lookup(LookupError::Failed) => Error::DnsTimeout,
        E::Prohibited(_) => Error::DestinationIpProhibited,
        E::Connect(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Error::ConnectionRefused,
            ErrorKind::TimedOut => Error::ConnectionTimeout,
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
                Error::DestinationIpUnroutable
            }
            ErrorKind::AddrNotAvailable => Error::DestinationNotFound,
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => Error::ConnectionTerminated,
            _ => Error::DestinationUnavailable,
        },
        E::ConnectTimeout => Error::ConnectionTimeout,
        E::TooManyConnections(_) => Error::ConnectionLimitReached,
        E::Certificate(_) => Error::TlsCertificateError,
        E::Tls(_) => Error::TlsProtocolError,
        E::HeadTooLarge => Error::HttpResponseHeaderSectionSize(None),
        E::BodyTooLarge(limit) => Error::HttpResponseBodySize(Some(limit)),
        E::FirstByteTimeout => Error::HttpResponseTimeout,
        E::BetweenBytesTimeout => Error::ConnectionReadTimeout,
        E::Incomplete => Error::HttpResponseIncomplete,
        E::RequestBody => Error::HttpRequestBodySize(None),
        E::Protocol => Error::HttpProtocolError,
        E::Unavailable(why) => Error::InternalError(Some(why)),
    }
}
