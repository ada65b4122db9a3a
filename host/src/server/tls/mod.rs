//! TLS: what is served with it, with which certificate, and how that is replaced.
//!
//! - [`Options`]: `[tls]` in `wasgi.toml`.
//! - `certificate`: the files, and the certificate that is in use.
//! - `watch`: the thread that notices when the files change.
//! - `session`: one connection, without its socket.
//!
//! The protocol is rustls's, versions 1.2 and 1.3. There is no socket in here.

mod certificate;
mod session;
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
use self::watch::Watch;

/// How long a client may take for its handshake, from its connection on: two or three round trips,
/// each with room for a lost packet.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The protocols that are spoken inside (RFC 7301). A client that offers others only is refused.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// Whether and how to speak TLS: `[tls]` in `wasgi.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// The certificate, with the intermediate ones after it, in PEM form. It is read anew when it
    /// changes. Default: none, and no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// The certificate's private key, in PEM form. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Where to listen in the clear as well, to send everybody on to https. Default: nowhere.
    #[serde(
        with = "super::addr::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub redirect_http: Option<SocketAddr>,
    /// The port that clients are sent on to, if they reach this server by another one than it
    /// listens on. Default: the one that it listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_port: Option<u16>,
}

/// TLS as it is served: the settings for each connection, and the thread that keeps them fresh.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    _watch: Watch,
}

impl Options {
    /// Whether TLS is asked for.
    pub fn is_on(&self) -> bool {
        self.cert.is_some() || self.key.is_some()
    }
}

impl Tls {
    /// Loads the certificate, if there is to be one, and watches it from then on.
    ///
    /// # Errors
    ///
    /// Fails when a file is missing or no good, or the options don't go together.
    pub(super) fn start(options: &Options) -> anyhow::Result<Option<Self>> {
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
        // First the stamp, then the files: what changes in between is noticed.
        let stamp = files.stamp();
        let current = Arc::new(Current::new(files.load()?));
        Ok(Some(Self {
            config: Arc::new(config(current.clone())?),
            _watch: Watch::start(files, stamp, current)?,
        }))
    }
}

/// The settings for all connections.
fn config(current: Arc<Current>) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS has no protocol version")?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    // Clients come back with a ticket that holds all there is to know of their session: nothing is
    // kept here, and reactors share no table.
    config.ticketer = ring::Ticketer::new().context("no key for session tickets")?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

#[cfg(test)]
mod tests;
