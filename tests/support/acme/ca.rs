//! A certificate authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SignatureAlgorithm,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// The beginning of a P-256 public key in DER, up to its point.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The length of a point, in bytes.
const POINT_BYTES: usize = 65;

/// How long certificates are valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// From 2020 to 2500.
    #[default]
    Long,
    /// From 1975 to the year after the next: more than two thirds of it are over.
    NearlyOver,
    /// Until 2020.
    Expired,
}

/// A certificate authority. Dropping it removes its file.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("written");
        Authority { issuer, folder }
    }

    /// Returns the file with its certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns the configuration of a server at 127.0.0.1.
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.expect("they match"))
    }

    /// Issues a certificate for the key of a request. Returns the chain.
    pub(crate) fn issue(
        &self,
        request: &[u8],
        names: &[String],
        lifetime: Lifetime,
    ) -> Result<String, &'static str> {
        let at = request.windows(SPKI.len()).position(|part| part == SPKI);
        let at = at.ok_or("no P-256 key")? + SPKI.len();
        let point = request.get(at..at + POINT_BYTES).ok_or("no key")?;
        Ok(self.sign(&Point(point.to_vec()), names, lifetime))
    }

    /// Issues a certificate for another key than that of the request.
    pub(crate) fn issue_for_other_key(&self, names: &[String]) -> String {
        let key = KeyPair::generate().expect("a key");
        self.sign(&key, names, Lifetime::Long)
    }

    /// Writes a certificate and its key as the server stores them.
    pub(crate) fn write(&self, file: &Path, names: &[String], lifetime: Lifetime) {
        let key = KeyPair::generate().expect("a key");
        let chain = self.sign(&key, names, lifetime);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("created");
        std::fs::write(file, format!("{}{chain}", key.serialize_pem())).expect("written");
    }

    /// Writes a certificate for an address, and its key.
    pub(crate) fn write_pair(&self, cert: &Path, key: &Path, address: &str) {
        let pair = KeyPair::generate().expect("a key");
        let chain = self.sign(&pair, &[address.to_owned()], Lifetime::Long);
        std::fs::write(cert, chain).expect("written");
        std::fs::write(key, pair.serialize_pem()).expect("written");
    }

    /// Returns its own certificate.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    fn sign(&self, key: &impl PublicKeyData, names: &[String], lifetime: Lifetime) -> String {
        let mut params = CertificateParams::new(names).expect("names");
        let (start, end) = match lifetime {
            Lifetime::Long => (2020, 2500),
            Lifetime::NearlyOver => (1975, this_year() + 2),
            Lifetime::Expired => (2019, 2020),
        };
        params.not_before = rcgen::date_time_ymd(start, 1, 1);
        params.not_after = rcgen::date_time_ymd(end, 1, 1);
        let certificate = params.signed_by(key, &self.issuer).expect("signed");
        format!("{}{}", certificate.pem(), self.issuer.pem())
    }
}

fn this_year() -> i32 {
    const YEAR_SECONDS: u64 = 31_556_952;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    1970 + (since.expect("a clock").as_secs() / YEAR_SECONDS) as i32
}

/// A public key.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}
