//! TLS to other hosts, with the certificate authorities that the system trusts, or with others.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::Error;
use crate::grants::Host;

/// The configuration, loaded for the first connection. `None` if no authority is trusted.
static CONFIG: OnceCell<Option<Arc<ClientConfig>>> = OnceCell::const_new();

/// Certificate authorities that are trusted in place of the system's.
#[derive(Clone, Debug)]
pub(crate) struct Authorities(Arc<ClientConfig>);

impl Authorities {
    /// Trusts the certificates of a text in PEM format. `None` if there is none in it.
    pub(crate) fn from_pem(text: &[u8]) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        let found = CertificateDer::pem_slice_iter(text).flatten();
        let (added, _) = roots.add_parsable_certificates(found);
        (added > 0).then(|| config(roots).map(Self)).flatten()
    }
}

/// Encrypts a connection, and checks that the peer is the host, by a certificate from an authority
/// of the system.
pub(super) async fn handshake(
    stream: TcpStream,
    host: &Host,
) -> Result<TlsStream<TcpStream>, Error> {
    let load = || async {
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded.ok().flatten()
    };
    let config = CONFIG.get_or_init(load).await;
    let config = config.clone().ok_or_else(|| {
        Error::Certificate("the server trusts no certificate authority (SSL_CERT_FILE)".into())
    })?;
    connect(stream, host, config).await
}

/// Encrypts a connection, and checks that the peer is the host, by a certificate from one of these
/// authorities.
pub(super) async fn handshake_with(
    stream: TcpStream,
    host: &Host,
    authorities: &Authorities,
) -> Result<TlsStream<TcpStream>, Error> {
    connect(stream, host, authorities.0.clone()).await
}

async fn connect(
    stream: TcpStream,
    host: &Host,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Error> {
    let name = match host {
        Host::Address(address) => ServerName::IpAddress((*address).into()),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|_| Error::Tls("the host's name can't be in a certificate".into()))?,
    };
    let connecting = TlsConnector::from(config).connect(name, stream);
    connecting.await.map_err(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::InvalidCertificate(why)) => Error::Certificate(format!("{why:?}")),
            Some(error) => Error::Tls(error.to_string()),
            None => Error::Connect(error),
        }
    })
}

/// Loads the authorities, by `SSL_CERT_FILE` and `SSL_CERT_DIR` or from the system's usual places.
fn load() -> Option<Arc<ClientConfig>> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if let Some(error) = found.errors.first() {
        tracing::warn!("a certificate authority could not be loaded: {error}");
    }
    if added == 0 {
        tracing::warn!(
            "no certificate authority is trusted, so no host can be connected to by https: install \
             the package ca-certificates, or set SSL_CERT_FILE"
        );
        return None;
    }
    config(roots)
}

fn config(roots: RootCertStore) -> Option<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Arc::new(config))
}
