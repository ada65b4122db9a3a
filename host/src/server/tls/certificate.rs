//! The certificate and its key: loading them, and replacing them while connections are served.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, anyhow, bail};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::file_stamp::FileStamp;
use crate::file_watch::Stamps;
use crate::regular_file::{self, ReadError};

/// The maximum file size, in bytes. It allows for a hundred certificates; a larger file is a
/// mistake.
const FILE_BYTES: u64 = 1024 * 1024;

/// The paths of the certificate and the key.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    /// Loads the certificate chain and the key, and checks that they match.
    ///
    /// # Errors
    ///
    /// Fails if a file can't be read or is not in PEM format, or if the two don't match.
    pub(super) fn load(&self) -> anyhow::Result<CertifiedKey> {
        let cert = read(&self.cert)?;
        let shown = self.cert.display();
        let chain = CertificateDer::pem_slice_iter(&cert)
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("{shown}: not in PEM form"))?;
        if chain.is_empty() {
            bail!("{shown}: no certificate in it (expected PEM)");
        }
        let key = read(&self.key)?;
        let shown = self.key.display();
        let key = PrivateKeyDer::from_pem_slice(&key)
            .with_context(|| format!("{shown}: no private key in it (expected PEM)"))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .with_context(|| format!("{shown}: not a usable key for {}", self.cert.display()))
    }

    /// Returns the states of the files; `None` for a missing file.
    pub(super) fn stamps(&self) -> Stamps {
        // Follows symbolic links: certificates are commonly replaced by changing a link.
        let files = [&self.cert, &self.key];
        files.map(|path| FileStamp::of_path(path)).to_vec()
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    regular_file::read(path, FILE_BYTES).map_err(|error| match error {
        ReadError::Io(error) => {
            anyhow::Error::new(error).context(format!("could not read {shown}"))
        }
        error => anyhow!("{shown}: no certificate or key (it is {error})"),
    })
}

/// Provides the current certificate to each handshake.
#[derive(Debug)]
pub(super) struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    pub(super) fn new(key: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(key)))
    }

    /// Sets the certificate for later handshakes. The lock is held for one assignment.
    pub(super) fn replace(&self, key: CertifiedKey) {
        let key = Arc::new(key);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    pub(super) fn get(&self) -> Arc<CertifiedKey> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ResolvesServerCert for Current {
    /// Returns the one certificate for all names: a client that expects another name fails.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}
