//! HTTPS from Python: the standard library and packages, in scripts and in a component.

use std::fs;

use super::{configure, granting};
use crate::support::command::{code_cache, wasgi};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::scripts::Language::Python;
use crate::support::scripts::{compile, component, has_packages, percent_encoded, until};
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::Certificate;
use crate::support::upstream::{LARGE_BYTES, Upstream};

/// An application that evaluates the expression in its query.
const SOURCE: &str = include_str!("../../python/granted.py");

/// The settings of the tests: what the slowest machine needs for a test with many requests.
const BUDGET: &str = "[budget]\ncpu-time = \"60s\"\nwall-time = \"100s\"\n";

/// A server and an upstream whose certificate it trusts.
struct Setup {
    site: Site,
    server: Server,
    upstream: Upstream,
}

impl Setup {
    /// Serves a site that has its handlers already.
    fn new(site: Site) -> Self {
        let certificate = Certificate::make(site.path());
        let upstream = Upstream::with_tls(&certificate);
        let server = start(&site, certificate.cert.to_str());
        Self {
            site,
            server,
            upstream,
        }
    }

    /// Serves the application as a script, and another time as a component.
    fn each() -> Vec<(&'static str, Self)> {
        let mut setups = Vec::new();
        if let Some(site) = Python.site(&[("granted.py", SOURCE)], BUDGET) {
            setups.push(("granted", Self::new(site)));
        }
        let component = component("python-granted");
        if component.is_file() {
            let site = Site::new();
            fs::write(site.path().join("wasgi.toml"), BUDGET).expect("written");
            site.install("python-granted.wasm", &component);
            compile(&site);
            setups.push(("python-granted", Self::new(site)));
        } else {
            eprintln!("SKIPPED: python-granted is not built; `cargo xtask python` does it");
        }
        setups
    }

    /// Grants the upstream by its name and its address.
    fn grant(&self) {
        let port = self.upstream.port();
        let hosts = ["localhost", "127.0.0.1"].map(|host| format!("https://{host}:{port}"));
        configure(&self.site, &format!("{BUDGET}{}", granting(&hosts)));
    }

    /// Replaces `URL` and `HOST` in an expression by those of the upstream.
    fn expression(&self, text: &str) -> String {
        let host = format!("localhost:{}", self.upstream.port());
        let text = text.replace("URL", &format!("https://{host}"));
        text.replace("HOST", &host)
    }

    fn path(&self, handler: &str, expression: &str) -> String {
        let query = percent_encoded(&self.expression(expression));
        format!("/{handler}?{query}")
    }

    #[track_caller]
    fn ask(&self, handler: &str, expression: &str) -> String {
        let response = self.server.get(&self.path(handler, expression));
        let text = response.text();
        assert_eq!(response.status(), 200, "{handler}: {expression}: {text}");
        text.to_owned()
    }

    /// Waits until the grant applies.
    #[track_caller]
    fn until_granted(&self, handler: &str) {
        until(
            &self.server,
            &self.path(handler, "get('URL/hello')"),
            "hello",
        );
    }
}

fn start(site: &Site, trusted: Option<&str>) -> Server {
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
    command.arg(code_cache()).arg(site.path());
    if let Some(trusted) = trusted {
        command.env("SSL_CERT_FILE", trusted);
    }
    Server::started(Process::start(&mut command))
}

#[test]
fn https_is_available_only_by_grant_and_a_change_applies_to_the_next_request() {
    for (handler, setup) in Setup::each() {
        let told = setup.ask(handler, "get('URL/hello')");
        let denied = "urllib.error.URLError: <urlopen error ";
        assert!(told.starts_with(denied), "{handler}: {told}");
        assert!(
            told.contains("not granted to this handler"),
            "{handler}: {told}"
        );
        let port = setup.upstream.port();
        setup.server.error_log().expect(&[&format!(
            "WARN {handler}: asked for https://localhost:{port}, which is not granted; to grant it, \
             add to wasgi.toml: [handlers.{handler}] allowed-outbound-hosts = \
             [\"https://localhost:{port}\"]"
        )]);
        assert_eq!(setup.upstream.connections(), 0, "{handler}");
        setup.grant();
        setup.until_granted(handler);
        configure(&setup.site, BUDGET);
        let path = setup.path(handler, "get('URL/hello')");
        eventually("the grant is taken back", || {
            setup.server.get(&path).text().contains("not granted")
        });
    }
}

#[test]
fn the_standard_library_sends_https_requests() {
    let large = format!("{LARGE_BYTES}");
    for (handler, setup) in Setup::each() {
        setup.grant();
        setup.until_granted(handler);
        for (expression, result) in [
            ("head('URL/hello')", "(200, '5', b'')"),
            ("status('URL/status?204')", "(204, b'')"),
            ("status('URL/status?304')", "(304, b'')"),
            ("get('URL/chunks')", "blockblockblock"),
            ("get('URL/host')", "HOST"),
            ("len(get('URL/large'))", &large),
            ("post('URL/length', b'x' * 5_000_000)", "5000000"),
            ("post('URL/length', blocks(1000, 1000))", "1000000"),
            ("post('URL/echo', b'text')", "text"),
            ("twice('HOST')", "[b'hello', b'hello']"),
            ("by_bytes('URL/large', 100_000)", "100000"),
            ("unverified('URL/hello')", "hello"),
            (
                "raw('HOST', b'GET /hello HTTP/1.1\\r\\nHost: HOST\\r\\n\\r\\n')",
                "(b'HTTP/1.1 200 OK', b'hello')",
            ),
        ] {
            let result = setup.expression(result);
            assert_eq!(
                setup.ask(handler, expression),
                result,
                "{handler}: {expression}"
            );
        }
    }
}

#[test]
fn what_fails_is_the_standard_librarys_exception() {
    for (handler, setup) in Setup::each() {
        setup.grant();
        setup.until_granted(handler);
        let other = Upstream::start();
        let away = format!("get('URL/redirect?https://{}/')", other.addr());
        let port = setup.upstream.port();
        let wrong_host = format!("get('https://127.0.0.1:{port}/hello')");
        for (expression, parts) in [
            (&*away, &["URLError", "not granted to this handler"][..]),
            (&*wrong_host, &["URLError", "certificate verify failed"]),
            (
                "get('URL/stall', timeout=0.3)",
                &["TimeoutError: the read operation timed out"],
            ),
            (
                "len(get('URL/drip', timeout=0.3))",
                &["TimeoutError: the read operation timed out"],
            ),
            (
                "get('URL/early')",
                &["ConnectionResetError", "before the response was complete"],
            ),
            (
                "get('URL/nothing')",
                &["ConnectionResetError", "before the response was complete"],
            ),
            ("get('URL/garbage')", &["the response is not HTTP"]),
            (
                "get('URL/long-head')",
                &["the head of the response is too large"],
            ),
            (
                "client_certificate()",
                &["ssl.SSLError", "a proxy that has it"],
            ),
            ("own_authority()", &["ssl.SSLError", "SSL_CERT_FILE"]),
            ("proxied('HOST')", &["OSError", "unset the proxy"]),
            ("mail('HOST')", &["a proxy beside the server that encrypts"]),
            (
                "raw('HOST', b'\\0\\0\\0\\x08\\x04\\xd2\\x16\\x2f')",
                &["ssl.SSLError", "only HTTPS"],
            ),
            (
                "raw('HOST', b'GET / HTTP/1.1\\r\\nHost: HOST\\r\\nA: b\\r\\n c\\r\\n\\r\\n')",
                &["ssl.SSLError", "invalid field"],
            ),
            (
                "raw('HOST', b'GET / HTTP/1.1\\r\\nHost: other\\r\\n\\r\\n')",
                &[
                    "ssl.SSLError",
                    "the Host field must be that of the connection",
                ],
            ),
            (
                "raw('HOST', b'POST / HTTP/1.1\\r\\nContent-Length: 1\\r\\n\
                 Transfer-Encoding: chunked\\r\\n\\r\\n')",
                &["ssl.SSLError", "the request's length"],
            ),
            (
                "raw('HOST', b'CONNECT a:1 HTTP/1.1\\r\\nHost: HOST\\r\\n\\r\\n')",
                &["ssl.SSLError", "proxy"],
            ),
        ] {
            let told = setup.ask(handler, expression);
            for part in parts {
                assert!(told.contains(part), "{handler}: {expression}: {told}");
            }
        }
        assert_eq!(other.connections(), 0);
        setup.upstream.wait_for_open(0);
    }
}

#[test]
fn an_untrusted_certificate_is_an_error_that_says_where_authorities_are() {
    let Some(site) = Python.site(&[("granted.py", SOURCE)], BUDGET) else {
        return;
    };
    let certificate = Certificate::make(site.path());
    let upstream = Upstream::with_tls(&certificate);
    let host = format!("https://localhost:{}", upstream.port());
    configure(&site, &granting(std::slice::from_ref(&host)));
    let server = start(&site, None);
    for how in ["get", "unverified"] {
        let query = percent_encoded(&format!("{how}('{host}/hello')"));
        let told = server.get(&format!("/granted?{query}")).text().to_owned();
        assert!(told.contains("certificate verify failed"), "{told}");
        assert!(told.contains("SSL_CERT_FILE"), "{told}");
    }
}

#[test]
fn responses_that_are_dropped_leave_nothing_behind() {
    for (handler, setup) in Setup::each() {
        // Fewer than are dropped in reference cycles until Python collects those by itself.
        let host = format!("https://localhost:{}", setup.upstream.port());
        let budget = format!("{BUDGET}outbound-connections = 10\n");
        let settings = granting(std::slice::from_ref(&host));
        configure(&setup.site, &format!("{budget}{settings}"));
        setup.until_granted(handler);
        assert_eq!(setup.ask(handler, "dropped('URL/large', 300)"), "dropped");
        setup.upstream.wait_for_open(0);
        assert_eq!(setup.ask(handler, "get('URL/hello')"), "hello");
    }
}

/// An application that evaluates an expression with packages for HTTP.
const PACKAGES: &str = "import urllib.parse
import httpx, requests, urllib3
pool = urllib3.PoolManager()
def app(environ, start_response):
    try:
        result = eval(urllib.parse.unquote(environ['QUERY_STRING']))
    except Exception as error:
        result = f'{type(error).__module__}.{type(error).__qualname__}: {error}'
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(result).encode()]
";

#[test]
fn requests_urllib3_and_httpx_send_https_requests_unchanged() {
    if !Python.has_runtime() {
        return;
    }
    let site = Site::new();
    fs::create_dir(site.handlers().join("net")).expect("a folder");
    fs::write(site.handlers().join("net/app.py"), PACKAGES).expect("written");
    if !has_packages(&site, "net", "requests\nurllib3>=2\nhttpx\n") {
        eprintln!(
            "SKIPPED: requests can't be installed; `wasgi deps` needs pip or uv, and an index"
        );
        return;
    }
    fs::write(site.path().join("wasgi.toml"), BUDGET).expect("written");
    let setup = Setup::new(site);
    let denied = setup.path("net", "requests.get('URL/hello').text");
    eventually("it is loaded", || setup.server.get(&denied).status() == 200);
    let told = setup.server.get(&denied).text().to_owned();
    assert!(
        told.starts_with("requests.exceptions.ConnectionError: "),
        "{told}"
    );
    assert!(told.contains("not granted to this handler"), "{told}");
    setup.grant();
    until(&setup.server, &denied, "hello");
    let large = format!("{LARGE_BYTES}");
    let other = Upstream::start();
    let away = format!("URL/redirect?https://{}/", other.addr());
    let port = setup.upstream.port();
    let wrong_host = format!("https://127.0.0.1:{port}/hello");
    let away_by_requests = format!("requests.get('{away}')");
    let away_by_httpx = format!("httpx.get('{away}', follow_redirects=True)");
    let wrong_by_requests = format!("requests.get('{wrong_host}')");
    let wrong_by_httpx = format!("httpx.get('{wrong_host}')");
    for (expression, result) in [
        ("httpx.get('URL/hello').text", "hello"),
        ("pool.request('GET', 'URL/hello').data", "b'hello'"),
        ("requests.get('URL/gzip').text", "zipped"),
        ("httpx.get('URL/gzip').text", "zipped"),
        ("requests.get('URL/chunks').text", "blockblockblock"),
        ("httpx.get('URL/chunks').text", "blockblockblock"),
        ("len(requests.get('URL/large').content)", &large),
        ("len(httpx.get('URL/large').content)", &large),
        (
            "requests.post('URL/length', data=b'x' * 5_000_000).text",
            "5000000",
        ),
        (
            "httpx.post('URL/length', content=b'x' * 5_000_000).text",
            "5000000",
        ),
        (
            "requests.post('URL/length', data=(b'x' * 999 for _ in range(999))).text",
            "998001",
        ),
        (
            "httpx.post('URL/length', content=(b'x' * 999 for _ in range(999))).text",
            "998001",
        ),
        (
            "requests.post('URL/echo', json={'a': 1}).json()",
            "{'a': 1}",
        ),
        ("httpx.post('URL/echo', json={'a': 1}).json()", "{'a': 1}"),
        ("requests.head('URL/hello').headers['content-length']", "5"),
        (
            "[requests.get(f'URL/status?{n}').status_code for n in (204, 304)]",
            "[204, 304]",
        ),
        (
            "[httpx.get(f'URL/status?{n}').status_code for n in (204, 304)]",
            "[204, 304]",
        ),
        ("requests.get('URL/redirect?/hello').text", "hello"),
        (
            "[s.get('URL/hello').text for s in [requests.Session()] * 3][2]",
            "hello",
        ),
        (
            "[c.get('URL/hello').text for c in [httpx.Client()] * 3][2]",
            "hello",
        ),
        ("requests.get('URL/hello', verify=False).text", "hello"),
    ] {
        assert_eq!(setup.ask("net", expression), result, "{expression}");
    }
    for (expression, parts) in [
        (
            &*away_by_requests,
            &["requests.exceptions.ConnectionError", "not granted"][..],
        ),
        (&away_by_httpx, &["httpx.ConnectError", "not granted"]),
        (
            &wrong_by_requests,
            &["requests.exceptions.SSLError", "certificate verify failed"],
        ),
        (
            &wrong_by_httpx,
            &["httpx.ConnectError", "certificate verify failed"],
        ),
        (
            "requests.get('URL/stall', timeout=0.3)",
            &["requests.exceptions.ReadTimeout"],
        ),
        (
            "httpx.get('URL/stall', timeout=0.3)",
            &["httpx.ReadTimeout"],
        ),
        (
            "requests.get('URL/early')",
            &["requests.exceptions.ChunkedEncodingError"],
        ),
        ("httpx.get('URL/early')", &["httpx.ReadError"]),
        (
            "requests.get('URL/nothing')",
            &["requests.exceptions.ConnectionError"],
        ),
        ("httpx.get('URL/nothing')", &["httpx.ReadError"]),
        (
            "requests.get('URL/', headers={'A': 'b\\r\\nC: d'})",
            &["InvalidHeader"],
        ),
        (
            "httpx.get('URL/', headers={'A': 'b\\r\\nC: d'})",
            &["httpx.LocalProtocolError"],
        ),
        (
            "httpx.get('URL/', headers={'Upgrade': 'x'})",
            &["there are no WebSockets"],
        ),
        (
            "requests.get('URL/', headers={'Host': 'other'})",
            &["SSLError", "the Host field"],
        ),
        (
            "requests.get('URL/', verify=__file__)",
            &["SSLError", "SSL_CERT_FILE"],
        ),
        (
            "requests.get('URL/', cert=__file__)",
            &["a client certificate"],
        ),
        (
            "requests.get('URL/', proxies={'https': 'http://127.0.0.1:3128'})",
            &["requests.exceptions.ProxyError", "unset the proxy"],
        ),
    ] {
        let told = setup.ask("net", expression);
        for part in parts {
            assert!(told.contains(part), "{expression}: {told}");
        }
    }
    assert_eq!(other.connections(), 0);
    setup.upstream.wait_for_open(0);
}
