//! What the connections of a reactor share: routes, pages, calls, buffers and the time.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::calls::{CallId, Calls, Running};
use super::date::Date;
use super::lanes::LaneRole;
use super::proxy::{self, Origin};
use super::record::Record;
use super::redirect;
use super::refusal::TurnedAway;
use super::transport::SCRATCH_BYTES;
use super::wall_clock::WallClock;
use super::{Settings, Shared, access_log::AccessLog};
use crate::engine::{Call, Program};
use crate::gateway::{Environ, Exchange, Failure};
use crate::http1::{RequestHead, reason};
use crate::published;
use crate::registry::{Handler, Match, Pending, Reader, Target};
use crate::router::{MatchedBy, NotAbsolute, Oddity, RequestPath};
use crate::static_files::{Answer, Content};

/// Seconds after which a client that was turned away may come again: `Retry-After`.
const RETRY_AFTER_SECONDS: &[u8] = b"1";

/// What every connection of one reactor uses.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) now: Instant,
    pub(super) date: Date,
    pub(super) calls: Calls,
    /// The place of the connection that has its turn.
    pub(super) place: usize,
    /// The call that it has begun in this turn: to be polled for the first time.
    pub(super) started: Option<CallId>,
    /// Where sockets are read to.
    pub(super) scratch: Box<[u8]>,
    /// Where TLS seals to. Empty until it is needed.
    pub(super) sealed: Vec<u8>,
    /// A used buffer for the next response.
    pub(super) spare: Vec<u8>,
    shared: Arc<Shared>,
    registry: Reader<Program>,
    /// What is set, as of the beginning of this turn.
    pub(super) settings: published::Reader<Settings>,
    access_log: AccessLog,
    /// Requests that were turned away.
    pub(super) turned_away: TurnedAway,
    /// A clone for each body that is being compressed, and one.
    pub(super) encoders: Arc<()>,
}

/// How a request is answered.
#[derive(Debug)]
pub(super) enum Start {
    /// With this.
    Answer(Answer),
    /// With this, in place of a handler that can't take the request now.
    Refused { answer: Answer, by: Target<Program> },
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
            place: 0,
            started: None,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            sealed: Vec::new(),
            spare: Vec::new(),
            registry: Reader::new(shared.registry.clone()),
            settings: published::Reader::new(shared.settings.clone()),
            access_log: shared.access_log.clone(),
            turned_away: TurnedAway::default(),
            encoders: Arc::new(()),
            shared,
        }
    }

    /// Finds what answers a request, and begins.
    ///
    /// A handler whose name is the path goes before a page, and a page before a handler that only
    /// matches a pattern. A handler gets a lone `%` and a NUL as it would from most servers for
    /// applications; no page's path has them, and servers for files refuse them.
    pub(super) fn start(&mut self, head: Arc<RequestHead>, origin: Origin) -> Start {
        if head.path() == b"*" {
            return Start::Answer(server_options());
        }
        let path = match RequestPath::parse(head.path()) {
            Ok(path) => path,
            Err(NotAbsolute) => return Start::Answer(self.error(400, &NotAbsolute.to_string())),
        };
        let mut found = self.registry.current().find(&path);
        let is_read = matches!(head.method(), "GET" | "HEAD");
        if let Some(found) = found.take_if(|found| found.by == MatchedBy::Name || !is_read) {
            return self.call(head, found, &path, origin);
        }
        if path.oddity().is_none()
            && let Some(page) = self.shared.pages.answer(&head, &path)
        {
            return Start::Answer(page);
        }
        match (found, path.oddity()) {
            (Some(found), _) => self.call(head, found, &path, origin),
            (None, Some(oddity)) => Start::Answer(self.error(400, &oddity.to_string())),
            (None, None) => match self.registry.current().find_rest(&path) {
                Some(pending) => self.not_loaded(pending),
                None => Start::Answer(self.shared.pages.not_found(&head)),
            },
        }
    }

    fn call(
        &mut self,
        head: Arc<RequestHead>,
        found: Match<Program>,
        path: &RequestPath,
        origin: Origin,
    ) -> Start {
        let handler = match found.target {
            Target::Handler(handler) => handler,
            Target::Pending(pending) => return self.not_loaded(pending),
        };
        if handler.program.kind().has_c_strings() && path.oddity() == Some(Oddity::Nul) {
            return Start::Answer(self.error(400, &Oddity::Nul.to_string()));
        }
        let settings = &self.settings;
        let policy = settings.handlers.policy(&handler.name, &settings.budget);
        let policy = handler.program.kind().limit(policy);
        let budget = policy.budget;
        let Some(permit) = handler.enter(budget.concurrent_requests) else {
            let failure = Failure::Busy(budget.concurrent_requests);
            self.turned_away.note(&handler.name, &failure, self.now);
            return Start::Refused {
                answer: self.failure(&failure),
                by: Target::Handler(handler),
            };
        };
        let exchange = Arc::new(Exchange::of(&head));
        let for_log = head.clone();
        let environ = Environ {
            head,
            script_name: found.script_name,
            path_info: found.path_info,
            args: found.args,
            peer: origin.peer,
            local: origin.local,
            scheme: origin.scheme,
            host: origin.host,
            run_once: policy.reuse <= 1,
        };
        let call = Call::new(
            &handler.program,
            handler.name.clone(),
            environ,
            exchange.clone(),
            policy,
        );
        let call = self.calls.insert(Running {
            head: for_log,
            call,
            exchange: exchange.clone(),
            handler: handler.clone(),
            connection: Some(self.place),
            computing: false,
            lane_role: LaneRole::Outside,
            clock: WallClock::new(budget.wall_time, self.now),
            is_abandoned: false,
            _permit: permit,
        });
        self.started = Some(call);
        Start::Call {
            call,
            exchange,
            handler,
        }
    }

    /// The answer for a handler that is being loaded for the first time.
    fn not_loaded(&self, pending: Arc<Pending>) -> Start {
        let why = "This part of the site is being loaded. Try again in a moment.";
        Start::Refused {
            answer: self.unavailable(why),
            by: Target::Pending(pending),
        }
    }

    /// Which proxies are trusted.
    pub(super) fn proxies(&self) -> &proxy::Options {
        &self.settings.proxy
    }

    /// The answer to a request that should have come by https.
    pub(super) fn redirect(&self, head: &RequestHead, origin: &Origin) -> Answer {
        redirect::to_https(head, origin, self.shared.https_port)
            .unwrap_or_else(|| self.error(400, "The request names no host to be sent on to."))
    }

    /// An error page. `why` says what was wrong with the request.
    pub(super) fn error(&self, status: u16, why: &str) -> Answer {
        self.shared.pages.error(status, reason(status), why)
    }

    /// The answer to a request whose handler failed: the client learns that, and not why, unless it
    /// can do something about it.
    pub(super) fn failure(&self, failure: &Failure) -> Answer {
        if let Failure::BodyMemory { budget_bytes, .. } = failure {
            let why = format!(
                "The request's body is longer than this handler has memory for: its limit \
                 budget.memory is {} MiB.",
                budget_bytes / (1024 * 1024)
            );
            return self.error(failure.status(), &why);
        }
        let why = match failure.status() {
            503 => {
                let why = "The server has as much to do as it can. Try again in a moment.";
                return self.unavailable(why);
            }
            504 => "The handler took too long.",
            _ => "The handler failed. The server's log says why.",
        };
        self.error(failure.status(), why)
    }

    /// A 503 page that says when to come again (RFC 9110 section 10.2.3).
    fn unavailable(&self, why: &str) -> Answer {
        let mut answer = self.error(503, why);
        let retry_after = ("Retry-After".into(), Cow::Borrowed(RETRY_AFTER_SECONDS));
        answer.fields.push(retry_after);
        answer
    }

    /// Adds a request's line to the access log.
    pub(super) fn log(&mut self, peer: SocketAddr, record: &Record) {
        if self.settings.access_log {
            let time = self.date.log_text();
            record.write(time, peer, Instant::now(), self.access_log.buffer());
        }
    }

    /// Hands the access log's lines over to its thread.
    pub(super) fn flush_log(&mut self) {
        self.access_log.flush();
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
