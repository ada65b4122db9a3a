//! Certificates, and a client that speaks TLS.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;

const NAME: &str = "localhost";

/// A certificate and its key, in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Makes one, and writes it over the one that is there.
    pub(crate) fn make(folder: &Path) -> Certificate {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
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

    /// The flags that have it served.
    pub(crate) fn flags(&self) -> [&str; 4] {
        ["--tls-cert", text(&self.cert), "--tls-key", text(&self.key)]
    }

    /// What a client has to trust to take it.
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

/// Writes a file aside and renames it, so that it is whole from its first moment.
pub(crate) fn replace(path: &Path, text: &[u8]) {
    let aside = path.with_extension("aside");
    fs::write(&aside, text).expect("written");
    fs::rename(aside, path).expect("renamed");
}

/// One connection, which trusts one certificate.
#[derive(Debug)]
pub(crate) struct TlsClient {
    stream: StreamOwned<ClientConnection, Pieces>,
}

/// A socket that sends a few bytes at a time.
#[derive(Debug)]
struct Pieces {
    socket: TcpStream,
    piece_bytes: usize,
}

impl TlsClient {
    /// Connects. The handshake comes with the first bytes.
    pub(crate) fn connect(addr: SocketAddr, trusted: &Certificate) -> TlsClient {
        TlsClient::in_pieces(addr, trusted, b"", usize::MAX)
    }

    /// Sends `before` in the clear; from there on TLS, in pieces of this size.
    pub(crate) fn in_pieces(
        addr: SocketAddr,
        trusted: &Certificate,
        before: &[u8],
        piece_bytes: usize,
    ) -> TlsClient {
        let mut socket = TcpStream::connect_timeout(&addr, PATIENCE).expect("the server is there");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        socket.write_all(before).expect("sent");
        let config = ClientConfig::builder()
            .with_root_certificates(trusted.roots())
            .with_no_client_auth();
        let name = ServerName::try_from(NAME).expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
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

    /// Has the connection broken, not closed, when this is dropped.
    pub(crate) fn reset_when_dropped(&self) {
        let socket = socket2::SockRef::from(&self.stream.sock.socket);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }

    /// Takes so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Takes everything up to the end. Fails where TLS does not say that it is the end.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Asks for something on this connection, as its last request, and takes the answer.
    pub(crate) fn get(&mut self, target: &str) -> io::Result<String> {
        self.send(format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
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
