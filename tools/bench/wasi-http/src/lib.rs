//! The demo site's constant page as a `wasi:http` component, to measure servers of such components.
//! It is empty for targets other than wasm.

#![cfg(target_arch = "wasm32")]

use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

/// The page that the handler `hello` sends.
const PAGE: &str = include_str!("../../../../handlers/hello/src/page.html");

struct Hello;

impl wasi::exports::http::incoming_handler::Guest for Hello {
    fn handle(_request: IncomingRequest, outparam: ResponseOutparam) {
        let length = PAGE.len().to_string();
        let entries = [
            (
                "Content-Type".to_owned(),
                b"text/html; charset=utf-8".to_vec(),
            ),
            ("Content-Length".to_owned(), length.into_bytes()),
        ];
        let fields = Fields::from_list(&entries).expect("both may be set");
        let response = OutgoingResponse::new(fields);
        let body = response.body().expect("it is asked for once");
        ResponseOutparam::set(outparam, Ok(response));
        let stream = body.write().expect("it is asked for once");
        // Fails if the client has disconnected, which needs no handling.
        let _ = stream.blocking_write_and_flush(PAGE.as_bytes());
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

wasi::http::proxy::export!(Hello);
