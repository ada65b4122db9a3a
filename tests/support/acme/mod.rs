//! A stand-in for the directory of a certificate authority (RFC 8555): it verifies signatures and
//! nonces, connects back for challenges, and issues certificates. It can also misbehave.

mod ca;
mod jws;
pub(crate) mod pebble;
mod response;
pub(crate) mod validate;

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};

pub(crate) use self::ca::{Authority, Lifetime};
use self::jws::{Key, Signed};
use self::response::Response;
use super::PATIENCE;

/// A running directory. Its thread ends with the test.
#[derive(Debug)]
pub(crate) struct Directory {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// How a directory deviates from a good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// It sends something else than JSON.
    Garbage,
    /// It sends JSON that is nested without end.
    Nested,
    /// It redirects to another host.
    Redirect,
    /// Its responses never end.
    Endless,
    /// It accepts requests and sends no response.
    Silent,
    /// It rejects each order, and wants a pause of an hour.
    RateLimit,
    /// It names a URL on another host.
    OtherHost,
    /// Its tokens are paths.
    PathToken,
    /// It wants authorizations for a name that was not asked for.
    OtherName,
    /// It issues a certificate for another key.
    OtherKey,
    /// It issues a certificate for another name.
    OtherCertificate,
    /// It issues a certificate that has expired.
    Expired,
}

#[derive(Debug)]
struct Shared {
    authority: Authority,
    base: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    /// The number of further nonces to reject.
    bad_nonces: usize,
    lifetime: Lifetime,
    /// Where the server listens: without and with TLS.
    targets: Option<[Option<SocketAddr>; 2]>,
    /// The kinds of challenges to offer; all if empty.
    kinds: Vec<&'static str>,
    /// The kinds of challenges that were answered.
    answered: Vec<&'static str>,
    counts: BTreeMap<&'static str, usize>,
    nonces: HashSet<String>,
    accounts: Vec<Key>,
    orders: Vec<Order>,
    authorizations: Vec<Authorization>,
}

#[derive(Debug)]
struct Order {
    names: Vec<String>,
    authorizations: Vec<usize>,
    certificate: Option<String>,
}

#[derive(Debug)]
struct Authorization {
    name: String,
    token: String,
    key: Key,
    /// Valid, or the error.
    result: Option<Result<(), String>>,
}

impl Directory {
    /// Starts a directory on a port that the system chooses.
    pub(crate) fn start() -> Directory {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            authority: Authority::new(),
            base: format!("https://{addr}"),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let config = shared.authority.server_config();
        thread::spawn({
            let shared = shared.clone();
            move || {
                for socket in listener.incoming().flatten() {
                    let (shared, config) = (shared.clone(), config.clone());
                    thread::spawn(move || {
                        let tls = ServerConnection::new(config).expect("a connection");
                        // A client that breaks the connection is no failure of the test.
                        let _ = shared.serve(StreamOwned::new(tls, socket));
                    });
                }
            }
        });
        Directory { addr, shared }
    }

    /// Returns the section `[acme]`, without names.
    pub(crate) fn section(&self) -> String {
        format!(
            "[acme]\nagree-to-terms = true\nemail = \"a@example.com\"\ndirectory = \
             \"https://{}/dir\"\nca = \"{}\"\n",
            self.addr,
            self.authority().file().display()
        )
    }

    /// Returns the authority that issues the certificates.
    pub(crate) fn authority(&self) -> &Authority {
        &self.shared.authority
    }

    /// Tells where the server listens, without and with TLS. Challenges wait for that.
    pub(crate) fn reach(&self, plain: Option<SocketAddr>, tls: Option<SocketAddr>) {
        self.shared.lock().targets = Some([plain, tls]);
        self.shared.changed.notify_all();
    }

    /// Misbehaves from now on.
    pub(crate) fn set_fault(&self, fault: Fault) {
        self.shared.lock().fault = fault;
    }

    /// Rejects this number of further nonces.
    pub(crate) fn reject_nonces(&self, count: usize) {
        self.shared.lock().bad_nonces = count;
    }

    /// Offers only these kinds of challenges from now on.
    pub(crate) fn offer(&self, kinds: &[&'static str]) {
        self.shared.lock().kinds = kinds.to_vec();
    }

    /// Returns the number of requests for a resource, such as `new-order`.
    pub(crate) fn count(&self, resource: &str) -> usize {
        let state = self.shared.lock();
        state.counts.get(resource).copied().unwrap_or_default()
    }

    /// Returns the kinds of challenges that were answered correctly.
    pub(crate) fn answered(&self) -> Vec<&'static str> {
        self.shared.lock().answered.clone()
    }

    /// Returns the token of the last authorization.
    pub(crate) fn last_token(&self) -> Option<String> {
        let state = self.shared.lock();
        state.authorizations.last().map(|it| it.token.clone())
    }

    /// Forgets all accounts.
    pub(crate) fn forget_accounts(&self) {
        self.shared.lock().accounts.clear();
    }
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: Stream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            let field = field.trim().to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut stream = reader.into_inner();
        let fault = self.lock().fault;
        match fault {
            Fault::Garbage => {
                self.count("directory");
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")?;
            }
            Fault::Nested => {
                self.count("directory");
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";
                stream.write_all(head.as_bytes())?;
                stream.write_all(&[b'['; 60_000])?;
            }
            Fault::Redirect => {
                self.count("directory");
                let head = "HTTP/1.1 302 Found\r\nLocation: https://localhost:1/\r\n";
                stream.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes())?;
            }
            Fault::Endless => {
                self.count("directory");
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[")?;
                loop {
                    stream.write_all(&[b' '; 4096])?;
                }
            }
            Fault::Silent => {
                self.count("directory");
                stream.flush()?;
                // Until the client gives up.
                let _ = stream.read(&mut [0; 1])?;
            }
            _ => {
                let response = self.respond(&method, &path, &body);
                self.send(&mut stream, &method, &response)?;
            }
        }
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn send(&self, stream: &mut Stream, method: &str, response: &Response) -> std::io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} X\r\nReplay-Nonce: {}\r\nContent-Type: {}\r\nContent-Length: \
             {}\r\nConnection: close\r\n",
            response.status,
            self.nonce(),
            response.content_type,
            response.body.len()
        );
        if let Some(location) = &response.location {
            head += &format!("Location: {location}\r\n");
        }
        if let Some(retry_after) = response.retry_after {
            head += &format!("Retry-After: {retry_after}\r\n");
        }
        let body = match method {
            "HEAD" => "",
            _ => &response.body,
        };
        stream.write_all(format!("{head}\r\n{body}").as_bytes())
    }

    fn nonce(&self) -> String {
        let mut bytes = [0; 16];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
            .expect("random numbers");
        let nonce = jws::encode(&bytes);
        self.lock().nonces.insert(nonce.clone());
        nonce
    }

    fn count(&self, resource: &'static str) {
        *self.lock().counts.entry(resource).or_default() += 1;
    }

    fn respond(&self, method: &str, path: &str, body: &[u8]) -> Response {
        let base = &self.base;
        match (method, path) {
            ("GET", "/dir") => {
                self.count("directory");
                let other = match self.lock().fault {
                    Fault::OtherHost => "https://localhost:1",
                    _ => base,
                };
                return Response::json(
                    200,
                    &json!({
                        "newNonce": format!("{base}/new-nonce"),
                        "newAccount": format!("{other}/new-account"),
                        "newOrder": format!("{base}/new-order"),
                        "revokeCert": format!("{base}/revoke"),
                        "keyChange": format!("{base}/key-change"),
                    }),
                );
            }
            ("HEAD", "/new-nonce") => {
                self.count("new-nonce");
                return Response::json(200, &json!({}));
            }
            ("POST", _) => {}
            _ => return Response::problem(405, "malformed", "another method"),
        }
        let key_of = |account: &str| {
            let number = account.strip_prefix(&format!("{base}/account/"))?;
            let number: usize = number.parse().ok()?;
            self.lock().accounts.get(number).cloned()
        };
        let signed = match jws::verify(body, key_of) {
            Ok(signed) => signed,
            Err("an unknown account") => {
                return Response::problem(400, "accountDoesNotExist", "an unknown account");
            }
            Err(why) => return Response::problem(400, "malformed", why),
        };
        if signed.url != format!("{base}{path}") {
            return Response::problem(401, "unauthorized", "another URL");
        }
        {
            let mut state = self.lock();
            let is_known = state.nonces.remove(&signed.nonce);
            if !is_known || state.bad_nonces > 0 {
                state.bad_nonces = state.bad_nonces.saturating_sub(1);
                drop(state);
                self.count("bad-nonce");
                return Response::problem(400, "badNonce", "another nonce, please");
            }
        }
        self.act(path, &signed)
    }

    fn act(&self, path: &str, signed: &Signed) -> Response {
        let mut parts = path.split('/').skip(1);
        let resource = parts.next().unwrap_or_default();
        let number = parts.next().and_then(|it| it.parse::<usize>().ok());
        if resource != "new-account" && signed.account.is_none() {
            return Response::problem(401, "unauthorized", "no account");
        }
        match (resource, number) {
            ("new-account", None) => self.new_account(signed),
            ("new-order", None) => self.new_order(signed),
            ("order", Some(number)) => {
                self.count("order");
                self.order(200, number)
            }
            ("authorization", Some(number)) => {
                self.count("authorization");
                self.authorization(number)
            }
            ("challenge", Some(number)) => self.challenge(number, parts.next().unwrap_or_default()),
            ("finalize", Some(number)) => self.finalize(number, &signed.payload),
            ("certificate", Some(number)) => {
                self.count("certificate");
                let state = self.lock();
                let order = state.orders.get(number);
                let chain = order.and_then(|order| order.certificate.clone());
                Response {
                    content_type: "application/pem-certificate-chain",
                    body: chain.unwrap_or_default(),
                    ..Response::json(200, &Value::Null)
                }
            }
            _ => Response::problem(404, "malformed", "no such resource"),
        }
    }

    fn new_account(&self, signed: &Signed) -> Response {
        self.count("new-account");
        if signed.payload["termsOfServiceAgreed"] != true
            || signed.payload["contact"] != json!(["mailto:a@example.com"])
        {
            return Response::problem(403, "userActionRequired", "the terms");
        }
        let number = {
            let mut state = self.lock();
            state.accounts.push(signed.key.clone());
            state.accounts.len() - 1
        };
        let location = format!("{}/account/{number}", self.base);
        Response::json(201, &json!({"status": "valid"})).at(location)
    }

    fn new_order(&self, signed: &Signed) -> Response {
        self.count("new-order");
        let fault = self.lock().fault;
        if fault == Fault::RateLimit {
            return Response {
                retry_after: Some("3600"),
                ..Response::problem(429, "rateLimited", "too many\nnew orders")
            };
        }
        let identifiers = signed.payload["identifiers"].as_array();
        let identifiers = identifiers.into_iter().flatten();
        let names: Vec<String> = identifiers
            .map(|it| it["value"].as_str().unwrap_or_default().to_owned())
            .collect();
        let number = {
            let mut state = self.lock();
            let mut authorizations = Vec::new();
            for name in &names {
                authorizations.push(state.authorizations.len());
                let count = state.authorizations.len();
                state.authorizations.push(Authorization {
                    name: match fault {
                        Fault::OtherName => "other.test".into(),
                        _ => name.clone(),
                    },
                    token: match fault {
                        Fault::PathToken => "../../../../../../../../tmp/wasgi-token".into(),
                        _ => format!("token-of-an-authorization_{count}"),
                    },
                    key: signed.key.clone(),
                    result: None,
                });
            }
            state.orders.push(Order {
                names,
                authorizations,
                certificate: None,
            });
            state.orders.len() - 1
        };
        self.order(201, number)
    }

    fn order(&self, status: u16, number: usize) -> Response {
        let (base, state) = (&self.base, self.lock());
        let Some(order) = state.orders.get(number) else {
            return Response::problem(404, "malformed", "no such order");
        };
        let results: Vec<_> = order
            .authorizations
            .iter()
            .map(|number| state.authorizations[*number].result.as_ref())
            .collect();
        let phase = match &order.certificate {
            Some(_) => "valid",
            None if results.iter().any(|it| matches!(it, Some(Err(_)))) => "invalid",
            None if results.iter().all(|it| matches!(it, Some(Ok(())))) => "ready",
            None => "pending",
        };
        let authorizations = order.authorizations.iter();
        let authorizations = authorizations.map(|it| format!("{base}/authorization/{it}"));
        let identifiers = order.names.iter();
        let identifiers = identifiers.map(|name| json!({"type": "dns", "value": name}));
        let mut body = json!({
            "status": phase,
            "identifiers": identifiers.collect::<Vec<_>>(),
            "authorizations": authorizations.collect::<Vec<_>>(),
            "finalize": format!("{base}/finalize/{number}"),
        });
        if phase == "valid" {
            body["certificate"] = format!("{base}/certificate/{number}").into();
        }
        Response::json(status, &body).at(format!("{base}/order/{number}"))
    }

    fn authorization(&self, number: usize) -> Response {
        let (base, state) = (&self.base, self.lock());
        let Some(one) = state.authorizations.get(number) else {
            return Response::problem(404, "malformed", "no such authorization");
        };
        let (status, error) = match &one.result {
            None => ("pending", Value::Null),
            Some(Ok(())) => ("valid", Value::Null),
            Some(Err(why)) => (
                "invalid",
                json!({"type": "urn:ietf:params:acme:error:unauthorized", "detail": why}),
            ),
        };
        let kinds = ["http-01", "tls-alpn-01", "dns-01"].into_iter();
        let kinds = kinds.filter(|kind| state.kinds.is_empty() || state.kinds.contains(kind));
        let challenges = kinds.map(|kind| {
            let mut challenge = json!({
                "type": kind,
                "url": format!("{base}/challenge/{number}/{kind}"),
                "token": one.token,
                "status": status,
            });
            if !error.is_null() {
                challenge["error"] = error.clone();
            }
            challenge
        });
        let body = json!({
            "status": status,
            "identifier": {"type": "dns", "value": one.name},
            "challenges": challenges.collect::<Vec<_>>(),
        });
        Response::json(200, &body)
    }

    fn challenge(&self, number: usize, kind: &str) -> Response {
        self.count("challenge");
        let (name, token, key) = {
            let state = self.lock();
            let one = &state.authorizations[number];
            (one.name.clone(), one.token.clone(), one.key.clone())
        };
        let expected = format!("{token}.{}", key.thumbprint());
        let [plain, tls] = self.targets();
        let (kind, result) = match (kind, plain, tls) {
            ("http-01", Some(addr), _) => {
                let result = validate::http(addr, &name, &token, &expected);
                ("http-01", result)
            }
            ("tls-alpn-01", _, Some(addr)) => {
                ("tls-alpn-01", validate::tls(addr, &name, &expected))
            }
            _ => ("", Err("the server can't be reached".to_owned())),
        };
        let mut state = self.lock();
        if result.is_ok() {
            state.answered.push(kind);
        }
        state.authorizations[number].result = Some(result);
        let body = json!({
            "type": kind,
            "url": format!("{}/challenge/{number}/{kind}", self.base),
            "token": token,
            "status": "processing",
        });
        Response::json(200, &body)
    }

    /// Waits until it is known where the server listens.
    fn targets(&self) -> [Option<SocketAddr>; 2] {
        let state = self.lock();
        let waited = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.targets.is_none());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.targets.unwrap_or_default()
    }

    fn finalize(&self, number: usize, payload: &Value) -> Response {
        self.count("finalize");
        let csr = jws::decode(payload["csr"].as_str().unwrap_or_default());
        let (names, fault, lifetime) = {
            let state = self.lock();
            let order = &state.orders[number];
            (order.names.clone(), state.fault, state.lifetime)
        };
        let issued = match fault {
            Fault::OtherKey => Ok(self.authority.issue_for_other_key(&names)),
            Fault::OtherCertificate => self.authority.issue(&csr, &["other.test".into()], lifetime),
            Fault::Expired => self.authority.issue(&csr, &names, Lifetime::Expired),
            _ => self.authority.issue(&csr, &names, lifetime),
        };
        match issued {
            Ok(chain) => {
                self.lock().orders[number].certificate = Some(chain);
                self.order(200, number)
            }
            Err(why) => Response::problem(400, "badCSR", why),
        }
    }
}

/// Returns the file of a certificate, by its first name.
pub(crate) fn certificate_file(site: &Path, name: &str) -> PathBuf {
    site.join("acme/certificates").join(format!("{name}.pem"))
}
