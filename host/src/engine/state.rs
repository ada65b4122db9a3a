//! What a store holds for its one request, and the gateway's functions over it.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Result};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::bindings::wasgi::gateway::gateway as wit;
use super::call::CLOSING_TIME;
use super::direct::Direct;
use super::footprint::Footprint;
use super::guest_log::{GuestLog, LineLog, LogStream, Source};
use super::limits::{FIELDS_BYTES, RANDOM_BYTES, WASI_HANDLES};
use super::memory::{Reservation, Short};
use super::meter::Meter;
use super::refused::{Refused, Thing};
use super::scripts::Folders;
use super::wasi_http::NoNetwork;
use crate::config::Budget;
use crate::gateway::{self, Environ, Exchange, Failure, InputError, Response, Sent, Step};
use crate::permits::Permit;

/// The most that one `environ.read` returns, in bytes: a size that a guest may ask for is no
/// size that the host must allocate.
const READ_BYTES: u64 = 64 * 1024;

/// How often the bytes of a request's body may be in a guest's memory at a time, where the body is
/// what took the memory: as received, decoded, and as objects of a language.
const BODY_COPIES: u64 = 8;

/// What of a status is kept in a trace, in bytes: it may be of any length where it is refused.
const STATUS_BYTES: usize = 200;

/// Stands for the request's `environ` in the guest's handle table. The handle's number is that of
/// the request in its store.
#[allow(unreachable_pub, reason = "the generated bindings export it again")]
pub struct EnvironToken;

/// Stands for the request's `start-response`, likewise.
#[allow(unreachable_pub, reason = "the generated bindings export it again")]
pub struct StartResponseToken;

/// Whose limit a growth of memory would have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryDenied {
    /// The instance's own budget.
    Budget,
    /// The total of all instances.
    Total(Short),
}

/// The data of a store.
pub(super) struct State {
    pub(super) environ: Environ,
    pub(super) exchange: Arc<Exchange>,
    pub(super) response: Response,
    pub(super) budget: Budget,
    /// Set by whoever ends the guest with a trap and knows better than the trap's text.
    pub(super) failure: Option<Failure>,
    /// Why the last growth of memory was refused, if it was: a trap that follows is most likely
    /// about that.
    pub(super) memory_denied: Option<MemoryDenied>,
    /// What the guest had read of the request's body, in bytes, when its budget left no memory to
    /// go on, if the body was much of what took the memory.
    pub(super) body_denied: Option<u64>,
    footprint: Footprint,
    /// What the instance has of the total of all instances' memory.
    pub(super) reservation: Reservation,
    /// How long the request has computed.
    pub(super) meter: Arc<Meter>,
    /// What the request may have computed in all, where its client has gone.
    closing_limit: Option<Duration>,
    /// Names the request: what an instance keeps of one is no good for the next.
    pub(super) request: u32,
    /// Something of its instance has trapped: nothing of it is called any more.
    pub(super) has_trapped: bool,
    /// Another request may follow in the same instance.
    pub(super) is_kept: bool,
    /// Where the application is called directly.
    pub(super) direct: Direct,
    /// The place that the instance takes in a pool whose places are counted.
    #[expect(dead_code, reason = "held until the store is dropped")]
    pub(super) permit: Option<Permit>,
    /// What the handler was refused already. None of a store without a handler: all is news then.
    pub(super) refused: Option<Refused>,
    log: GuestLog,
    errors: LineLog,
    /// What it sees of the file system, to read.
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
    pub(super) fn new(
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

    /// What the request that is over has written and not ended with a line goes to the log.
    pub(super) fn end_request(&mut self) {
        self.errors = self.log.stream(Source::Errors);
    }

    /// Prepares for another request to the same handler.
    pub(super) fn renew(
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

    /// Whether a handle is of the request at work.
    ///
    /// # Errors
    ///
    /// Traps if it is of one that is over, which an instance that serves several may have kept.
    fn check<T: 'static>(&self, handle: &Resource<T>) -> Result<()> {
        if handle.rep() == self.request {
            return Ok(());
        }
        Err(wasmtime::format_err!(
            "an environ or start-response was used after its request was over"
        ))
    }

    /// Makes WASI, with what a kind of handler has of it beyond the others.
    pub(super) fn set_up_wasi(&mut self, configure: impl FnOnce(&mut WasiCtxBuilder)) {
        self.wasi = Some(Wasi::new(&self.log, &self.folders, configure));
    }

    /// Has the guest see these folders, from its first use of WASI on.
    pub(super) fn set_folders(&mut self, folders: &Folders) {
        self.folders = folders.clone();
    }

    /// Takes note of what was read of the request's body, if it is what the memory is for of which
    /// the guest was refused `more_bytes`.
    fn note_body(&mut self, more_bytes: usize) {
        let read = self.exchange.read_bytes();
        let held_bytes = read.saturating_mul(BODY_COPIES);
        let room = self.footprint.room(self.budget.memory_bytes);
        if held_bytes >= room.max(more_bytes) as u64 && read > 0 {
            self.body_denied = Some(read);
        }
    }

    /// Whether the next request may find no memory left.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.footprint.is_nearly_full(self.budget.memory_bytes)
    }

    /// What the request may compute in all, now that its client has gone and it has `used` so
    /// much.
    pub(super) fn time_to_close(&mut self, used: Duration) -> Duration {
        *self.closing_limit.get_or_insert(used + CLOSING_TIME)
    }

    /// Tells the log what the guest was refused, in a line of its own: once for each version of a
    /// handler.
    pub(super) fn refuse(&mut self, thing: Thing, text: &str) {
        if self.is_news(thing) {
            self.log.note(text);
        }
    }

    /// Takes note of a thing that the guest was refused, and says whether it is the first time for
    /// this version of a handler.
    pub(super) fn is_news(&self, thing: Thing) -> bool {
        let refused = self.refused.as_ref();
        refused.is_none_or(|refused| refused.is_news(thing))
    }

    /// Tells the log what the host has to say of the guest, in a line of its own.
    pub(super) fn note(&mut self, text: &str) {
        self.log.note(text);
    }

    /// Closes what the guest has left open. For a guest that is not called again.
    pub(super) fn drop_wasi(&mut self) {
        self.wasi = None;
    }

    /// Sends the head, unless that was done, so that a block can follow it. `false` when there is
    /// no head to send.
    pub(super) fn send_head(&mut self) -> bool {
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
            // An application that handles its own error tells nobody but us.
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
    /// The budget is for all memories of an instance together.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        self.memory_denied = None;
        if maximum.is_some_and(|maximum| desired > maximum) {
            // By the program's own word. What was taken for it would not be given back.
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
    /// Clocks, randomness, and streams to the log; no files but those in `folders`, no
    /// network, no environment, no arguments, but for what `configure` adds.
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
            // One that is gone is one that the guest does not find.
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
    /// WASI is made when a guest first uses it, unless it was before.
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
