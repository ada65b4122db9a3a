//! The state that the connections of a reactor share: routes, pages, calls, buffers and the time.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access_log::AccessLog;
use super::calls::{CallId, Calls, Running};
use super::date::Date;
use super::hosts::{HostViews, VirtualHost};
use super::lanes::LaneRole;
use super::options::Settings;
use super::proxy;
use super::record::Record;
use super::record_line::Entry;
use super::redirect;
use super::refusal::TurnedAway;
use super::request_span;
use super::shared::Shared;
use super::transport::SCRATCH_BYTES;
use super::wall_clock::WallClock;
use crate::content::CompressOptions;
use crate::dev::{Dev, Report};
use crate::engine::{Call, Program};
use crate::gateway::{Environ, Exchange, Failure, Origin};
use crate::http1::{RequestHead, Stamp, reason};
use crate::metrics;
use crate::permits::Permits;
use crate::published;
use crate::registry::{Handler, Match, Pending, Registry, Step, Target};
use crate::router::{MatchedBy, NotAbsolute, Oddity, RequestPath};
use crate::static_files::{Answer, Content, Pages};
use crate::traces::RequestTrace;

/// The time after which a rejected client may retry, in seconds: `Retry-After`.
const RETRY_AFTER_SECONDS: &[u8] = b"1";

/// The shared state of all connections of one reactor.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) now: Instant,
    pub(super) date: Date,
    pub(super) calls: Calls,
    /// The place of the connection that is being driven.
    pub(super) place: usize,
    /// The call that it has started in this turn, to be polled for the first time.
    pub(super) started: Option<CallId>,
    /// The buffer for socket reads.
    pub(super) scratch: Box<[u8]>,
    /// The buffer for sealed TLS records. Empty until first used.
    pub(super) sealed: Vec<u8>,
    /// A recycled buffer for the next response.
    pub(super) spare: Vec<u8>,
    shared: Arc<Shared>,
    registry: published::Reader<Registry<Program>>,
    /// The routes of the virtual hosts.
    hosts: HostViews,
    /// The settings as of the start of this turn.
    pub(super) settings: published::Reader<Settings>,
    access_log: AccessLog,
    /// The rejected requests.
    pub(super) turned_away: TurnedAway,
    /// A permit for each body that is being compressed.
    pub(super) encoders: Arc<Permits>,
    /// The report of the call that has just failed, in `wasgi dev`.
    pub(super) explained: Option<Report>,
    /// The number of the request that is being started, in `wasgi dev`.
    pub(super) number: Option<NonZeroU64>,
}

/// The way a request is answered.
#[derive(Debug)]
pub(super) enum Start {
    /// With this response.
    Answer(Answer),
    /// With this response, instead of a handler that can't accept the request now.
    Refused { answer: Answer, by: Target<Program> },
    /// By a call to a handler, which has started.
    Call {
        call: CallId,
        exchange: Arc<Exchange>,
        handler: Arc<Handler<Program>>,
    },
}

/// What a connection does after [`Start`].
pub(super) enum Started {
    /// It sends this response.
    Answer(Answer),
    /// It waits for the call.
    Call {
        call: CallId,
        exchange: Arc<Exchange>,
    },
}

impl Start {
    /// Notes in the request's record what responds to it.
    pub(super) fn note(self, record: &mut Record) -> Started {
        match self {
            Self::Answer(answer) => Started::Answer(answer),
            Self::Refused { answer, by } => {
                record.target = Some(by);
                Started::Answer(answer)
            }
            Self::Call {
                call,
                exchange,
                handler,
            } => {
                record.target = Some(Target::Handler(handler));
                Started::Call { call, exchange }
            }
        }
    }
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
            registry: published::Reader::new(shared.registry.clone()),
            hosts: HostViews::default(),
            settings: published::Reader::new(shared.settings.clone()),
            access_log: shared.access_log.clone(),
            turned_away: TurnedAway::default(),
            encoders: Arc::default(),
            explained: None,
            number: None,
            shared,
        }
    }

    /// Selects the virtual host that a request is for, and starts the response. `connection` is
    /// the name that the client gave in its TLS handshake, or none, or `None` without TLS.
    #[inline(never)]
    pub(super) fn start_on_host(
        &mut self,
        head: Arc<RequestHead>,
        origin: Origin,
        connection: Option<Option<&str>>,
        record: &mut Record,
    ) -> Start {
        // `OPTIONS *` asks about the server.
        if let Some(table) = &self.settings.hosts
            && head.path() != b"*"
        {
            self.hosts.follow(table);
            match table.choose(&head, connection) {
                Ok(host) => record.host = host.cloned(),
                Err(why) => return Start::Answer(self.error(None, 421, why)),
            }
        }
        self.start(head, origin, record)
    }

    /// Finds the handler or page for a request, and starts the response.
    ///
    /// A handler whose name equals the path takes precedence over a page, and a page over a handler
    /// that only matches a pattern. A handler receives a lone `%` and a NUL, as from most
    /// application servers. No page's path contains them, and file servers reject them.
    pub(super) fn start(
        &mut self,
        head: Arc<RequestHead>,
        origin: Origin,
        record: &mut Record,
    ) -> Start {
        if head.path() == b"*" {
            return Start::Answer(server_options());
        }
        let path = match RequestPath::parse(head.path()) {
            Ok(path) => path,
            Err(NotAbsolute) => {
                let why = NotAbsolute.to_string();
                return Start::Answer(self.error(record.host.as_deref(), 400, &why));
            }
        };
        let mut found = self.registry(record).find(&path);
        let is_read = matches!(head.method(), "GET" | "HEAD");
        if let Some(found) = found.take_if(|found| found.by == MatchedBy::Name || !is_read) {
            return self.call(head, found, &path, origin, record);
        }
        if path.oddity().is_none()
            && let Some(page) = self.pages(record.host.as_deref()).answer(&head, &path)
        {
            return Start::Answer(page);
        }
        match (found, path.oddity()) {
            (Some(found), _) => self.call(head, found, &path, origin, record),
            (None, Some(oddity)) => {
                let why = oddity.to_string();
                Start::Answer(self.error(record.host.as_deref(), 400, &why))
            }
            (None, None) => match self.registry(record).find_rest(&path) {
                Some(pending) => self.not_loaded(pending, record),
                None => Start::Answer(self.pages(record.host.as_deref()).not_found(&head)),
            },
        }
    }

    fn call(
        &mut self,
        head: Arc<RequestHead>,
        found: Match<Program>,
        path: &RequestPath,
        origin: Origin,
        record: &mut Record,
    ) -> Start {
        let handler = match found.target {
            Target::Handler(handler) => handler,
            Target::Pending(pending) => return self.not_loaded(pending, record),
        };
        if handler.program.kind().has_c_strings() && path.oddity() == Some(Oddity::Nul) {
            let why = Oddity::Nul.to_string();
            return Start::Answer(self.error(record.host.as_deref(), 400, &why));
        }
        let policies = match &record.host {
            Some(host) => host.policies(),
            None => &self.settings.policies,
        };
        let policy = policies.for_handler(&handler.name);
        let policy = handler.program.kind().limit(policy);
        let budget = policy.budget;
        let Some(permit) = handler.enter(budget.concurrent_requests) else {
            let failure = Failure::Busy(budget.concurrent_requests);
            handler.usage.counts.failed(failure.cause());
            self.turned_away.note(&handler.name, &failure, self.now);
            let id = record.identify();
            return Start::Refused {
                answer: self.failure(record.host.as_deref(), &failure, id.as_str()),
                by: Target::Handler(handler),
            };
        };
        let exchange = Arc::new(Exchange::for_request(&head).with_number(self.number));
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
            request_id: record.id.clone(),
            trace: record.trace.clone(),
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
            request_id: record.id.clone(),
            call,
            exchange: exchange.clone(),
            handler: handler.clone(),
            connection: Some(self.place),
            computing: false,
            lane_role: LaneRole::Outside,
            queued: None,
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

    /// Returns the response for a handler whose first version is being built or loaded.
    fn not_loaded(&self, pending: Arc<Pending>, record: &mut Record) -> Start {
        let id = record.identify();
        let what = match pending.step {
            Step::Build => "built",
            Step::Load => "loaded",
        };
        let why =
            format!("This part of the site is being {what}. Try again in a moment. (Request {id})");
        Start::Refused {
            answer: self.unavailable(record.host.as_deref(), &why),
            by: Target::Pending(pending),
        }
    }

    /// Returns the fields that the server adds to each response.
    pub(super) fn stamp(&self) -> Stamp<'_> {
        Stamp {
            date: self.date.text(),
            server: self.settings.server(),
        }
    }

    /// Returns what `wasgi dev` adds.
    pub(super) fn dev(&self) -> Option<&Arc<Dev>> {
        self.shared.dev.as_ref()
    }

    /// Returns which proxies are trusted.
    pub(super) fn proxies(&self) -> &proxy::ProxyOptions {
        &self.settings.proxy
    }

    /// Returns the response to a request that should have used https: a redirect, the answer to a
    /// challenge for a certificate, or 503 if there is no certificate yet.
    pub(super) fn redirect(&self, head: &RequestHead, origin: &Origin) -> Answer {
        if let Some(tls) = &self.shared.tls
            && let Some(challenges) = tls.challenges()
        {
            if let Some(response) = challenges.response(head.path()) {
                return redirect::of_challenge(head, response);
            }
            if !tls.has_certificate(redirect::host(head, origin)) {
                let why = "This site's certificate for https is being obtained. Try again later.";
                return self.unavailable(None, why);
            }
        }
        redirect::to_https(head, origin, self.shared.https_port)
            .unwrap_or_else(|| self.error(None, 400, "The request has no Host to redirect to."))
    }

    /// Returns the current routes of the site that a request is for.
    fn registry(&mut self, record: &Record) -> &Registry<Program> {
        let own = record.host.as_ref();
        match own.and_then(|host| self.hosts.registry(host)) {
            Some(registry) => registry,
            None => self.registry.current(),
        }
    }

    /// Returns the pages of a virtual host, or of the site itself.
    fn pages<'own>(&'own self, host: Option<&'own VirtualHost>) -> &'own Pages {
        host.map_or(&self.shared.pages, |host| host.pages())
    }

    /// Returns what to compress in responses of a virtual host, or of the site itself.
    pub(super) fn compress<'own>(
        &'own self,
        host: Option<&'own VirtualHost>,
    ) -> &'own CompressOptions {
        host.map_or(&self.settings.compress, |host| host.compress())
    }

    /// Returns an error page of a virtual host, or of the site itself. `why` says what was wrong
    /// with the request.
    pub(super) fn error(&self, host: Option<&VirtualHost>, status: u16, why: &str) -> Answer {
        self.pages(host).error(status, reason(status), why)
    }

    /// Returns the response to a request whose handler failed. It tells the client why only if the
    /// client can do something about it; otherwise it names the `request`, as both logs do.
    pub(super) fn failure(
        &self,
        host: Option<&VirtualHost>,
        failure: &Failure,
        request: &str,
    ) -> Answer {
        if let Failure::BodyMemory { budget_bytes, .. } = failure {
            let why = format!(
                "The request's body exceeds this handler's memory: its limit budget.memory is {} \
                 MiB.",
                budget_bytes / (1024 * 1024)
            );
            return self.error(host, failure.status(), &why);
        }
        let why = match failure.status() {
            503 => {
                let why = format!(
                    "The server is at capacity. Try again in a moment. (Request {request})"
                );
                return self.unavailable(host, &why);
            }
            504 => "The handler took too long.",
            _ => "The handler failed.",
        };
        let why = format!("{why} The server's log has the details under {request}.");
        self.error(host, failure.status(), &why)
    }

    /// Returns a 503 page with `Retry-After` (RFC 9110 section 10.2.3).
    fn unavailable(&self, host: Option<&VirtualHost>, why: &str) -> Answer {
        let mut answer = self.error(host, 503, why);
        let retry_after = ("Retry-After".into(), Cow::Borrowed(RETRY_AFTER_SECONDS));
        answer.fields.push(retry_after);
        answer
    }

    /// Begins the trace of a request, if traces are recorded.
    pub(super) fn begin_trace(&self, head: &RequestHead) -> Option<Arc<RequestTrace>> {
        let tracer = self.shared.tracer.as_ref()?;
        Some(tracer.begin(head))
    }

    /// Counts a request that is over, ends its trace, and adds its line to the access log.
    pub(super) fn log(&mut self, peer: SocketAddr, record: &Record) {
        if let Some(trace) = &record.trace {
            request_span::finish(trace, record, peer);
        }
        let counts = metrics::is_on();
        let format = self.settings.access_log;
        if !counts && format.is_none() {
            return;
        }
        let took = Instant::now().saturating_duration_since(record.began());
        if counts {
            self.count(record, took);
        }
        if let Some(format) = format {
            let entry = Entry {
                record,
                client: peer,
                took,
                time: self.date.log_text(),
            };
            entry.write(format, self.access_log.buffer());
        }
    }

    fn count(&self, record: &Record, took: Duration) {
        let counts = match &record.target {
            Some(Target::Handler(handler)) => &handler.usage.counts,
            Some(Target::Pending(_)) | None => match &record.host {
                Some(host) => host.others(),
                None => &self.shared.others,
            },
        };
        counts.request(record.status, took, record.request_body_bytes, record.bytes);
    }

    /// Sends the access log's lines to its thread.
    pub(super) fn flush_log(&mut self) {
        self.access_log.flush();
    }
}

/// Returns the response to `OPTIONS *`, which asks about the whole server (RFC 9110 section 9.3.7).
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
