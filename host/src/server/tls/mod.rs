//! TLS: the configuration, the certificate, and its replacement.
//!
//! - [`TlsOptions`]: `[tls]` in `wasgi.toml`.
//! - `certificate`: the files, and the current certificate.
//! - `watch`: replaces the current certificate when the files change.
//! - `tickets`: the keys of session tickets.
//! - `session`: one connection, without its socket.
//!
//! rustls implements the protocol, versions 1.2 and 1.3. This module doesn't use sockets.

mod certificate;
mod session;
mod tickets;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;

use self::certificate::{Current, Files};
pub(super) use self::session::{
    Failed, HELD_BYTES, Opened, RECORD_BYTES, SEAL_BYTES, SEALED_BYTES, Session,
};
pub(crate) use self::tickets::Tickets;
use self::watch::Follow;
use crate::file_watch::FileWatch;

/// The time for a client's handshake, from the start of its connection: two or three round trips,
/// each with time for a lost packet.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The supported application protocols (RFC 7301). A client that offers only others is rejected.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// Whether and how to use TLS: `[tls]` in `wasgi.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsOptions {
    /// The certificate, followed by the intermediate ones, in PEM format. It is reloaded when it
    /// changes. Default: none, without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM format. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// An additional listening address without TLS, which redirects to https. Default: none.
    #[serde(
        with = "super::addr::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub redirect_http: Option<SocketAddr>,
    /// The port in redirects, if clients reach this server by another port than the one it listens
    /// on. Default: the listening port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_port: Option<u16>,
}

/// TLS in operation: the configuration for each connection, and the thread that updates it.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    _watch: FileWatch,
}

impl Tls {
    /// Loads the certificate, if one is configured, and watches it.
    ///
    /// # Errors
    ///
    /// Fails if a file is missing or invalid, or the options are inconsistent.
    pub(super) fn start(
        options: &TlsOptions,
        tickets: Option<Arc<Tickets>>,
    ) -> anyhow::Result<Option<Self>> {
        let files = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => Files {
                cert: cert.clone(),
                key: key.clone(),
            },
            (Some(_), None) => bail!("a certificate needs its key (--tls-key)"),
            (None, Some(_)) => bail!("a key needs its certificate (--tls-cert)"),
            (None, None) if options.redirect_http.is_some() => {
                bail!("redirecting to https (--redirect-http) needs a certificate (--tls-cert)")
            }
            (None, None) => return Ok(None),
        };
        let tickets = match tickets {
            Some(tickets) => tickets,
            None => Arc::new(Tickets::new()?),
        };
        // Take the stamps before reading the files, so that a change in between is detected.
        let stamps = files.stamps();
        let current = Arc::new(Current::new(files.load()?));
        Ok(Some(Self {
            config: Arc::new(config(current.clone(), tickets)?),
            _watch: Follow { files, current }.start(stamps)?,
        }))
    }
}

/// Returns the configuration for all connections.
fn config(current: Arc<Current>, tickets: Arc<Tickets>) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS has no protocol version")?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    // Session tickets contain the whole session state: the server stores nothing, and reactors
    // share no table.
    config.ticketer = tickets;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

#[cfg(test)]
mod tests;
