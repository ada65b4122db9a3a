//! The challenges of a certificate authority that this site answers at the moment (RFC 8555 section
//! 8, RFC 8737), as files in a folder.
//!
//! One process asks for certificates, and the authority's requests reach any process of the site:
//! so the answers are files that all of them read. A reactor reads a file of some hundred bytes,
//! and only for requests that have the form of a challenge.

use std::path::PathBuf;

use crate::host_name;
use crate::regular_file;

/// The front of the paths of HTTP-01 (RFC 8555 section 8.3).
const FRONT: &[u8] = b"/.well-known/acme-challenge/";

/// The minimum length of a token, in bytes: 128 bits in base64 (RFC 8555 section 8.3).
const MIN_TOKEN_BYTES: usize = 22;

/// The maximum length of a token, in bytes: several times that of the usual authorities.
const MAX_TOKEN_BYTES: usize = 200;

/// The maximum size of a file, in bytes: a certificate and its key have one KiB.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// The challenges in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenges {
    folder: PathBuf,
}

impl Challenges {
    /// Refers to the challenges in `folder`, which may not exist.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns the file with the response to an HTTP-01 challenge. `None` for a malformed token.
    pub(crate) fn response_file(&self, token: &str) -> Option<PathBuf> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let has_length = (MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&token.len());
        // The front keeps it from being hidden or from looking like an option.
        (has_length && token.bytes().all(is_good))
            .then(|| self.folder.join(format!("http-{token}")))
    }

    /// Returns the file with the certificate and the key for a TLS-ALPN-01 challenge of a name.
    /// `None` if it is no name.
    pub(crate) fn certificate_file(&self, name: &str) -> Option<PathBuf> {
        let is_name = host_name::check(name).is_ok();
        is_name.then(|| self.folder.join(format!("tls-{name}.pem")))
    }

    /// Returns the body of the response to a request for this path, if it is that of a challenge in
    /// flight.
    pub(super) fn response(&self, path: &[u8]) -> Option<Vec<u8>> {
        let token = path.strip_prefix(FRONT)?;
        let file = self.response_file(std::str::from_utf8(token).ok()?)?;
        regular_file::read(&file, MAX_FILE_BYTES).ok()
    }

    /// Returns the certificate and the key for a handshake with this name, in PEM, if a challenge
    /// for it is in flight.
    pub(super) fn certificate(&self, name: &str) -> Option<Vec<u8>> {
        let file = self.certificate_file(&name.to_ascii_lowercase())?;
        regular_file::read(&file, MAX_FILE_BYTES).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_files_of_challenges_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("challenges");
        fs::create_dir(&inner).expect("created");
        let token = "a".repeat(22);
        let challenges = Challenges::new(inner.clone());
        fs::write(inner.join(format!("http-{token}")), "answer").expect("written");
        fs::write(folder.path().join("secret"), "secret").expect("written");
        let get = |path: &str| challenges.response(path.as_bytes());
        let front = "/.well-known/acme-challenge/";
        assert_eq!(get(&format!("{front}{token}")), Some(b"answer".to_vec()));
        for other in [
            "b".repeat(22),
            format!("../challenges/http-{token}"),
            format!("{token}/"),
            format!("{token}?x"),
            format!("{token}%00"),
            "../secret".into(),
            "..".into(),
            String::new(),
            "c".repeat(5000),
        ] {
            assert_eq!(get(&format!("{front}{other}")), None, "{other}");
        }
        assert_eq!(get(&format!("/{token}")), None);
        assert_eq!(challenges.response(&[FRONT, &[0xff; 22]].concat()), None);
        fs::write(inner.join("tls-a.test.pem"), "pem").expect("written");
        assert_eq!(challenges.certificate("A.test"), Some(b"pem".to_vec()));
        for other in ["b.test", "../secret", "", "a.test/", "\0"] {
            assert_eq!(challenges.certificate(other), None, "{other}");
        }
        fs::write(inner.join(format!("http-{token}")), [0; 20_000]).expect("written");
        assert_eq!(get(&format!("{front}{token}")), None);
    }
}
