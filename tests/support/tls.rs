//! Certificates, and a client that speaks TLS.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::PATIENCE;

const NAME: &str = "localhost";

/// A certificate and its key, as files in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Creates a certificate and writes it, replacing an existing one.
    pub(crate) fn make(folder: &Path) -> Certificate {
        Certificate::make_for(folder, NAME)
    }

    /// Creates a certificate for a name and writes it, replacing an existing one.
    pub(crate) fn make_for(folder: &Path, name: &str) -> Certificate {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let certificate = Certificate {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        replace(&certificate.cert, made.cert.pem().as_bytes());
        replace(
            &certificate.key,
            made.signing_key.serialize_pem().as_bytes(),
        );
        certificate
    }

    /// Returns the server's flags for this certificate.
    pub(crate) fn flags(&self) -> [&str; 4] {
        ["--tls-cert", text(&self.cert), "--tls-key", text(&self.key)]
    }

    /// Returns the configuration of a client that trusts the certificate. Connections with it
    /// resume the sessions of earlier ones.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let config = ClientConfig::builder()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        Arc::new(config)
    }

    /// Returns the roots with which a client trusts the certificate.
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(&self.cert).expect("it is good");
        roots.add(certificate).expect("it is good");
        roots
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// Writes a file to a temporary name and renames it, so that no reader sees a partial file.
pub(crate) fn replace(path: &Path, text: &[u8]) {
    let aside = path.with_extension("aside");
    fs::write(&aside, text).expect("written");
    fs::rename(aside, path).expect("renamed");
}

/// A TLS connection that trusts one certificate.
#[derive(Debug)]
pub(crate) struct TlsClient {
    stream: StreamOwned<ClientConnection, Pieces>,
}

/// A socket that sends a limited number of bytes at a time.
#[derive(Debug)]
struct Pieces {
    socket: TcpStream,
    piece_bytes: usize,
}

impl TlsClient {
    /// Connects. The handshake happens with the first bytes.
    pub(crate) fn connect(addr: SocketAddr, trusted: &Certificate) -> TlsClient {
        TlsClient::in_pieces(addr, trusted, b"", usize::MAX)
    }

    /// Connects to a host of this name. The handshake happens with the first bytes.
    pub(crate) fn connect_to(addr: SocketAddr, name: &str, trusted: &Certificate) -> TlsClient {
        TlsClient::new(addr, name, trusted.client(), b"", usize::MAX)
    }

    /// Connects to a host of this name with this configuration. The handshake happens with the
    /// first bytes.
    pub(crate) fn connect_as(addr: SocketAddr, name: &str, client: &Arc<ClientConfig>) -> Self {
        TlsClient::new(addr, name, client.clone(), b"", usize::MAX)
    }

    /// Returns whether the connection has resumed the session of an earlier one.
    pub(crate) fn has_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends `before` unencrypted, then uses TLS in writes of at most this size.
    pub(crate) fn in_pieces(
        addr: SocketAddr,
        trusted: &Certificate,
        before: &[u8],
        piece_bytes: usize,
    ) -> TlsClient {
        TlsClient::new(addr, NAME, trusted.client(), before, piece_bytes)
    }

    fn new(
        addr: SocketAddr,
        name: &str,
        client: Arc<ClientConfig>,
        before: &[u8],
        piece_bytes: usize,
    ) -> TlsClient {
        let mut socket = TcpStream::connect_timeout(&addr, PATIENCE).expect("the server is there");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        socket.write_all(before).expect("sent");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connection = ClientConnection::new(client, name).expect("a client");
        let socket = Pieces {
            socket,
            piece_bytes,
        };
        TlsClient {
            stream: StreamOwned::new(connection, socket),
        }
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Makes the connection end with a reset when this is dropped.
    pub(crate) fn reset_when_dropped(&self) {
        let socket = socket2::SockRef::from(&self.stream.sock.socket);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }

    /// Receives exactly `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Receives everything up to the end. Fails if TLS doesn't announce the end (`close_notify`).
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Sends a GET as the last request on this connection and returns the response.
    pub(crate) fn get(&mut self, target: &str) -> io::Result<String> {
        self.get_from("test", target)
    }

    /// Sends a GET to a host as the last request on this connection and returns the response.
    pub(crate) fn get_from(&mut self, host: &str, target: &str) -> io::Result<String> {
        self.send(format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))?;
        Ok(String::from_utf8_lossy(&self.rest()?).into_owned())
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.read(into)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..self.piece_bytes).unwrap_or(bytes);
        self.socket.write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
