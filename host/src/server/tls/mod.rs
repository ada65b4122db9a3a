//! TLS: the configuration, the certificates, and their replacement.
//!
//! - [`TlsOptions`]: `[tls]` in `wasgi.toml`.
//! - `certificate`: the files, and the current certificates.
//! - `watch`: replaces a current certificate when its files change.
//! - `tickets`: the keys of session tickets.
//! - `protocols`: the application protocols.
//! - `session`: one connection, without its socket.
//! - `validity`: when a certificate is valid.
//!
//! rustls implements the protocol, versions 1.2 and 1.3. This module doesn't use sockets.

mod certificate;
mod protocols;
mod session;
mod tickets;
mod validity;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;

pub(crate) use self::certificate::{
    CertificateFact, CertificateFiles, HostCertificate, check_obtained,
};
use self::certificate::{Certificates, NameInHandshake, OfConnection};
use self::protocols::{CHALLENGE_PROTOCOL, PROTOCOLS};
pub(super) use self::session::{
    Failed, HELD_BYTES, Opened, RECORD_BYTES, SEAL_BYTES, SEALED_BYTES, Session,
};
pub(crate) use self::tickets::Tickets;
pub(crate) use self::validity::Validity;
use self::watch::Follow;
use super::challenges::Challenges;
use crate::file_watch::{FileWatch, Stamps};

/// The time for a client's handshake, from the start of its connection: two or three round trips,
/// each with time for a lost packet.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

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
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    /// The certificate of all names without another one.
    default: Option<CertificateFiles>,
    _watch: FileWatch,
}

/// The certificates that a site is configured to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WantedCertificates {
    /// The certificate of all names without another one.
    pub(crate) default: Option<CertificateFiles>,
    /// Those of virtual hosts.
    pub(crate) hosts: Vec<HostCertificate>,
    /// The challenges that are answered to obtain certificates.
    pub(crate) challenges: Option<Challenges>,
}

/// Certificates that were loaded, and are not watched yet.
#[derive(Debug)]
pub(crate) struct LoadedCertificates {
    certificates: Arc<Certificates>,
    default: Option<CertificateFiles>,
    /// The states of the files before they were read.
    stamps: Stamps,
}

impl WantedCertificates {
    /// Combines the certificates of all names and of virtual hosts. `obtained` is the one of all
    /// names that the server obtains itself, if it does.
    ///
    /// # Errors
    ///
    /// Fails if the options are inconsistent.
    pub(crate) fn new(
        options: &TlsOptions,
        obtained: Option<CertificateFiles>,
        hosts: Vec<HostCertificate>,
        challenges: Option<Challenges>,
    ) -> anyhow::Result<Self> {
        let default = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => Some(CertificateFiles {
                cert: cert.clone(),
                key: key.clone(),
                is_obtained: false,
            }),
            (Some(_), None) => bail!("a certificate needs its key (--tls-key)"),
            (None, Some(_)) => bail!("a key needs its certificate (--tls-cert)"),
            (None, None) => obtained,
        };
        if default.is_none() && hosts.is_empty() && options.redirect_http.is_some() {
            bail!("redirecting to https (--redirect-http) needs a certificate (--tls-cert)");
        }
        Ok(Self {
            default,
            hosts,
            challenges,
        })
    }
}

impl LoadedCertificates {
    /// Loads the certificates, if any is configured.
    ///
    /// # Errors
    ///
    /// Fails if a file is missing or invalid.
    pub(crate) fn load(wanted: WantedCertificates) -> anyhow::Result<Option<Self>> {
        if wanted.default.is_none() && wanted.hosts.is_empty() {
            return Ok(None);
        }
        let certificates = Arc::new(Certificates::new(wanted.challenges));
        // A change while they are loaded is detected: the states of no files are older.
        let stamps = certificates.stamps();
        certificates.set(wanted.default.as_ref(), &wanted.hosts)?;
        Ok(Some(Self {
            certificates,
            default: wanted.default,
            stamps,
        }))
    }
}

impl Tls {
    /// Uses certificates, and watches their files.
    ///
    /// # Errors
    ///
    /// Fails if the system has no resources for it.
    pub(super) fn start(loaded: LoadedCertificates, tickets: Arc<Tickets>) -> anyhow::Result<Self> {
        let LoadedCertificates {
            certificates,
            default,
            stamps,
        } = loaded;
        Ok(Self {
            config: Arc::new(config(certificates.clone(), tickets)?),
            default,
            _watch: Follow(certificates.clone()).start(stamps)?,
            certificates,
        })
    }

    /// Serves these certificates of virtual hosts in later handshakes.
    ///
    /// # Errors
    ///
    /// Fails if one of them can't be loaded. Then nothing has changed.
    pub(super) fn set_hosts(&self, hosts: &[HostCertificate]) -> anyhow::Result<()> {
        self.certificates.set(self.default.as_ref(), hosts)
    }

    /// Serves a certificate that the server has obtained and can't store, given with its key in
    /// PEM, until `file` has another one.
    ///
    /// # Errors
    ///
    /// Fails if it is not in PEM format, or if the key doesn't match.
    pub(super) fn set_obtained(&self, file: &Path, pem: &[u8]) -> anyhow::Result<()> {
        self.certificates.set_obtained(file, pem)
    }

    /// Describes all certificates.
    pub(super) fn facts(&self) -> Vec<CertificateFact> {
        self.certificates.facts()
    }

    /// Returns the challenges in flight, if certificates are obtained.
    pub(super) fn challenges(&self) -> Option<&Challenges> {
        self.certificates.challenges()
    }

    /// Returns whether there is a certificate for a handshake with this name.
    pub(super) fn has_certificate(&self, name: Option<&str>) -> bool {
        self.certificates.find(name).is_some()
    }

    /// Creates a session with `deadline` as the end of its handshake. It keeps the name that the
    /// client gives in its handshake if a virtual host has a certificate of its own.
    ///
    /// # Errors
    ///
    /// Fails if the configuration is unusable.
    pub(super) fn session(&self, deadline: Instant) -> Result<Session, rustls::Error> {
        if !self.certificates.has_hosts() {
            return Session::new(self.config.clone(), deadline);
        }
        let name = NameInHandshake::default();
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::new(OfConnection {
            certificates: self.certificates.clone(),
            name: name.clone(),
        });
        let session = Session::new(Arc::new(config), deadline)?;
        Ok(session.with_name(name))
    }
}

/// Returns the configuration for all connections.
fn config(certificates: Arc<Certificates>, tickets: Arc<Tickets>) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let has_challenges = certificates.challenges().is_some();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS has no protocol version")?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    if has_challenges {
        config.alpn_protocols.push(CHALLENGE_PROTOCOL.to_vec());
    }
    // Session tickets contain the whole session state: the server stores nothing, and reactors
    // share no table.
    config.ticketer = tickets;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

#[cfg(test)]
mod tests;
