//! TLS to other hosts, with the certificate authorities that the system trusts.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::Error;
use crate::grants::Host;

/// The configuration, loaded for the first connection. `None` if no authority is trusted.
static CONFIG: OnceCell<Option<Arc<ClientConfig>>> = OnceCell::const_new();

/// Encrypts a connection, and checks that the peer is the host.
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
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Arc::new(config))
}
