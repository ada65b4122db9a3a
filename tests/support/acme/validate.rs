//! Checks of challenges, as a certificate authority does them: by connecting to the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring as provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::support::PATIENCE;

/// The encoding of the extension acmeIdentifier, critical, up to the hash (RFC 8737 section 3).
const IDENTIFIER: [u8; 17] = [
    0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 1, 31, 0x01, 0x01, 0xff, 0x04, 0x22, 0x04, 0x20,
];

fn connect(addr: SocketAddr) -> Result<TcpStream, String> {
    let socket = TcpStream::connect_timeout(&addr, PATIENCE).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    Ok(socket)
}

/// Checks HTTP-01 (RFC 8555 section 8.3).
pub(crate) fn http(
    addr: SocketAddr,
    name: &str,
    token: &str,
    expected: &str,
) -> Result<(), String> {
    let mut socket = connect(addr)?;
    let request = format!(
        "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {name}\r\nConnection: \
         close\r\n\r\n"
    );
    let mut response = String::new();
    let done = socket.write_all(request.as_bytes());
    done.and_then(|()| socket.read_to_string(&mut response))
        .map_err(|error| error.to_string())?;
    let (head, body) = response.split_once("\r\n\r\n").ok_or("no head")?;
    match head.starts_with("HTTP/1.1 200 ") && body == expected {
        true => Ok(()),
        false => Err(format!("unexpected response: {response}")),
    }
}

/// Checks TLS-ALPN-01 (RFC 8737 section 3).
pub(crate) fn tls(addr: SocketAddr, name: &str, expected: &str) -> Result<(), String> {
    let certificate = offered(addr, name, &[b"acme-tls/1"])?;
    let hash = digest(&SHA256, expected.as_bytes());
    let extension = [&IDENTIFIER[..], hash.as_ref()].concat();
    let has = |part: &[u8]| certificate.windows(part.len()).any(|window| window == part);
    // The only alternative name.
    let length = name.len() as u8;
    let names = [&[0x30, length + 2, 0x82, length], name.as_bytes()].concat();
    match has(&extension) && has(&names) {
        true => Ok(()),
        false => Err("another certificate".into()),
    }
}

/// Returns the certificate that a client with these protocols gets. The server must choose the
/// first of them, and close the connection after the handshake if it is that of challenges.
pub(crate) fn offered(
    addr: SocketAddr,
    name: &str,
    protocols: &[&[u8]],
) -> Result<Vec<u8>, String> {
    let provider = Arc::new(provider::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
    let server_name = ServerName::try_from(name.to_owned()).expect("a name");
    let client = ClientConnection::new(Arc::new(config), server_name).expect("a client");
    let mut stream = StreamOwned::new(client, connect(addr)?);
    while stream.conn.is_handshaking() {
        let done = stream.conn.complete_io(&mut stream.sock);
        done.map_err(|error| error.to_string())?;
    }
    if stream.conn.alpn_protocol() != protocols.first().copied() {
        return Err(format!("protocol {:?}", stream.conn.alpn_protocol()));
    }
    if protocols
        .first()
        .is_some_and(|first| *first == b"acme-tls/1")
    {
        let mut rest = Vec::new();
        let closed = stream.read_to_end(&mut rest);
        closed.map_err(|error| format!("not closed: {error}"))?;
    }
    let chain = stream.conn.peer_certificates().ok_or("no certificate")?;
    Ok(chain[0].to_vec())
}

/// Accepts any certificate. Signatures are not verified either, because that parses the
/// certificate, and webpki refuses the critical extension of a challenge (RFC 8737 section 3).
#[derive(Debug)]
struct Any;

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = provider::default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
