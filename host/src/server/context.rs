//! What the connections of a reactor share: routes, pages, calls, buffers and the time.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::calls::{CallId, Calls, Running};
use super::date::Date;
use super::record::Record;
use super::status::reason;
use super::{Shared, access_log::AccessLog};
use crate::engine::{Call, Program};
use crate::gateway::{Environ, Exchange, Failure, Scheme};
use crate::http1::{RequestBody, RequestHead};
use crate::registry::{Handler, Match, Reader};
use crate::router::{MatchedBy, RequestPath};
use crate::static_files::{Answer, Content};

/// One read of a socket, in bytes: what a socket commonly holds.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Seconds after which a client that was turned away may come again: `Retry-After`.
const RETRY_AFTER_SECONDS: &[u8] = b"1";

/// What every connection of one reactor uses.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) now: Instant,
    pub(super) date: Date,
    pub(super) calls: Calls,
    /// Calls that have not been polled yet.
    pub(super) started: Vec<CallId>,
    /// Where sockets are read to.
    pub(super) scratch: Box<[u8]>,
    /// A used buffer for the next response.
    pub(super) spare: Vec<u8>,
    shared: Arc<Shared>,
    registry: Reader<Program>,
    access_log: Option<AccessLog>,
}

/// How a request is answered.
#[derive(Debug)]
pub(super) enum Start {
    /// With this.
    Answer(Answer),
    /// By a handler, which is at work from now on.
    Call {
        call: CallId,
        exchange: Arc<Exchange>,
        handler: Arc<Handler<Program>>,
    },
}

impl Context {
    pub(super) fn new(shared: Arc<Shared>, calls: Calls, now: Instant) -> Self {
        Self {
            now,
            date: Date::new(now),
            calls,
            started: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            spare: Vec::new(),
            registry: Reader::new(shared.registry.clone()),
            access_log: shared.access_log.clone(),
            shared,
        }
    }

    /// Finds what answers a request, and begins.
    ///
    /// A handler whose name is the path goes before a page, and a page before a handler that only
    /// matches a pattern.
    pub(super) fn start(
        &mut self,
        head: Arc<RequestHead>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Start {
        if head.path() == b"*" {
            return Start::Answer(server_options());
        }
        let path = match RequestPath::parse(head.path()) {
            Ok(path) => path,
            Err(bad) => return Start::Answer(self.error(400, &bad.to_string())),
        };
        let found = self.registry.current().find(&path);
        if let Some(found) = &found
            && (found.by == MatchedBy::Name || !matches!(head.method(), "GET" | "HEAD"))
        {
            return self.call(head, found, peer, local);
        }
        if let Some(page) = self.shared.pages.answer(&head, &path) {
            return Start::Answer(page);
        }
        match found {
            Some(found) => self.call(head, &found, peer, local),
            None => Start::Answer(self.shared.pages.not_found(&head)),
        }
    }

    fn call(
        &mut self,
        head: Arc<RequestHead>,
        found: &Match<Program>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Start {
        let budget = self.shared.budget;
        let handler = found.handler.clone();
        let Some(pass) = handler.enter(budget.concurrent_requests) else {
            let failure = Failure::Busy(budget.concurrent_requests);
            tracing::warn!("{}: {failure}", handler.name);
            return Start::Answer(self.failure(&failure));
        };
        let exchange = Arc::new(Exchange::new(head.body() != RequestBody::None));
        let environ = Environ {
            head,
            script_name: found.script_name.clone(),
            path_info: found.path_info.clone(),
            args: found.args.clone(),
            peer,
            local,
            scheme: Scheme::Http,
        };
        let call = Call::new(
            &handler.program,
            handler.name.as_str().into(),
            environ,
            exchange.clone(),
            budget,
        );
        let call = self.calls.insert(Running {
            call,
            exchange: exchange.clone(),
            handler: handler.clone(),
            connection: None,
            computing: false,
            deadline: self.now + budget.wall_time,
            _pass: pass,
        });
        self.started.push(call);
        Start::Call {
            call,
            exchange,
            handler,
        }
    }

    /// An error page. `why` says what was wrong with the request.
    pub(super) fn error(&self, status: u16, why: &str) -> Answer {
        self.shared.pages.error(status, reason(status), why)
    }

    /// The answer to a request whose handler failed: the client learns that, and not why.
    pub(super) fn failure(&self, failure: &Failure) -> Answer {
        let why = match failure.status() {
            503 => "The server has as much to do as it can. Try again in a moment.",
            504 => "The handler took too long.",
            _ => "The handler failed. The server's log says why.",
        };
        let mut answer = self.error(failure.status(), why);
        if failure.status() == 503 {
            answer
                .fields
                .push(("Retry-After".into(), Cow::Borrowed(RETRY_AFTER_SECONDS)));
        }
        answer
    }

    /// Adds a request's line to the access log.
    pub(super) fn log(&mut self, peer: SocketAddr, record: &Record) {
        if let Some(log) = &mut self.access_log {
            record.write(peer, Instant::now(), log.buffer());
        }
    }

    /// Hands the access log's lines over to its thread.
    pub(super) fn flush_log(&mut self) {
        if let Some(log) = &mut self.access_log {
            log.flush();
        }
    }
}

/// The answer to `OPTIONS *`, which asks about the server as a whole (RFC 9110 section 9.3.7).
fn server_options() -> Answer {
    Answer {
        status: 204,
        fields: vec![(
            "Allow".into(),
            Cow::Borrowed(b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"),
        )],
        body: Content::Empty,
    }
}
