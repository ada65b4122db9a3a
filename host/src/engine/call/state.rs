//! The data of a store for its one request, and the gateway's functions.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Result};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::footprint::Footprint;
use super::guest_log::{GuestLog, LineLog, LogStream, Source};
use crate::config::Budget;
use crate::engine::call::CLOSING_TIME;
use crate::engine::clock::meter::Meter;
use crate::engine::direct::Direct;
use crate::engine::limits::{FIELDS_BYTES, RANDOM_BYTES, WASI_HANDLES};
use crate::engine::pools::memory::{Reservation, Short};
use crate::engine::scripts::Folders;
use crate::engine::worlds::gateway::bindings::wasgi::gateway::gateway as wit;
use crate::engine::worlds::refused::{Refused, Thing};
use crate::engine::worlds::wasi_http::NoNetwork;
use crate::gateway::{self, Environ, Exchange, Failure, InputError, Response, Sent, Step};
use crate::permits::Permit;

/// The maximum size of one `environ.read`, in bytes: the host must not allocate whatever size a
/// guest requests.
const READ_BYTES: u64 = 64 * 1024;

/// The assumed maximum number of copies of a request body in a guest's memory, to decide whether
/// the body caused a lack of memory: as received, decoded, and as objects of a language.
const BODY_COPIES: u64 = 8;

/// The maximum length of a status in a trace, in bytes: a rejected status can be of any length.
const STATUS_BYTES: usize = 200;

/// Represents the request's `environ` in the guest's handle table. The handle's rep is the number
/// of the request in its store.
#[allow(unreachable_pub, reason = "the generated bindings export it again")]
pub struct EnvironToken;

/// Represents the request's `start-response` in the guest's handle table, with the same rep.
#[allow(unreachable_pub, reason = "the generated bindings export it again")]
pub struct StartResponseToken;

/// The limit that a growth of memory would have exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum MemoryDenied {
    /// The instance's budget.
    Budget,
    /// The total of all instances.
    Total(Short),
}

/// The data of a store.
pub(in crate::engine) struct State {
    pub(in crate::engine) environ: Environ,
    pub(in crate::engine) exchange: Arc<Exchange>,
    pub(in crate::engine) response: Response,
    pub(in crate::engine) budget: Budget,
    /// Set by host code that ends the guest with a trap and knows a more exact reason.
    pub(in crate::engine) failure: Option<Failure>,
    /// Why the last growth of memory was denied, if it was: a trap that follows is most likely
    /// caused by that.
    pub(in crate::engine) memory_denied: Option<MemoryDenied>,
    /// The number of bytes of the request body that the guest had read when it ran out of its
    /// budget, if the body was a large part of its memory.
    pub(in crate::engine) body_denied: Option<u64>,
    footprint: Footprint,
    /// The instance's reservation in the memory of all instances.
    pub(in crate::engine) reservation: Reservation,
    /// How long the request has computed.
    pub(in crate::engine) meter: Arc<Meter>,
    /// The limit on the request's total computing time after its client has gone.
    closing_limit: Option<Duration>,
    /// The number of the request: handles kept from an earlier one are invalid.
    pub(in crate::engine) request: u32,
    /// The instance has trapped: no code of it may be called.
    pub(in crate::engine) has_trapped: bool,
    /// The same instance may serve another request.
    pub(in crate::engine) is_kept: bool,
    /// The state for an application that is called directly.
    pub(in crate::engine) direct: Direct,
    /// The permit of the instance in its pool, if the pool counts them.
    #[expect(dead_code, reason = "held until the store is dropped")]
    pub(in crate::engine) permit: Option<Permit>,
    /// Earlier denials to the handler. `None` for a store without a handler: then each denial
    /// counts as the first.
    pub(in crate::engine) refused: Option<Refused>,
    log: GuestLog,
    errors: LineLog,
    /// The folders that it can read.
    folders: Folders,
    wasi: Option<Box<Wasi>>,
}

struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    network: NoNetwork,
}

impl State {
    pub(in crate::engine) fn new(
        handler: Arc<str>,
        environ: Environ,
        exchange: Arc<Exchange>,
        budget: Budget,
        meter: Arc<Meter>,
        permit: Option<Permit>,
        reservation: Reservation,
    ) -> Self {
        let log = GuestLog::new(handler, budget.log_bytes, exchange.trace().clone());
        Self {
            environ,
            exchange,
            response: Response::default(),
            budget,
            failure: None,
            memory_denied: None,
            body_denied: None,
            footprint: Footprint::default(),
            reservation,
            meter,
            closing_limit: None,
            request: 0,
            has_trapped: false,
            is_kept: false,
            direct: Direct::default(),
            permit,
            errors: log.stream(Source::Errors),
            refused: None,
            log,
            folders: Folders::default(),
            wasi: None,
        }
    }

    /// Logs the last, incomplete line of a request that is over.
    pub(in crate::engine) fn end_request(&mut self) {
        self.errors = self.log.stream(Source::Errors);
    }

    /// Prepares for another request to the same handler.
    pub(in crate::engine) fn renew(
        &mut self,
        environ: Environ,
        exchange: Arc<Exchange>,
        budget: Budget,
        meter: Arc<Meter>,
    ) {
        self.environ = environ;
        self.exchange = exchange;
        self.response = Response::default();
        self.budget = budget;
        self.failure = None;
        self.memory_denied = None;
        self.body_denied = None;
        self.meter = meter;
        self.closing_limit = None;
        self.request = self.request.wrapping_add(1);
        self.log.renew(budget.log_bytes);
    }

    /// Checks that a handle belongs to the current request.
    ///
    /// # Errors
    ///
    /// Traps if it belongs to an earlier request, from which a reused instance may have kept it.
    fn check<T: 'static>(&self, handle: &Resource<T>) -> Result<()> {
        if handle.rep() == self.request {
            return Ok(());
        }
        Err(wasmtime::format_err!(
            "an environ or start-response was used after its request was over"
        ))
    }

    /// Sets up WASI, with the additions for a kind of handler.
    pub(in crate::engine) fn set_up_wasi(&mut self, configure: impl FnOnce(&mut WasiCtxBuilder)) {
        self.wasi = Some(Wasi::new(&self.log, &self.folders, configure));
    }

    /// Makes these folders visible to the guest when it first uses WASI.
    pub(in crate::engine) fn set_folders(&mut self, folders: &Folders) {
        self.folders = folders.clone();
    }

    /// Returns whether the guest can read a folder.
    pub(in crate::engine) fn has_folders(&self) -> bool {
        !self.folders.is_empty()
    }

    /// Records how much of the request body was read, if the body accounts for the memory of which
    /// the guest was denied `more_bytes`.
    fn note_body(&mut self, more_bytes: usize) {
        let read = self.exchange.read_bytes();
        let held_bytes = read.saturating_mul(BODY_COPIES);
        let room = self.footprint.room(self.budget.memory_bytes);
        if held_bytes >= room.max(more_bytes) as u64 && read > 0 {
            self.body_denied = Some(read);
        }
    }

    /// Returns whether the next request may run out of memory.
    pub(in crate::engine) fn is_nearly_full(&self) -> bool {
        self.footprint.is_nearly_full(self.budget.memory_bytes)
    }

    /// Returns the limit on the request's total computing time, given that its client has gone and
    /// that it has computed for `used`.
    pub(in crate::engine) fn time_to_close(&mut self, used: Duration) -> Duration {
        *self.closing_limit.get_or_insert(used + CLOSING_TIME)
    }

    /// Logs a denial in a separate line, once per version of a handler.
    pub(in crate::engine) fn refuse(&mut self, thing: Thing, text: &str) {
        if self.is_news(thing) {
            self.log.note(text);
        }
    }

    /// Records a denial. Returns whether it is the first of its kind for this version of a handler.
    pub(in crate::engine) fn is_news(&self, thing: Thing) -> bool {
        let refused = self.refused.as_ref();
        refused.is_none_or(|refused| refused.is_news(thing))
    }

    /// Logs a message of the host about the guest in a separate line.
    pub(in crate::engine) fn note(&mut self, text: &str) {
        self.log.note(text);
    }

    /// Closes all resources that the guest has left open. The guest must not be called again.
    pub(in crate::engine) fn drop_wasi(&mut self) {
        self.wasi = None;
    }

    /// Sends the head unless it was sent, so that a block can follow. Returns `false` if there is
    /// no head to send.
    pub(in crate::engine) fn send_head(&mut self) -> bool {
        if let Some(head) = self.response.send() {
            self.exchange.send_head(head);
        }
        self.response == Response::Sent
    }
}

impl wit::Host for State {
    fn panicked(&mut self, exception: wit::Exception) -> Result<()> {
        self.failure = Some(Failure::Panic(exception.into()));
        Ok(())
    }
}

impl wit::HostEnviron for State {
    fn get(&mut self, this: Resource<EnvironToken>, name: String) -> Result<Option<Vec<u8>>> {
        self.check(&this)?;
        Ok(self.environ.get(&name).map(|value| value.into_owned()))
    }

    fn variables(&mut self, this: Resource<EnvironToken>) -> Result<Vec<(String, Vec<u8>)>> {
        self.check(&this)?;
        let variables = self.environ.variables();
        Ok(variables
            .into_iter()
            .map(|(name, value)| (name, value.into_owned()))
            .collect())
    }

    async fn read(
        &mut self,
        this: Resource<EnvironToken>,
        size: u64,
    ) -> Result<Result<Vec<u8>, wit::InputError>> {
        self.check(&this)?;
        let size = usize::try_from(size.min(READ_BYTES)).unwrap_or(0);
        let read = self.exchange.read(size).await;
        self.exchange.trace().note(|| match &read {
            Ok(block) => Step::Read { bytes: block.len() },
            Err(_) => Step::ReadFailed,
        });
        Ok(read.map_err(wit::InputError::from))
    }

    fn write_errors(&mut self, this: Resource<EnvironToken>, text: Vec<u8>) -> Result<()> {
        self.check(&this)?;
        self.errors.write(&text);
        Ok(())
    }

    fn drop(&mut self, _: Resource<EnvironToken>) -> Result<()> {
        Ok(())
    }
}

impl wit::HostStartResponse for State {
    fn call(
        &mut self,
        this: Resource<StartResponseToken>,
        status: Vec<u8>,
        headers: Vec<(String, Vec<u8>)>,
        exc_info: Option<wit::Exception>,
    ) -> Result<Result<(), wit::StartError>> {
        self.check(&this)?;
        let exc_info = exc_info.map(gateway::Exception::from);
        if let Some(exception) = &exc_info {
            // An application that handles its own error reports it only here.
            self.note(&format!("start_response with exc_info: {exception}"));
        }
        let limit = self.budget.response_head_bytes;
        let trace = self.exchange.trace();
        let given = trace.is_recording().then(|| headers.clone());
        let result = self
            .response
            .start(&status, headers, exc_info.is_some(), limit);
        trace.note(|| Step::Started {
            status: status.get(..STATUS_BYTES).unwrap_or(&status).to_owned(),
            fields: given.filter(|_| result.is_ok()).unwrap_or_default(),
            exc_info: exc_info.is_some(),
            outcome: result.clone(),
        });
        Ok(result.map_err(wit::StartError::from))
    }

    async fn write(
        &mut self,
        this: Resource<StartResponseToken>,
        block: Vec<u8>,
    ) -> Result<Result<(), wit::WriteError>> {
        self.check(&this)?;
        let bytes = block.len();
        let trace = self.exchange.trace();
        if self.response == Response::NotStarted {
            trace.note(|| Step::Wrote {
                bytes,
                taken: false,
            });
            return Ok(Err(wit::WriteError::NotStarted));
        }
        if block.is_empty() {
            return Ok(Ok(()));
        }
        self.send_head();
        let taken = self.exchange.send_block(block).await != Sent::Refused;
        self.exchange.trace().note(|| Step::Wrote { bytes, taken });
        Ok(if taken {
            Ok(())
        } else {
            Err(wit::WriteError::Disconnected)
        })
    }

    fn drop(&mut self, _: Resource<StartResponseToken>) -> Result<()> {
        Ok(())
    }
}

impl ResourceLimiter for State {
    /// The budget applies to all memories of an instance together.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        self.memory_denied = None;
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The program's own maximum. A reservation for it would not be released.
            return Ok(false);
        }
        if self.footprint.after(current, desired) > self.budget.memory_bytes {
            self.memory_denied = Some(MemoryDenied::Budget);
            self.note_body(desired.saturating_sub(current));
        } else if let Err(short) = self.reservation.grow_memory(current, desired) {
            self.memory_denied = Some(MemoryDenied::Total(short));
        } else {
            self.footprint.grow(current, desired);
        }
        Ok(self.memory_denied.is_none())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let taken = self.reservation.grow_table(current, desired);
        self.memory_denied = taken.err().map(MemoryDenied::Total);
        Ok(self.memory_denied.is_none())
    }
}

impl Wasi {
    /// Sets up clocks, randomness, and streams to the log, with no files except those in `folders`,
    /// no network, environment or arguments, except what `configure` adds.
    fn new(
        log: &GuestLog,
        folders: &Folders,
        configure: impl FnOnce(&mut WasiCtxBuilder),
    ) -> Box<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(WASI_HANDLES);
        let mut context = WasiCtxBuilder::new();
        context
            .stdout(LogStream::new(log, Source::Stdout))
            .stderr(LogStream::new(log, Source::Stderr))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM_BYTES);
        for (folder, name) in folders.iter() {
            // A folder that no longer exists is invisible to the guest.
            let _ = context.preopened_dir(folder, name, FsPerms::ReadOnly);
        }
        configure(&mut context);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES);
        Box::new(Self {
            context: context.build(),
            table,
            http,
            network: NoNetwork,
        })
    }
}

impl WasiView for State {
    /// Sets up WASI on the guest's first use, unless it was set up before.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self
            .wasi
            .get_or_insert_with(|| Wasi::new(&self.log, &self.folders, |_| {}));
        WasiCtxView {
            ctx: &mut wasi.context,
            table: &mut wasi.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = self
            .wasi
            .get_or_insert_with(|| Wasi::new(&self.log, &self.folders, |_| {}));
        WasiHttpCtxView {
            hooks: &mut wasi.network,
            table: &mut wasi.table,
            ctx: &mut wasi.http,
        }
    }
}

impl From<wit::Exception> for gateway::Exception {
    fn from(exception: wit::Exception) -> Self {
        let wit::Exception {
            kind,
            message,
            traceback,
        } = exception;
        Self::new(kind, message, traceback)
    }
}

impl From<InputError> for wit::InputError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Disconnected => Self::Disconnected,
            InputError::TimedOut => Self::TimedOut,
            InputError::TooLarge => Self::TooLarge,
            InputError::Malformed => Self::Malformed,
        }
    }
}

impl From<gateway::StartError> for wit::StartError {
    fn from(error: gateway::StartError) -> Self {
        match error {
            gateway::StartError::AlreadyStarted => Self::AlreadyStarted,
            gateway::StartError::HeadSent => Self::HeadSent,
            gateway::StartError::Refused(why) => Self::Refused(why),
        }
    }
}
