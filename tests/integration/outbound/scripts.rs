//! Scripts that connect to other hosts.

use super::{configure, granting};
use crate::support::scripts::Language::{JavaScript, Python};
use crate::support::scripts::until;
use crate::support::upstream::Upstream;

/// A script that attempts what its query asks for, and shows the result or the error.
const JAVASCRIPT: &str = "const attempts = {
  get: async (to) => { const r = await fetch(to); return `${r.status} ${r.url} ${await r.text()}`; },
  post: async (to) => (await fetch(to, { method: 'POST', body: 'text' })).text(),
  three: async (to) => {
    const all = await Promise.all([1, 2, 3].map(() => fetch(to)));
    return (await Promise.all(all.map((one) => one.text()))).join(', ');
  },
  abort: async (to) => (await fetch(to, { signal: AbortSignal.timeout(50) })).text(),
  manual: async (to) => (await fetch(to, { redirect: 'manual' })).status,
  follow: async (to) => { const r = await fetch(to); return `${r.redirected} ${await r.text()}`; },
  field: async (to) => (await fetch(to, { headers: { Host: 'forged' } })).text(),
  stream: async (to) => (await fetch(to)).body,
};
export default {
  async fetch(request) {
    const [how, to] = decodeURIComponent(new URL(request.url).search.slice(1)).split(' ');
    try {
      return new Response(await attempts[how](to));
    } catch (error) {
      return new Response(`${error.name}: ${error.message}`);
    }
  },
};
";

#[test]
fn a_javascript_fetches_from_granted_hosts() {
    let (upstream, other) = (Upstream::start(), Upstream::start());
    let Some((site, server)) = JavaScript.serve(&[("net.js", JAVASCRIPT)], "") else {
        return;
    };
    let ask = |how: &str, to: &str| format!("/net?{how}%20{}", to.replace('?', "%3F"));
    let hello = upstream.url("/hello");
    let denied = "TypeError: fetch: the host is not granted to this handler";
    until(&server, &ask("get", &hello), denied);
    configure(&site, &granting(&[format!("http://{}", upstream.addr())]));
    until(&server, &ask("get", &hello), &format!("200 {hello} hello"));
    let redirect = upstream.url(&format!("/redirect?{hello}"));
    let away = upstream.url(&format!("/redirect?{}", other.url("/hello")));
    let host = upstream.addr().to_string();
    for (how, to, result) in [
        ("post", upstream.url("/echo"), "text"),
        ("three", hello.clone(), "hello, hello, hello"),
        (
            "abort",
            upstream.url("/stall"),
            "TimeoutError: The operation timed out",
        ),
        ("manual", redirect.clone(), "302"),
        ("follow", redirect, "true hello"),
        ("follow", away, denied),
        ("field", upstream.url("/host"), &host),
        ("stream", hello, "hello"),
        ("get", other.url("/hello"), denied),
        (
            "get",
            "ftp://127.0.0.1/".into(),
            "TypeError: fetch: ftp: only http and https",
        ),
    ] {
        assert_eq!(server.get(&ask(how, &to)).text(), result, "{how} {to}");
    }
    assert_eq!(other.connections(), 0);
    server.error_log().expect(&[&format!(
        "add to wasgi.toml: [handlers.net] allowed-outbound-hosts = [\"http://{}\"]",
        other.addr()
    )]);
}

/// A script that attempts to connect in several ways, and shows the results.
const PYTHON: &str = "import http.client, socket, urllib.request
def attempts(host, port):
    yield urllib.request.urlopen(f'http://{host}:{port}/hello', timeout=20).read().decode()
    connection = http.client.HTTPConnection(host, port)
    connection.request('POST', '/echo', body='text')
    yield connection.getresponse().read().decode()
    plain = socket.create_connection((host, port), timeout=20)
    plain.sendall(b'hi\\n')
    yield plain.makefile().read().strip()
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    host, _, port = environ['QUERY_STRING'].rpartition(':')
    try:
        return [', '.join(attempts(host, int(port))).encode()]
    except OSError as error:
        return [f'denied: {type(error).__name__}'.encode()]
";

#[test]
fn a_python_script_connects_to_granted_hosts_by_the_standard_library() {
    let upstream = Upstream::start();
    let Some((site, server)) = Python.serve(&[("net.py", PYTHON)], "") else {
        return;
    };
    let (address, name) = (
        format!("/net?{}", upstream.addr()),
        format!("/net?localhost:{}", upstream.port()),
    );
    until(&server, &address, "denied: URLError");
    configure(&site, &granting(&[format!("http://{}", upstream.addr())]));
    until(&server, &address, "hello, text, echo hi");
    assert_eq!(server.get(&name).text(), "denied: URLError");
    configure(
        &site,
        &granting(&[format!("tcp://localhost:{}", upstream.port())]),
    );
    until(&server, &name, "hello, text, echo hi");
    assert_eq!(server.get(&address).text(), "denied: URLError");
}
