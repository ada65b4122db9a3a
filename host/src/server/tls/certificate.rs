//! Certificates and their keys: loading them, and replacing them while connections are served.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use anyhow::{Context as _, anyhow, bail};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::file_stamp::FileStamp;
use crate::file_watch::Stamps;
use crate::host_name::HostMap;
use crate::regular_file::{self, ReadError};

/// The maximum file size, in bytes. It allows for a hundred certificates; a larger file is a
/// mistake.
const FILE_BYTES: u64 = 1024 * 1024;

/// The certificate of a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostCertificate {
    /// The names of the host.
    pub(crate) names: Vec<String>,
    /// The certificate, as in [`TlsOptions::cert`](super::TlsOptions::cert).
    pub(crate) cert: PathBuf,
    /// Its key, as in [`TlsOptions::key`](super::TlsOptions::key).
    pub(crate) key: PathBuf,
}

/// The paths of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A certificate, and the names of the hosts that have it.
#[derive(Clone, Debug)]
struct Loaded {
    /// The names of virtual hosts. Empty for the certificate of all other names.
    names: Vec<String>,
    files: Files,
    /// The states of the files when they were read.
    stamps: Stamps,
    key: Arc<CertifiedKey>,
}

/// The current certificates.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// Held while certificates are loaded, but not by handshakes.
    loaded: Mutex<Vec<Loaded>>,
    /// The lock is held for one assignment or clone.
    chosen: RwLock<Arc<Chosen>>,
}

/// The certificates as handshakes look them up.
#[derive(Debug, Default)]
struct Chosen {
    default: Option<Arc<CertifiedKey>>,
    by_name: HostMap<Arc<CertifiedKey>>,
    has_hosts: bool,
}

impl Certificates {
    /// Serves these certificates in later handshakes: one of all names, if there is one, and those
    /// of virtual hosts. Files that are in use already are not read again.
    ///
    /// # Errors
    ///
    /// Fails if a certificate can't be loaded. Then nothing has changed.
    pub(super) fn set(
        &self,
        default: Option<&Files>,
        hosts: &[HostCertificate],
    ) -> anyhow::Result<()> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = default.map(|files| (Vec::new(), files.clone()));
        let of_hosts = hosts.iter().map(|host| {
            let (cert, key) = (host.cert.clone(), host.key.clone());
            (host.names.clone(), Files { cert, key })
        });
        let mut new = Vec::new();
        for (names, files) in wanted.into_iter().chain(of_hosts) {
            let known = loaded.iter().chain(&new).find(|one| one.files == files);
            let one = match known {
                Some(known) => Loaded {
                    names,
                    ..known.clone()
                },
                None => Loaded::new(names, files)?,
            };
            new.push(one);
        }
        *loaded = new;
        self.choose(&loaded);
        Ok(())
    }

    /// Loads those certificates again whose files have changed. Calls `told` with the result for
    /// each.
    pub(super) fn look(&self, told: impl Fn(&Files, anyhow::Result<()>)) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done: Vec<(Files, Option<Loaded>)> = Vec::new();
        for one in &mut *loaded {
            if one.stamps == one.files.stamps() {
                continue;
            }
            let known = done.iter().find(|(files, _)| *files == one.files);
            let new = match known {
                Some((_, new)) => new.clone(),
                None => {
                    let result = Loaded::new(Vec::new(), one.files.clone());
                    let (new, result) = match result {
                        Ok(new) => (Some(new), Ok(())),
                        Err(error) => (None, Err(error)),
                    };
                    told(&one.files, result);
                    done.push((one.files.clone(), new.clone()));
                    new
                }
            };
            if let Some(new) = new {
                (one.key, one.stamps) = (new.key, new.stamps);
            }
        }
        self.choose(&loaded);
    }

    /// Returns the states of all files.
    pub(super) fn stamps(&self) -> Stamps {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let files = loaded.iter().map(|one| one.files.stamps());
        files.flatten().collect()
    }

    /// Reports whether a virtual host has a certificate of its own.
    pub(super) fn has_hosts(&self) -> bool {
        self.current().has_hosts
    }

    fn choose(&self, loaded: &[Loaded]) {
        let mut chosen = Chosen::default();
        for one in loaded {
            match &*one.names {
                [] => chosen.default = Some(one.key.clone()),
                names => {
                    chosen.has_hosts = true;
                    for name in names {
                        chosen.by_name.insert(name, one.key.clone());
                    }
                }
            }
        }
        let mut current = self.chosen.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(chosen);
    }

    fn current(&self) -> Arc<Chosen> {
        let chosen = self.chosen.read().unwrap_or_else(PoisonError::into_inner);
        chosen.clone()
    }

    /// Returns the certificate for a name, if there is one.
    pub(super) fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.current();
        let own = name.and_then(|name| chosen.by_name.get(name.as_bytes()));
        own.or(chosen.default.as_ref()).cloned()
    }
}

impl Loaded {
    fn new(names: Vec<String>, files: Files) -> anyhow::Result<Self> {
        // Take the stamps before reading the files, so that a change in between is detected.
        let stamps = files.stamps();
        let key = Arc::new(files.load()?);
        Ok(Self {
            names,
            files,
            stamps,
            key,
        })
    }
}

impl ResolvesServerCert for Certificates {
    /// Returns the certificate of the name, or the one of all names: a client that expects another
    /// fails.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

/// The name in one client's handshake, which is set at most once.
pub(super) type NameInHandshake = Arc<OnceLock<Box<str>>>;

/// The certificates, for one connection.
#[derive(Debug)]
pub(super) struct OfConnection {
    pub(super) certificates: Arc<Certificates>,
    /// Gets the name that the client gives.
    pub(super) name: NameInHandshake,
}

impl ResolvesServerCert for OfConnection {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            // After a retry, the client gives the same name (RFC 8446 section 4.1.2).
            let _ = self.name.set(name.into());
        }
        self.certificates.resolve(hello)
    }
}
