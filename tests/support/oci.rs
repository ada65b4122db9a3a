//! Registries of OCI artifacts: Debian's `docker-registry`, and one whose answers a test decides.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::command::wasgi;
use super::process::{Ended, Process};
use super::{LOOK, PATIENCE};

/// The media types of what is served.
pub(crate) const HANDLER: &str = "application/wasm";
pub(crate) const BUNDLE: &str = "application/vnd.wasgi.bundle.v1";
pub(crate) const SIGNATURE: &str = "application/vnd.wasgi.bundle.signature.v1";

/// The media types of manifests.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The user of a registry with a password, the password, and its entry in an htpasswd file.
pub(crate) const USER: &str = "grace";
pub(crate) const PASSWORD: &str = "secret";
const HTPASSWD: &str = "grace:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// Returns the digest of bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    let digits = digest(&SHA256, bytes);
    let digits = digits.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", digits.collect::<String>())
}

/// A manifest and its blobs.
#[derive(Clone, Debug)]
pub(crate) struct Artifact {
    pub(crate) manifest: Vec<u8>,
    pub(crate) blobs: Vec<Vec<u8>>,
}

impl Artifact {
    /// Returns an artifact with these layers, each a media type and its content.
    pub(crate) fn new(layers: &[(&str, &[u8])]) -> Self {
        let config = b"{}".to_vec();
        let described: Vec<Value> = layers.iter().map(|(of, it)| describe(of, it)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": describe("application/vnd.wasm.config.v0+json", &config),
            "layers": described,
        });
        let layers = layers.iter().map(|(_, content)| content.to_vec());
        Self {
            manifest: manifest.to_string().into_bytes(),
            blobs: [config].into_iter().chain(layers).collect(),
        }
    }

    /// Returns a handler.
    pub(crate) fn handler(content: &[u8]) -> Self {
        Self::new(&[(HANDLER, content)])
    }

    /// Returns the digest of the manifest.
    pub(crate) fn digest(&self) -> String {
        digest_of(&self.manifest)
    }

    /// Returns the reference to it in a registry.
    pub(crate) fn reference(&self, addr: SocketAddr, name: &str) -> String {
        format!("oci://{addr}/{name}@{}", self.digest())
    }
}

/// Returns the descriptor of content.
pub(crate) fn describe(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest_of(content), "size": content.len()})
}

/// A running `docker-registry`. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct DockerRegistry {
    _process: Process,
    addr: SocketAddr,
    authorization: &'static str,
    _folder: TempDir,
}

impl DockerRegistry {
    /// Starts a registry that asks for no password. Returns `None`, and prints how to install it,
    /// if there is none.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// Starts a registry that asks for a password.
    pub(crate) fn with_password() -> Option<Self> {
        Self::start_with(HTPASSWD)
    }

    fn start_with(htpasswd: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let auth = match htpasswd {
            "" => Value::Null,
            _ => json!({"htpasswd": {"realm": "a test", "path": at("htpasswd")}}),
        };
        fs::write(at("htpasswd"), htpasswd).expect("written");
        // JSON is YAML.
        let config = json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": at("data")}},
            "http": {"addr": "127.0.0.1:0"},
            "auth": auth,
        });
        fs::write(at("config.yml"), config.to_string()).expect("written");
        let mut command = Command::new("docker-registry");
        if command
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            eprintln!("SKIPPED: there is no docker-registry (apt-get install docker-registry)");
            return None;
        }
        let mut command = Command::new("docker-registry");
        let process = Process::start(command.args(["serve", &at("config.yml")]));
        let log = process.stderr.as_ref().expect("it is running");
        let line = log.find(|line| line.contains("listening on 127.0.0.1:"));
        let line = line.expect("it listens");
        let (_, rest) = line.split_once("listening on ").expect("it is there");
        let addr = rest.split('"').next().and_then(|addr| addr.parse().ok());
        Some(Self {
            _process: process,
            addr: addr.expect("an address"),
            authorization: match htpasswd {
                "" => "",
                // grace:secret
                _ => "Authorization: Basic Z3JhY2U6c2VjcmV0\r\n",
            },
            _folder: folder,
        })
    }

    /// Returns its address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stores an artifact under a name and a tag.
    #[track_caller]
    pub(crate) fn push(&self, name: &str, tag: &str, artifact: &Artifact) {
        for blob in &artifact.blobs {
            let begun = self.send("POST", &format!("/v2/{name}/blobs/uploads/"), "", b"");
            assert_eq!(begun.0, 202, "{begun:?}");
            let location = begun.1.expect("a place for the blob");
            let (_, path) = location.split_once("/v2/").expect("a path of the registry");
            let separator = if path.contains('?') { '&' } else { '?' };
            let target = format!("/v2/{path}{separator}digest={}", digest_of(blob));
            let kind = "application/octet-stream";
            assert_eq!(self.send("PUT", &target, kind, blob).0, 201);
        }
        self.push_manifest(name, tag, MANIFEST, &artifact.manifest);
    }

    /// Stores a manifest under a tag or its digest.
    #[track_caller]
    pub(crate) fn push_manifest(&self, name: &str, tag: &str, media_type: &str, bytes: &[u8]) {
        let target = format!("/v2/{name}/manifests/{tag}");
        assert_eq!(self.send("PUT", &target, media_type, bytes).0, 201);
    }

    /// Sends a request. Returns the status and the location.
    fn send(&self, method: &str, target: &str, kind: &str, body: &[u8]) -> (u16, Option<String>) {
        let mut client = Client::connect(self.addr);
        let (addr, authorization, length) = (self.addr, self.authorization, body.len());
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {addr}\r\n{authorization}Content-Type: {kind}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        client.send(head);
        client.send(body);
        let response = client.response_to(method);
        let location = response.head.field("Location").map(str::to_owned);
        (response.head.status, location)
    }
}

/// A request that a stand-in got.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) target: String,
    /// The value of the field Authorization.
    pub(crate) authorization: Option<String>,
}

/// Answers a request by writing to the connection, which is closed afterwards.
type Answer = dyn Fn(&Asked, &mut TcpStream) + Send + Sync;

/// A registry whose answers a test decides. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct StandIn {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl StandIn {
    /// Answers each request by `answer`, at 127.0.0.1.
    pub(crate) fn start(answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1", answer)
    }

    /// Answers each request by `answer`, at this address.
    pub(crate) fn start_at(
        host: &str,
        answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (all, answer): (_, Arc<Answer>) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &all, &*answer));
            }
        });
        Self { addr, asked }
    }

    /// Answers with an artifact, under any name and tag.
    pub(crate) fn for_artifact(artifact: &Artifact) -> Self {
        let artifact = artifact.clone();
        Self::start(move |asked, stream| serve_artifact(&artifact, asked, stream))
    }

    /// Answers with an artifact whose blobs don't arrive: a byte at a time, or only the head.
    pub(crate) fn slow(artifact: &Artifact, sends_bytes: bool) -> Self {
        let artifact = artifact.clone();
        Self::start(move |asked, stream| {
            let is_it = |blob: &&Vec<u8>| asked.target.ends_with(&digest_of(blob));
            let Some(blob) = artifact.blobs.iter().find(is_it) else {
                return serve_artifact(&artifact, asked, stream);
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", blob.len());
            // Fails if the client has had enough.
            let _ = stream.write_all(head.as_bytes());
            match sends_bytes {
                true => {
                    while stream.write_all(b".").is_ok() {
                        thread::sleep(LOOK);
                    }
                }
                false => {
                    let _ = stream.read(&mut [0; 1]);
                }
            }
        })
    }

    /// Returns its address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, all: &Mutex<Vec<Asked>>, answer: &Answer) {
    // Fails if the test has ended.
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let Ok(reading) = stream.try_clone() else {
        return;
    };
    let mut lines = BufReader::new(reading).lines().map_while(Result::ok);
    let Some(line) = lines.next() else { return };
    let mut asked = Asked {
        target: line.split(' ').nth(1).unwrap_or_default().to_owned(),
        authorization: None,
    };
    for field in lines.take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = field.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            asked.authorization = Some(value.trim().to_owned());
        }
    }
    all.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(asked.clone());
    answer(&asked, &mut stream);
}

/// Answers with a part of an artifact, or with 404.
pub(crate) fn serve_artifact(artifact: &Artifact, asked: &Asked, stream: &mut TcpStream) {
    if asked.target.contains("/manifests/") {
        return respond(stream, "200 OK", "", &artifact.manifest);
    }
    let is_it = |blob: &&Vec<u8>| asked.target.ends_with(&digest_of(blob));
    match artifact.blobs.iter().find(is_it) {
        Some(blob) => respond(stream, "200 OK", "", blob),
        None => respond(stream, "404 Not Found", "", b""),
    }
}

/// Writes a response with these fields, each with its line end.
pub(crate) fn respond(stream: &mut TcpStream, status: &str, fields: &str, body: &[u8]) {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{fields}\r\n"
    );
    // Fails if the client has had enough.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

/// A user of `wasgi pull`, with a home of its own. Dropping it deletes the folder.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    /// Creates a user without any file.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("wasgi-home-").tempdir();
        Self {
            folder: folder.expect("a folder"),
        }
    }

    /// Returns a path in the home.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the folder of pulled artifacts.
    pub(crate) fn store(&self) -> PathBuf {
        self.at("cache/wasgi/oci")
    }

    /// Returns the names in the folder of pulled artifacts.
    pub(crate) fn stored(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store()).into_iter().flatten();
        let names = entries.map(|entry| entry.expect("read").file_name());
        names.map(|name| name.to_string_lossy().into()).collect()
    }

    /// Writes docker's file with a password.
    pub(crate) fn log_in(&self, registry: &str, user: &str, password: &str) {
        // Only for letters.
        let auth = super::signer::base64(format!("{user}:{password}").as_bytes());
        let config = json!({"auths": {registry: {"auth": auth}}});
        fs::create_dir_all(self.at(".docker")).expect("a folder");
        fs::write(self.at(".docker/config.json"), config.to_string()).expect("written");
    }

    /// Returns a command of this user, in the home.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = wasgi(arguments);
        command
            .env("HOME", self.folder.path())
            .env("XDG_CACHE_HOME", self.at("cache"))
            .env_remove("DOCKER_CONFIG")
            .current_dir(self.folder.path());
        command
    }

    /// Runs a command of this user until it exits.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Process::start(&mut self.command(arguments)).wait()
    }
}
