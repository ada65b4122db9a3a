//! A `wasi:http` handler that responds with the outcome of what its query asks for.

use wasip2::exports::http::incoming_handler::{Guest, IncomingRequest, ResponseOutparam};
use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse};

use crate::attempt::attempt;

struct Attempting;

impl Guest for Attempting {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let told = attempt(target.split_once('?').map_or("", |(_, query)| query));
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the first time");
        ResponseOutparam::set(outparam, Ok(response));
        let stream = body.write().expect("the first time");
        stream
            .blocking_write_and_flush(told.as_bytes())
            .expect("written");
        drop(stream);
        OutgoingBody::finish(body, None).expect("finished");
    }
}

wasip2::http::proxy::export!(Attempting);
