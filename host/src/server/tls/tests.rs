//! Tests of sessions with rustls's client, without a socket; and of changing certificates.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::CertificateFiles as Files;
use super::certificate::key_of_challenge;
use super::watch::Follow;
use super::*;
use crate::file_watch::Poll;

const NAME: &str = "localhost";

/// Writes a new certificate and its key to `folder`.
fn make_certificate(folder: &Path) -> Files {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let files = Files {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
        is_obtained: false,
    };
    fs::write(&files.cert, made.cert.pem()).expect("the folder can be written to");
    fs::write(&files.key, made.signing_key.serialize_pem()).expect("and again");
    files
}

/// Returns the certificate that a client without a name gets.
fn current(certificates: &Certificates) -> Vec<CertificateDer<'static>> {
    certificates.find(None).expect("there is one").cert.clone()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Returns a server configuration, and the certificate that a client must trust.
fn server() -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let folder = folder();
    let files = make_certificate(folder.path());
    let certificates = Arc::new(Certificates::default());
    certificates.set(Some(&files), &[]).expect("it is good");
    let certificate = current(&certificates)[0].clone();
    let config = config(
        certificates,
        Arc::new(Tickets::new().expect("random numbers")),
    )
    .expect("settings");
    (Arc::new(config), certificate)
}

fn client(
    certificate: CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
    protocols: &[&[u8]],
) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(NAME).expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

fn session(config: &Arc<ServerConfig>) -> Session {
    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
    Session::new(config.clone(), deadline).expect("a session")
}

/// Returns all pending data of the client.
fn from_client(client: &mut ClientConnection) -> Vec<u8> {
    let mut records = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut records).expect("a vector takes it");
    }
    records
}

/// Passes all pending data of the server to the client. Returns the plaintext.
fn to_client(
    session: &mut Session,
    client: &mut ClientConnection,
) -> Result<Vec<u8>, rustls::Error> {
    let records = session.outgoing().to_vec();
    session.sent(records.len());
    let mut rest = &*records;
    let mut plain = Vec::new();
    while !rest.is_empty() {
        client.read_tls(&mut rest).expect("a slice gives it");
        client.process_new_packets()?;
        // Reads the available data even without its end.
        let _ = client.reader().read_to_end(&mut plain);
    }
    Ok(plain)
}

/// Passes records to the session in pieces, as a transport does: in a buffer that starts with the
/// incomplete records.
fn open(
    session: &mut Session,
    records: &[u8],
    piece_bytes: usize,
) -> Result<(Vec<u8>, Opened), Failed> {
    let mut plain = Vec::new();
    let mut opened = Opened::Open;
    let mut buffer = vec![0; 2 * HELD_BYTES];
    for piece in records.chunks(piece_bytes) {
        let held = session.resume(&mut buffer);
        buffer[held..held + piece.len()].copy_from_slice(piece);
        let records = &mut buffer[..held + piece.len()];
        opened = session.open(records, &mut |bytes| plain.extend_from_slice(bytes))?;
    }
    Ok((plain, opened))
}

fn seal(session: &mut Session, plain: &[u8]) {
    let mut sealed = vec![0; SEALED_BYTES];
    for record in plain.chunks(RECORD_BYTES) {
        assert!(Session::fits(record.len(), sealed.len()));
        let count = session.seal(record, &mut sealed).expect("it is open");
        session.keep(&sealed[..count]);
    }
}

fn handshake(session: &mut Session, client: &mut ClientConnection, piece_bytes: usize) {
    for _ in 0..4 {
        let records = from_client(client);
        open(session, &records, piece_bytes).expect("a handshake");
        to_client(session, client).expect("a handshake");
    }
    assert!(!client.is_handshaking());
    assert_eq!(session.deadline(), None);
}

fn versions() -> [&'static SupportedProtocolVersion; 2] {
    [&rustls::version::TLS13, &rustls::version::TLS12]
}

#[test]
fn a_conversation_is_the_same_however_its_records_are_split() {
    let (config, certificate) = server();
    let long: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
    for version in versions() {
        for piece_bytes in [1, 2, 5, 1000, 16 * 1024] {
            let mut client = client(certificate.clone(), version, &[b"h2", b"http/1.1"]);
            let mut session = session(&config);
            assert!(session.deadline().is_some());
            handshake(&mut session, &mut client, piece_bytes);
            assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));

            let sent = &long[..if piece_bytes < 5 { 2000 } else { long.len() }];
            let mut rest = sent;
            let mut received = Vec::new();
            while !rest.is_empty() {
                let count = client.writer().write(rest).expect("room");
                rest = &rest[count..];
                let records = from_client(&mut client);
                let (plain, opened) = open(&mut session, &records, piece_bytes).expect("good");
                assert_eq!(opened, Opened::Open);
                received.extend(plain);
            }
            assert_eq!(received, sent);

            let mut answer = Vec::new();
            for part in long.chunks(SEAL_BYTES) {
                seal(&mut session, part);
                answer.extend(to_client(&mut session, &mut client).expect("good"));
            }
            assert_eq!(answer, long);
        }
    }
}

#[test]
fn nothing_is_kept_between_two_requests() {
    let (config, certificate) = server();
    for version in versions() {
        let mut client = client(certificate.clone(), version, &[]);
        let mut session = session(&config);
        handshake(&mut session, &mut client, 100);
        client.writer().write_all(b"GET").expect("room");
        let records = from_client(&mut client);
        open(&mut session, &records, 7).expect("good");
        assert_eq!(session.kept_capacity_bytes(), 0);
        open(&mut session, &records[..1], 7).expect("not whole");
        assert!(session.kept_capacity_bytes() > 0);
    }
}

#[test]
fn an_orderly_end_is_told_both_ways() {
    let (config, certificate) = server();
    for version in versions() {
        let mut client = client(certificate.clone(), version, &[]);
        let mut session = session(&config);
        handshake(&mut session, &mut client, 1000);
        client.writer().write_all(b"last").expect("room");
        client.send_close_notify();
        let records = from_client(&mut client);
        let (plain, opened) = open(&mut session, &records, records.len()).expect("good");
        assert_eq!((&*plain, opened), (&b"last"[..], Opened::Ended));
        // A client that has ended its side still receives its response.
        seal(&mut session, b"answer");
        session.close();
        assert!(session.is_closed());
        let answer = to_client(&mut session, &mut client).expect("good");
        assert_eq!(answer, b"answer");
        let rest = client.reader().read_to_end(&mut Vec::new());
        assert_eq!(rest.expect("an end"), 0);
    }
}

#[test]
fn a_cut_answer_has_no_orderly_end() {
    let (config, certificate) = server();
    for version in versions() {
        let mut client = client(certificate.clone(), version, &[]);
        let mut session = session(&config);
        handshake(&mut session, &mut client, 1000);
        seal(&mut session, b"answ");
        let answer = to_client(&mut session, &mut client).expect("good");
        assert_eq!(answer, b"answ");
        assert_eq!(client.read_tls(&mut &b""[..]).expect("an end"), 0);
        client.process_new_packets().expect("nothing new");
        let error = client.reader().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn what_is_no_tls_fails_with_an_alert_and_no_panic() {
    let (config, certificate) = server();
    let mut client = client(certificate, &rustls::version::TLS13, &[]);
    let hello = from_client(&mut client);
    let mut flipped = hello.clone();
    flipped[5] ^= 0xFF;
    for (bytes, alert) in [
        (&b"\x16\x03\x01\xff\xff............"[..], true),
        (b"\x15\x03\x01\x00\x02\x02\x28", false),
        (b"\x80\x2e\x01\x00\x02...............", true),
        (b"SSH-2.0-OpenSSH_9.6\r\n", true),
        (&flipped, true),
    ] {
        let mut session = session(&config);
        let failed = open(&mut session, bytes, bytes.len());
        assert!(failed.is_err(), "{}", bytes.escape_ascii());
        assert_eq!(
            session.outgoing().first() == Some(&0x15),
            alert,
            "{}",
            bytes.escape_ascii()
        );
        session.close();
        assert!(session.is_closed());
    }
    // A truncated hello causes no error, wherever it ends.
    for length in 0..hello.len() {
        let mut session = session(&config);
        open(&mut session, &hello[..length], hello.len()).expect("not whole");
        assert!(session.outgoing().is_empty());
        assert!(session.deadline().is_some());
    }
}

#[test]
fn a_broken_record_ends_the_session() {
    let (config, certificate) = server();
    for version in versions() {
        let mut client = client(certificate.clone(), version, &[]);
        let mut session = session(&config);
        handshake(&mut session, &mut client, 1000);
        client
            .writer()
            .write_all(b"GET / HTTP/1.1\r\n")
            .expect("room");
        let mut records = from_client(&mut client);
        if let Some(last) = records.last_mut() {
            *last ^= 1;
        }
        assert!(open(&mut session, &records, 3).is_err());
        assert!(to_client(&mut session, &mut client).is_err());
    }
}

#[test]
fn other_protocols_than_http_1_are_refused() {
    let (config, certificate) = server();
    let mut client = client(certificate, &rustls::version::TLS13, &[b"h2"]);
    let mut session = session(&config);
    let records = from_client(&mut client);
    assert!(open(&mut session, &records, 1000).is_err());
    let error = to_client(&mut session, &mut client).unwrap_err();
    assert!(
        format!("{error:?}").contains("NoApplicationProtocol"),
        "{error:?}"
    );
}

#[test]
fn a_certificate_with_the_extension_of_a_challenge_is_loaded() {
    let mut params = rcgen::CertificateParams::new([NAME.to_owned()]).expect("a name");
    let extension = rcgen::CustomExtension::new_acme_identifier(&[7; 32]);
    params.custom_extensions = vec![extension];
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signed");
    let pem = key.serialize_pem() + &certificate.pem();
    let found = key_of_challenge(pem.as_bytes()).expect("it is good");
    assert_eq!(found.cert[0], *certificate.der());
    for wrong in [certificate.pem(), key.serialize_pem(), String::new()] {
        assert!(key_of_challenge(wrong.as_bytes()).is_none());
    }
}

#[test]
fn a_handshake_for_a_challenge_is_complete_and_ends_the_connection() {
    let folder = folder();
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let challenges = Challenges::new(folder.path().to_owned());
    let file = challenges.certificate_file(NAME).expect("a name");
    let pem = made.signing_key.serialize_pem() + &made.cert.pem();
    fs::write(file, pem).expect("written");
    let certificates = Arc::new(Certificates::new(Some(challenges)));
    let tickets = Arc::new(Tickets::new().expect("random numbers"));
    let config = Arc::new(config(certificates, tickets).expect("settings"));
    for version in versions() {
        let certificate = made.cert.der().clone();
        let mut client = client(certificate, version, &[CHALLENGE_PROTOCOL]);
        let mut session = session(&config);
        let mut ended = Opened::Open;
        for _ in 0..4 {
            // Data in the packet of the last record of a handshake is no request.
            client.writer().write_all(b"GET / ").expect("room");
            let records = from_client(&mut client);
            let plain;
            (plain, ended) = open(&mut session, &records, records.len()).expect("good");
            assert_eq!(plain, b"");
            if ended == Opened::Ended {
                break;
            }
            to_client(&mut session, &mut client).expect("good");
        }
        assert_eq!(ended, Opened::Ended);
        session.close();
        to_client(&mut session, &mut client).expect("good");
        assert!(!client.is_handshaking());
        assert_eq!(client.alpn_protocol(), Some(CHALLENGE_PROTOCOL));
        let rest = client.reader().read_to_end(&mut Vec::new());
        assert_eq!(rest.expect("a close_notify"), 0);
    }
}

#[test]
fn nothing_is_sealed_before_the_handshake() {
    let (config, _) = server();
    let mut session = session(&config);
    let mut sealed = vec![0; SEALED_BYTES];
    assert!(session.seal(b"x", &mut sealed).is_err());
}

/// Replaces a file by renaming another over it, as tools do.
fn replace(path: &Path, text: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("the folder can be written to");
    fs::rename(&new, path).expect("the new file can be moved");
}

#[test]
fn an_obtained_certificate_is_served_from_memory_until_it_is_stored() {
    let folder = folder();
    let file = folder.path().join("a.test.pem");
    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem())
    };
    let files = Files {
        cert: file.clone(),
        key: file.clone(),
        is_obtained: true,
    };
    let certificates = Arc::new(Certificates::default());
    let stamps = certificates.stamps();
    certificates
        .set(Some(&files), &[])
        .expect("it may be missing");
    assert!(certificates.find(None).is_none());
    let pem = made(NAME);
    let other = folder.path().join("b.test.pem");
    certificates
        .set_obtained(&other, pem.as_bytes())
        .expect("it is good");
    assert!(certificates.find(None).is_none(), "it is for another file");
    certificates
        .set_obtained(&file, b"pem")
        .expect_err("it is none");
    certificates
        .set_obtained(&file, pem.as_bytes())
        .expect("it is good");
    let served = current(&certificates);
    let mut poll = Poll::new(stamps, Follow(certificates.clone()));
    let mut look_until_settled = || {
        poll.look(false);
        poll.look(false);
    };
    look_until_settled();
    assert_eq!(current(&certificates), served, "there is no file yet");
    fs::write(&file, &pem).expect("written");
    look_until_settled();
    assert_eq!(current(&certificates), served);
    fs::write(&file, made("other.test")).expect("written");
    look_until_settled();
    assert_ne!(current(&certificates), served);
}

#[test]
fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let (one, other) = (folder(), folder());
    let files = make_certificate(one.path());
    let stamps = files.stamps();
    let certificates = Arc::new(Certificates::default());
    certificates.set(Some(&files), &[]).expect("it is good");
    let first = current(&certificates);
    let follow = Follow(certificates.clone());
    let mut poll = Poll::new(stamps, follow);
    let mut look_until_settled = || {
        poll.look(false);
        poll.look(false);
    };
    look_until_settled();
    assert_eq!(current(&certificates), first);

    // The certificate is replaced before its key.
    let next = make_certificate(other.path());
    replace(&files.cert, &fs::read(&next.cert).expect("it is there"));
    look_until_settled();
    assert_eq!(current(&certificates), first);
    replace(&files.key, &fs::read(&next.key).expect("it is there"));
    look_until_settled();
    let second = current(&certificates);
    assert_ne!(second, first);

    for broken in [&b""[..], b"-----BEGIN CERTIFICATE-----\n!\n", b"\xff\0"] {
        replace(&files.cert, broken);
        look_until_settled();
        assert_eq!(current(&certificates), second);
    }
    fs::remove_file(&files.key).expect("it is there");
    look_until_settled();
    assert_eq!(current(&certificates), second);

    let last = make_certificate(one.path());
    assert_eq!(last.cert, files.cert);
    look_until_settled();
    assert_ne!(current(&certificates), second);
}

#[test]
fn what_can_not_be_served_with_is_said_at_the_start() {
    let (one, other) = (folder(), folder());
    let files = make_certificate(one.path());
    let others = make_certificate(other.path());
    let options = |cert: &Path, key: &Path| TlsOptions {
        cert: Some(cert.to_owned()),
        key: Some(key.to_owned()),
        ..TlsOptions::default()
    };
    let load = |options: &TlsOptions| {
        WantedCertificates::new(options, None, Vec::new(), None).and_then(LoadedCertificates::load)
    };
    let loaded = load(&options(&files.cert, &files.key)).expect("it is good");
    assert!(loaded.is_some());
    let loaded = load(&TlsOptions::default()).expect("no TLS");
    assert!(loaded.is_none());
    let missing = one.path().join("missing.pem");
    for (options, expected) in [
        (options(&files.cert, &others.key), "not a usable key"),
        (options(&files.cert, &files.cert), "no private key"),
        (options(&files.key, &files.key), "no certificate"),
        (options(&missing, &files.key), "missing.pem"),
        (options(one.path(), &files.key), "no certificate or key"),
        (
            TlsOptions {
                cert: Some(files.cert.clone()),
                ..TlsOptions::default()
            },
            "--tls-key",
        ),
        (
            TlsOptions {
                redirect_http: Some(([127, 0, 0, 1], 0).into()),
                ..TlsOptions::default()
            },
            "--tls-cert",
        ),
    ] {
        let error = load(&options).expect_err(expected);
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}

#[test]
fn dropping_the_watch_ends_it_at_once() {
    let folder = folder();
    let files = make_certificate(folder.path());
    let wanted = WantedCertificates {
        default: Some(files),
        ..WantedCertificates::default()
    };
    let loaded = LoadedCertificates::load(wanted).expect("it is good");
    let tickets = Arc::new(Tickets::new().expect("random numbers"));
    let tls = Tls::start(loaded.expect("it is configured"), tickets).expect("a thread");
    let before = Instant::now();
    drop(tls);
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_name_gets_the_certificate_of_its_host_and_a_broken_one_changes_nothing() {
    let folders = [folder(), folder(), folder()];
    let [default, one, other] = folders.each_ref().map(|at| make_certificate(at.path()));
    let host = |files: &Files, names: &[&str]| HostCertificate {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        files: files.clone(),
    };
    let loaded = |files: &Files| {
        let loaded = files.load().expect("it is good");
        loaded.expect("it is there").cert
    };
    let certificates = Certificates::default();
    let hosts = [
        host(&one, &["a.test", "www.a.test"]),
        host(&other, &["*.b.test"]),
    ];
    certificates
        .set(Some(&default), &hosts)
        .expect("all are good");
    let expect = |name: Option<&str>, files: &Files| {
        let found = certificates.find(name).expect("there is one");
        assert_eq!(found.cert, loaded(files), "{name:?}");
    };
    expect(Some("a.test"), &one);
    expect(Some("www.a.test"), &one);
    expect(Some("x.b.test"), &other);
    expect(Some("x.y.b.test"), &default);
    expect(Some("c.test"), &default);
    expect(None, &default);

    let missing = folder();
    let broken = Files {
        cert: missing.path().join("cert.pem"),
        key: missing.path().join("key.pem"),
        is_obtained: false,
    };
    let error = certificates.set(Some(&default), &[host(&broken, &["a.test"])]);
    assert!(
        error
            .expect_err("it is missing")
            .to_string()
            .contains("cert.pem")
    );
    expect(Some("a.test"), &one);

    // Without one of all names, a client that names no host gets none.
    certificates.set(None, &hosts[..1]).expect("it is good");
    expect(Some("a.test"), &one);
    assert!(certificates.find(Some("c.test")).is_none());
    assert!(certificates.find(None).is_none());
    assert!(certificates.has_hosts());
    certificates.set(Some(&default), &[]).expect("it is good");
    assert!(!certificates.has_hosts());
}
