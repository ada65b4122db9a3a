//! A handler that returns without a response or, with `?late`, after a response whose body it has
//! neither finished nor dropped.

use wasip2::exports::http::incoming_handler::{Guest, IncomingRequest, ResponseOutparam};
use wasip2::http::types::{Fields, OutgoingResponse};

struct Silent;

impl Guest for Silent {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        if target.ends_with("?late") {
            let response = OutgoingResponse::new(Fields::new());
            let body = response.body().expect("the first time");
            ResponseOutparam::set(outparam, Ok(response));
            let stream = body.write().expect("the first time");
            stream
                .blocking_write_and_flush(b"kept open")
                .expect("written");
            std::mem::forget((stream, body));
        } else {
            std::mem::forget(outparam);
        }
    }
}

wasip2::http::proxy::export!(Silent);

fn main() {}
