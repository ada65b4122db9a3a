//! Pebble, the test server of Let's Encrypt, from the system's package.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use tempfile::TempDir;

use super::super::output::Output;
use super::Authority;
use crate::support::eventually;

/// A running server, and one for names, which are all 127.0.0.1. Dropping it kills both.
#[derive(Debug)]
pub(crate) struct Pebble {
    children: Vec<Child>,
    authority: Authority,
    folder: TempDir,
    ports: Ports,
    /// Reads its output, which would block it otherwise.
    _log: Output,
}

/// Ports that were free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    directory: u16,
    management: u16,
    /// Where it expects HTTP-01 to be answered.
    pub(crate) http: u16,
    /// Where it expects TLS-ALPN-01 to be answered.
    pub(crate) tls: u16,
}

impl Pebble {
    /// Starts it. It rejects this percentage of good nonces. Returns `None`, and prints how to
    /// install it, if there is none.
    pub(crate) fn start(rejected_nonces_percent: u32) -> Option<Pebble> {
        let found = ["pebble", "pebble-challtestsrv"].map(|name| {
            let paths = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&paths).any(|path| path.join(name).is_file())
        });
        if found != [true, true] {
            println!("SKIPPED: certificates from pebble (apt-get install pebble)");
            return None;
        }
        let [directory, management, names, answers, http, tls] = free_ports();
        let ports = Ports {
            directory,
            management,
            http,
            tls,
        };
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        authority.write_pair(&cert, &key, "127.0.0.1");
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{directory}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": cert,
            "privateKey": key,
            "httpPort": http,
            "tlsPort": tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "domainBlocklist": ["blocked.example"],
            "retryAfter": {"authz": 1, "order": 1},
        }});
        let file = folder.path().join("pebble.json");
        fs::write(&file, config.to_string()).expect("written");
        let mut command = Command::new("pebble-challtestsrv");
        command.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        command.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        command
            .arg("-management")
            .arg(format!("127.0.0.1:{answers}"));
        command.arg("-dns01").arg(format!("127.0.0.1:{names}"));
        let name_server = spawn(&mut command);
        let mut command = Command::new("pebble");
        command.arg("-config").arg(&file);
        command.arg("-dnsserver").arg(format!("127.0.0.1:{names}"));
        command.env("PEBBLE_VA_NOSLEEP", "1");
        command.env(
            "PEBBLE_WFE_NONCEREJECT",
            rejected_nonces_percent.to_string(),
        );
        let mut server = spawn(&mut command);
        let log = Output::new(server.stdout.take().expect("a pipe"));
        let pebble = Pebble {
            children: vec![name_server, server],
            authority,
            folder,
            ports,
            _log: log,
        };
        eventually("pebble listens", || {
            let addrs = [directory, management].map(|port| ("127.0.0.1", port));
            addrs.iter().all(|addr| TcpStream::connect(addr).is_ok())
        });
        Some(pebble)
    }

    /// Returns the ports.
    pub(crate) fn ports(&self) -> Ports {
        self.ports
    }

    /// Returns the section `[acme]`, without names.
    pub(crate) fn section(&self) -> String {
        format!(
            "[acme]\nagree-to-terms = true\ndirectory = \"https://127.0.0.1:{}/dir\"\nca = \
             \"{}\"\n",
            self.ports.directory,
            self.authority.file().display()
        )
    }

    /// Writes the certificate of the authority that issues certificates to a file.
    pub(crate) fn root(&self) -> PathBuf {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate()).expect("a root");
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let socket = TcpStream::connect(("127.0.0.1", self.ports.management)).expect("it listens");
        let mut stream = StreamOwned::new(client, socket);
        let request = "GET /roots/0 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        let (_, pem) = response.split_once("\r\n\r\n").expect("a head");
        let file = self.folder.path().join("root.pem");
        fs::write(&file, pem).expect("written");
        file
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(Stdio::piped());
    command.spawn().expect("it starts")
}

fn free_ports() -> [u16; 6] {
    let listeners = [(); 6].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}
