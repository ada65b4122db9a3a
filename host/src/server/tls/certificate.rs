//! Certificates and their keys: loading them, and replacing them while connections are served.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use anyhow::{Context as _, anyhow, bail};
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::protocols::{CHALLENGE_PROTOCOL, PROTOCOLS};
use super::validity::Validity;
use crate::file_stamp::FileStamp;
use crate::file_watch::Stamps;
use crate::host_name::HostMap;
use crate::regular_file::{self, ReadError};
use crate::server::challenges::Challenges;

/// The maximum file size, in bytes. It allows for a hundred certificates; a larger file is a
/// mistake.
const FILE_BYTES: u64 = 1024 * 1024;

/// The maximum number of certificates in a chain that was obtained. Those of usual authorities have
/// two or three.
const MAX_CHAIN_COUNT: usize = 10;

/// The certificate of a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostCertificate {
    /// The names of the host.
    pub(crate) names: Vec<String>,
    pub(crate) files: CertificateFiles,
}

/// The paths of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// The certificate, as in [`TlsOptions::cert`](super::TlsOptions::cert).
    pub(crate) cert: PathBuf,
    /// Its key, as in [`TlsOptions::key`](super::TlsOptions::key).
    pub(crate) key: PathBuf,
    /// Whether the server obtains the certificate itself: it may be missing until then.
    pub(crate) is_obtained: bool,
}

use CertificateFiles as Files;

impl Files {
    /// Loads the certificate chain and the key, and checks that they match. `None` if the
    /// certificate was not obtained yet.
    ///
    /// # Errors
    ///
    /// Fails if a file can't be read or is not in PEM format, or if the two don't match.
    pub(super) fn load(&self) -> anyhow::Result<Option<CertifiedKey>> {
        if self.is_obtained && !self.cert.exists() {
            return Ok(None);
        }
        let cert = read(&self.cert)?;
        let key = read(&self.key)?;
        certified_key(&cert, &key, &self.cert, &self.key).map(Some)
    }

    /// Returns the name that the files have, if the server obtains the certificate itself.
    fn obtained_as(&self) -> Option<String> {
        let name = self.cert.file_stem().filter(|_| self.is_obtained)?;
        Some(name.to_string_lossy().into_owned())
    }

    /// Returns the states of the files; `None` for a missing file.
    pub(super) fn stamps(&self) -> Stamps {
        // Follows symbolic links: certificates are commonly replaced by changing a link.
        let files = [&self.cert, &self.key];
        files.map(|path| FileStamp::of_path(path)).to_vec()
    }
}

/// Parses a certificate chain and its key, and checks that they match. The paths are for messages.
fn certified_key(
    cert: &[u8],
    key: &[u8],
    cert_path: &Path,
    key_path: &Path,
) -> anyhow::Result<CertifiedKey> {
    let shown = cert_path.display();
    let chain = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{shown}: not in PEM form"))?;
    if chain.is_empty() {
        bail!("{shown}: no certificate in it (expected PEM)");
    }
    let shown = key_path.display();
    let key = PrivateKeyDer::from_pem_slice(key)
        .with_context(|| format!("{shown}: no private key in it (expected PEM)"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .with_context(|| format!("{shown}: not a usable key for {}", cert_path.display()))
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
    /// `None` until it was obtained.
    key: Option<Arc<CertifiedKey>>,
}

/// The current certificates.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// The challenges in flight, if certificates are obtained.
    challenges: Option<Challenges>,
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

/// A certificate in use, or one that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFact {
    /// The virtual host, or `None` for the certificate of all names without another one.
    pub(crate) host: Option<String>,
    /// When it is valid. `None` if there is none yet.
    pub(crate) validity: Option<Validity>,
    /// The first of its names, if the server obtains it itself.
    pub(crate) obtained_as: Option<String>,
}

impl Certificates {
    /// Creates a set without certificates, which answers these challenges.
    pub(super) fn new(challenges: Option<Challenges>) -> Self {
        Self {
            challenges,
            ..Self::default()
        }
    }

    /// Returns the challenges in flight, if certificates are obtained.
    pub(super) fn challenges(&self) -> Option<&Challenges> {
        self.challenges.as_ref()
    }

    /// Describes all certificates.
    pub(super) fn facts(&self) -> Vec<CertificateFact> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = loaded.iter().map(|one| CertificateFact {
            host: one.names.first().cloned(),
            validity: one.key.as_ref().and_then(|key| validity(key)),
            obtained_as: one.files.obtained_as(),
        });
        facts.collect()
    }

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
        let of_hosts = hosts
            .iter()
            .map(|host| (host.names.clone(), host.files.clone()));
        let mut new = Vec::new();
        for (names, files) in wanted.into_iter().chain(of_hosts) {
            let known = loaded.iter().chain(&new).find(|one| one.files == files);
            let one = match known {
                Some(known) => Loaded {
                    names,
                    ..known.clone()
                },
                None => Loaded::for_start(names, files)?,
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
                    let new = match result {
                        // It was removed, or is not there yet.
                        Ok(Loaded { key: None, .. }) => None,
                        Ok(new) => {
                            told(&one.files, Ok(()));
                            Some(new)
                        }
                        Err(error) => {
                            told(&one.files, Err(error));
                            None
                        }
                    };
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

    /// Serves a certificate that the server has obtained and can't store, given with its key in
    /// PEM, until `file` has another one.
    ///
    /// # Errors
    ///
    /// Fails if it is not in PEM format, or if the key doesn't match.
    pub(super) fn set_obtained(&self, file: &Path, pem: &[u8]) -> anyhow::Result<()> {
        let key = Arc::new(certified_key(pem, pem, file, file)?);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let obtained = loaded.iter_mut().filter(|one| one.files.is_obtained);
        for one in obtained.filter(|one| one.files.cert == file) {
            one.key = Some(key.clone());
        }
        self.choose(&loaded);
        Ok(())
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
                [] => chosen.default.clone_from(&one.key),
                names => {
                    chosen.has_hosts = true;
                    for name in names {
                        let key = one.key.clone();
                        let _ = key.map(|key| chosen.by_name.insert(name, key));
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
        let key = files.load()?.map(Arc::new);
        Ok(Self {
            names,
            files,
            stamps,
            key,
        })
    }

    /// Loads a certificate that was not in use. A damaged one that the server obtains itself counts
    /// as missing, because it is obtained again.
    fn for_start(names: Vec<String>, files: Files) -> anyhow::Result<Self> {
        let stamps = files.stamps();
        match Self::new(names.clone(), files.clone()) {
            Err(_) if files.is_obtained => Ok(Self {
                names,
                files,
                stamps,
                key: None,
            }),
            loaded => loaded,
        }
    }
}

impl ResolvesServerCert for Certificates {
    /// Returns the certificate of the name, or the one of all names: a client that expects another
    /// fails. Without any, the handshake fails.
    ///
    /// A client that offers the protocol of challenges gets only the certificate of one.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(challenges) = &self.challenges
            && is_challenge(&hello)
        {
            let pem = challenges.certificate(hello.server_name()?)?;
            return key_of_challenge(&pem).map(Arc::new);
        }
        self.find(hello.server_name())
    }
}

/// Parses the certificate and the key for a challenge, in PEM. Whether they match is not checked:
/// webpki, which rustls would ask, rejects the certificate because of its critical extension
/// acmeIdentifier (RFC 8737 section 3).
pub(super) fn key_of_challenge(pem: &[u8]) -> Option<CertifiedKey> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty())?;
    let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
    let key = ring::sign::any_supported_type(&key).ok()?;
    Some(CertifiedKey::new(chain, key))
}

/// Returns whether a client wants the certificate of a challenge, and no other protocol of ours.
fn is_challenge(hello: &ClientHello<'_>) -> bool {
    let offered = || hello.alpn().into_iter().flatten();
    offered().any(|protocol| protocol == CHALLENGE_PROTOCOL)
        && !offered().any(|protocol| PROTOCOLS.contains(&protocol))
}

/// Returns when a certificate is valid.
fn validity(key: &CertifiedKey) -> Option<Validity> {
    Validity::of_der(key.cert.first()?)
}

/// Checks that a certificate that was obtained can be used for these names, by the file's content
/// in PEM. Returns when it is valid.
///
/// # Errors
///
/// Fails with what is wrong with it.
pub(crate) fn check_obtained(pem: &[u8], names: &[String]) -> anyhow::Result<Validity> {
    let path = Path::new("the certificate");
    let key = certified_key(pem, pem, path, path)?;
    if key.cert.len() > MAX_CHAIN_COUNT {
        bail!("the chain has {} certificates", key.cert.len());
    }
    let first = key.cert.first().context("there is no certificate")?;
    let parsed = ParsedCertificate::try_from(first).context("the certificate is malformed")?;
    for name in names {
        let server_name = ServerName::try_from(&**name)?;
        verify_server_name(&parsed, &server_name)
            .with_context(|| format!("the certificate is not for {name}"))?;
    }
    validity(&key).context("the certificate has no period of validity")
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
