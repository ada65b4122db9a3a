//! Requests that the benchmarks share, as clients send them.

use std::sync::Arc;

use wasgi_http1::{Limits, RequestHead};

/// A load generator's request.
pub const SHORT: &[u8] = b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";

/// A browser's request.
pub const BROWSER: &[u8] = b"GET /users/7?full=1 HTTP/1.1\r\n\
    Host: 127.0.0.1:8000\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: max-age=0\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Cookie: session=6f1ed002ab5595859014ebf0951522d9; theme=dark\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: none\r\n\r\n";

/// Parses the head of a valid request.
pub fn head(request: &[u8]) -> Arc<RequestHead> {
    match RequestHead::parse(request, &Limits::default()) {
        Ok(Some((head, _))) => Arc::new(head),
        other => panic!("no head: {other:?}"),
    }
}
