//! The endpoints of the admin listener, and which requests are accepted.

use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use super::inspection::{Inspect, Phase, metrics, status};
use crate::loopback;
use crate::metrics::{Format, encode};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The endpoints, for a request to another path.
const ENDPOINTS: &str = "/healthz, /readyz, /status, /metrics";

/// The kind of socket that a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Through a loopback address, which a browser on this machine can connect to.
    Tcp,
    /// Through a Unix socket, which a browser can't.
    Unix,
}

/// A response's body, in one piece.
pub(super) type Text = Full<Bytes>;

/// Returns the response to a request. May block for some seconds.
pub(super) fn respond(
    head: &Parts,
    transport: Transport,
    source: &dyn Inspect,
    started: Instant,
) -> Response<Text> {
    if transport == Transport::Tcp && !names_this_machine(head) {
        let why = "this listener answers to the names of this machine only, such as localhost";
        return text(StatusCode::MISDIRECTED_REQUEST, why);
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match head.uri.path() {
        "/healthz" => text(StatusCode::OK, "ok"),
        "/readyz" => readiness(source.phase()),
        "/status" => {
            let status = format!("{:#}\n", status(source, started));
            response(StatusCode::OK, JSON, status)
        }
        "/metrics" => {
            let accept = head.headers.get(ACCEPT).and_then(|one| one.to_str().ok());
            let format = Format::for_accept(accept.unwrap_or_default());
            match encode(metrics(source), format) {
                Ok(body) => response(StatusCode::OK, format.content_type(), body),
                Err(_) => failed(),
            }
        }
        _ => text(
            StatusCode::NOT_FOUND,
            &format!("not found; there are {ENDPOINTS}"),
        ),
    }
}

/// Returns the response for a request that could not be answered.
pub(super) fn failed() -> Response<Text> {
    text(StatusCode::INTERNAL_SERVER_ERROR, "could not collect it")
}

fn readiness(phase: Phase) -> Response<Text> {
    match phase {
        Phase::Ready => text(StatusCode::OK, phase.as_str()),
        Phase::Starting | Phase::Draining => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, phase.as_str());
            let second = HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, second);
            response
        }
    }
}

/// Reports whether a request was sent to a name that only this machine has.
fn names_this_machine(head: &Parts) -> bool {
    let mut fields = head.headers.get_all(HOST).iter();
    let is_local = match (fields.next(), fields.next()) {
        (Some(field), None) => loopback::is_authority(field.as_bytes()),
        _ => false,
    };
    let target = head.uri.authority();
    is_local && target.is_none_or(|target| loopback::is_authority(target.as_str().as_bytes()))
}

/// Returns a response of one line.
fn text(status: StatusCode, line: &str) -> Response<Text> {
    response(status, TEXT, format!("{line}\n"))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Text> {
    let mut response = Response::new(Text::from(body));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("content-security-policy", "default-src 'none'"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::super::inspection::Inspection;
    use super::*;

    struct Source(Phase);

    impl Inspect for Source {
        fn phase(&self) -> Phase {
            self.0
        }

        fn inspect(&self) -> Vec<Inspection> {
            Vec::new()
        }
    }

    fn ask(method: &str, target: &str, hosts: &[&str], transport: Transport, phase: Phase) -> u16 {
        let mut request = Request::builder().method(method).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let response = respond(&head, transport, &Source(phase), Instant::now());
        response.status().as_u16()
    }

    fn status_for(target: &str, hosts: &[&str]) -> u16 {
        ask("GET", target, hosts, Transport::Tcp, Phase::Ready)
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:9000",
            "127.0.0.1",
            "127.0.0.1:9000",
            "127.9.9.9",
            "[::1]:9000",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(status_for("/healthz", &[host]), 200, "{host}");
        }
        for host in [
            "attacker.test",
            "localhost.attacker.test",
            "127.0.0.1.attacker.test",
            "localhost:9000@attacker.test",
            "attacker.test@localhost",
            "192.0.2.1",
            "[::]",
            "0.0.0.0:9000",
            "",
            "\u{a0}localhost",
        ] {
            assert_eq!(status_for("/healthz", &[host]), 421, "{host}");
        }
        assert_eq!(status_for("/healthz", &[]), 421);
        assert_eq!(status_for("/healthz", &["localhost", "localhost"]), 421);
        let target = "http://attacker.test/healthz";
        assert_eq!(status_for(target, &["localhost"]), 421);
        assert_eq!(status_for("http://localhost/healthz", &["localhost"]), 200);
        let unix = ask("GET", "/healthz", &["any"], Transport::Unix, Phase::Ready);
        assert_eq!(unix, 200);
    }

    #[test]
    fn it_is_only_read() {
        for method in [
            "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
        ] {
            let target = if method == "CONNECT" {
                "localhost:1"
            } else {
                "/status"
            };
            let status = ask(method, target, &["localhost"], Transport::Tcp, Phase::Ready);
            assert_eq!(status, 405, "{method}");
        }
        assert_eq!(
            ask(
                "HEAD",
                "/status",
                &["localhost"],
                Transport::Tcp,
                Phase::Ready
            ),
            200
        );
        for path in ["/", "/status/", "//status", "/Status", "/healthz/../status"] {
            assert_eq!(status_for(path, &["localhost"]), 404, "{path}");
        }
        assert_eq!(status_for("/status?a=b", &["localhost"]), 200);
    }

    #[test]
    fn a_server_is_ready_between_its_start_and_its_end() {
        for (phase, expected) in [
            (Phase::Starting, 503),
            (Phase::Ready, 200),
            (Phase::Draining, 503),
        ] {
            let status = |path| ask("GET", path, &["localhost"], Transport::Tcp, phase);
            assert_eq!(status("/readyz"), expected);
            assert_eq!(status("/healthz"), 200);
        }
    }
}
