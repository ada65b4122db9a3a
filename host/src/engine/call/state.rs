//! The data of a store for its one request.

use std::fs::File;
use std::sync::{Arc, Weak};
use std::time::Duration;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Result};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::backtrace::Stack;
use super::denials::HostDenials;
use super::folder_lock::FolderLock;
use super::footprint::Footprint;
use super::guest_log::{GuestLog, LineLog, LogStream, Source};
use super::open_files::OpenFiles;
use super::refusals::{Refused, Thing};
use crate::descriptor_limits::{DescriptorLimits, DescriptorPermit};
use crate::engine::clock::meter::Meter;
use crate::engine::direct::Direct;
use crate::engine::limits::{self, FIELDS_BYTES, RANDOM_BYTES, WASI_HANDLES};
use crate::engine::pools::memory::{Reservation, Short};
use crate::engine::scripts::folders::Folders;
use crate::engine::worlds::key_value::opened::KeyValue;
use crate::engine::worlds::network::{Network, OutboundTrace};
use crate::gateway::{Environ, Exchange, Failure, Response};
use crate::grants::Grants;
use crate::outbound;
use crate::permits::Permit;
use crate::policy::Budget;
use crate::traces::{ActiveSpan, Attribute, SpanKind};

/// The assumed maximum number of copies of a request body in a guest's memory, to decide whether
/// the body caused a lack of memory: as received, decoded, and as objects of a language.
const BODY_COPIES: u64 = 8;

/// The maximum time that a guest may compute after its client has gone, to reach its next block and
/// be closed, or to unwind from a failed read or write: twice what a page of a Python framework
/// takes.
const CLOSING_TIME: Duration = Duration::from_millis(50);

/// The limit that a growth of memory would have exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum MemoryDenied {
    /// The instance's budget.
    Budget,
    /// The total of all instances.
    Total(Short),
}

/// The data of a store.
pub(in crate::engine) struct HostState {
    pub(in crate::engine) environ: Environ,
    pub(in crate::engine) exchange: Arc<Exchange>,
    pub(in crate::engine) response: Response,
    pub(in crate::engine) budget: Budget,
    /// Set by host code that ends the guest with a trap and knows a more exact reason.
    pub(in crate::engine) failure: Option<Failure>,
    /// Why a growth of memory was denied, if one was: a trap that follows is most likely caused by
    /// that.
    pub(in crate::engine) memory_denied: Option<MemoryDenied>,
    /// Memory has grown after that, as it does for the message of an allocator that gives up. Then
    /// only an abort is caused by the denial.
    pub(in crate::engine) has_grown_since: bool,
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
    /// Whether the stack of a trap is kept for a developer, and that stack.
    pub(in crate::engine) keeps_stack: bool,
    pub(in crate::engine) stack: Option<Box<Stack>>,
    /// The instance has trapped: no code of it may be called.
    pub(in crate::engine) has_trapped: bool,
    /// The instance may serve another request.
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
    pub(in crate::engine) errors: LineLog,
    /// The folders of its script.
    folders: Folders,
    /// What it may use besides its request.
    grants: Option<Arc<Grants>>,
    /// The key-value buckets, if one is granted.
    pub(in crate::engine) key_value: Option<Box<KeyValue>>,
    /// The span of what the request does now, if its trace is recorded.
    pub(in crate::engine) span: Option<Box<ActiveSpan>>,
    wasi: Option<Box<Wasi>>,
    /// The files and folders that it has open.
    pub(in crate::engine) open_files: OpenFiles,
    /// Held while the request may use folders that only one request at a time may use.
    folder_lock: Option<FolderLock>,
}

struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    network: Network,
}

impl HostState {
    pub(in crate::engine) fn new(
        handler: Arc<str>,
        environ: Environ,
        exchange: Arc<Exchange>,
        budget: Budget,
        meter: Arc<Meter>,
        permit: Option<Permit>,
        reservation: Reservation,
    ) -> Self {
        let id = environ.request_id.clone();
        let log = GuestLog::new(handler, id, budget.log_bytes, &exchange);
        Self {
            environ,
            exchange,
            response: Response::default(),
            budget,
            failure: None,
            memory_denied: None,
            has_grown_since: false,
            body_denied: None,
            footprint: Footprint::default(),
            reservation,
            meter,
            closing_limit: None,
            request: 0,
            keeps_stack: false,
            stack: None,
            has_trapped: false,
            is_kept: false,
            direct: Direct::default(),
            permit,
            errors: log.stream(Source::Errors),
            refused: None,
            log,
            folders: Folders::default(),
            grants: None,
            key_value: None,
            span: None,
            wasi: None,
            open_files: OpenFiles::default(),
            folder_lock: None,
        }
    }

    /// Logs the last, incomplete line of a request that is over.
    pub(in crate::engine) fn end_request(&mut self) {
        self.errors = self.log.stream(Source::Errors);
        self.folder_lock = None;
        self.open_files.sweep();
        self.span = None;
    }

    /// Ends the span of what the request has done so far, and begins the next, if its trace is
    /// recorded.
    pub(super) fn begin_span(&mut self, name: &'static str) {
        let Some(trace) = &self.environ.trace else {
            return;
        };
        // The first ends before the second begins.
        self.span = None;
        let mut span = trace.span(name, SpanKind::Internal, None);
        if let Some(span) = &mut span {
            span.set(Attribute::text(
                "wasgi.handler",
                self.log.handler().as_bytes(),
            ));
        }
        self.span = span.map(Box::new);
    }

    /// Ends the last span, with the failure of the request if it has one.
    pub(super) fn end_span(&mut self, failure: Option<&Failure>) {
        if let Some(mut span) = self.span.take()
            && let Some(failure) = failure
        {
            span.fail(failure.cause());
        }
    }

    /// Begins the span of a request to another system, if the trace is recorded.
    pub(in crate::engine) fn client_span(&self, name: String) -> Option<ActiveSpan> {
        let trace = self.environ.trace.as_ref()?;
        let parent = self.span.as_deref().map(ActiveSpan::context);
        trace.span(name, SpanKind::Client, parent)
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
        let id = self.environ.request_id.clone();
        self.log.renew(id, budget.log_bytes, &self.exchange);
    }

    /// Checks that a handle belongs to the current request.
    ///
    /// # Errors
    ///
    /// Traps if it belongs to an earlier request, from which a reused instance may have kept it.
    pub(in crate::engine) fn check<T: 'static>(&self, handle: &Resource<T>) -> Result<()> {
        if handle.rep() == self.request {
            return Ok(());
        }
        Err(wasmtime::format_err!(
            "an environ or start-response was used after the end of its request"
        ))
    }

    /// Sets up WASI, with the additions for a kind of handler.
    pub(in crate::engine) fn set_up_wasi(&mut self, configure: impl FnOnce(&mut WasiCtxBuilder)) {
        self.wasi = Some(self.new_wasi(configure));
    }

    /// Sets up WASI: clocks, randomness, and streams to the log; the folders of a script; and what
    /// is granted.
    fn new_wasi(&mut self, configure: impl FnOnce(&mut WasiCtxBuilder)) -> Box<Wasi> {
        let network = Network::new(self.handler(), self.grants.as_ref(), self.host_denials());
        let grants = self.grants.as_deref();
        let (mut wasi, missing) = Wasi::new(&self.log, &self.folders, grants, network, configure);
        if self.folder_lock.is_some() {
            self.open_files.set_folders(wasi.open_folders());
        }
        for line in missing {
            self.refuse(Thing::Folder, &line);
        }
        wasi
    }

    /// Returns the permit for a further file of the handler, unless there are too many.
    pub(in crate::engine) fn try_take_file(
        &mut self,
        limits: DescriptorLimits,
    ) -> Option<DescriptorPermit> {
        self.open_files.try_take(self.log.handler(), limits)
    }

    /// Makes these folders visible to the guest when it first uses WASI. `permits` are those for
    /// them and for the granted folders.
    pub(in crate::engine) fn set_folders(
        &mut self,
        folders: &Folders,
        permits: Vec<DescriptorPermit>,
    ) {
        self.folders = folders.clone();
        self.open_files = OpenFiles::new(permits);
    }

    /// Returns whether the guest has a folder: of its script, or a granted one.
    pub(in crate::engine) fn has_folders(&self) -> bool {
        let granted = self.grants.as_ref().map(|grants| grants.folders());
        !self.folders.is_empty() || granted.is_some_and(|folders| !folders.is_empty())
    }

    /// Makes the grants available, and holds the lock on folders to the end of the request.
    pub(super) fn set_grants(&mut self, grants: Option<Arc<Grants>>, lock: Option<FolderLock>) {
        self.grants = grants;
        self.folder_lock = lock;
    }

    /// Reports whether the instance was created with equal grants.
    pub(super) fn has_grants(&self, grants: Option<&Arc<Grants>>) -> bool {
        self.grants.as_ref() == grants
    }

    /// Returns what the handler may use besides its request.
    pub(in crate::engine) fn grants(&self) -> Option<&Arc<Grants>> {
        self.grants.as_ref()
    }

    /// Returns the name of the handler.
    pub(in crate::engine) fn handler(&self) -> &str {
        self.log.handler()
    }

    /// Returns WASI's state. Sets it up on the guest's first use, unless it was set up before.
    fn wasi(&mut self) -> &mut Wasi {
        let wasi = self.wasi.take();
        let wasi = wasi.unwrap_or_else(|| self.new_wasi(|_| {}));
        self.wasi.insert(wasi)
    }

    /// Notes a growth, or why it was denied. Returns whether memory has grown.
    fn note_growth(&mut self, denied: Option<MemoryDenied>) -> bool {
        self.has_grown_since = denied.is_none();
        if denied.is_some() {
            self.memory_denied = denied;
        }
        self.has_grown_since
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

    /// Returns the limit of all values that one call passes to the host, in bytes.
    pub(in crate::engine) fn call_bytes(&self) -> usize {
        let bytes = limits::call_bytes(&self.budget);
        match self.key_value {
            Some(_) => bytes.max(limits::BUCKET_CALL_BYTES),
            None => bytes,
        }
    }

    /// Logs a denial in a separate line, once per version of a handler.
    pub(in crate::engine) fn refuse(&mut self, thing: Thing, text: &str) {
        if self.is_news(thing) {
            self.deny(text);
        }
    }

    /// Logs a denial in a separate line.
    pub(in crate::engine) fn deny(&self, text: &str) {
        self.log.deny(text);
    }

    /// Records a denial. Returns whether it is the first of its kind for this version of a handler.
    pub(in crate::engine) fn is_news(&self, thing: Thing) -> bool {
        let refused = self.refused.as_ref();
        refused.is_none_or(|refused| refused.is_news(thing))
    }

    /// Returns the log of denied connections.
    fn host_denials(&self) -> HostDenials {
        HostDenials::new(self.log.clone(), self.refused.clone().unwrap_or_default())
    }

    /// Returns the handler's access to the network, with the limits of the request.
    pub(in crate::engine) fn network(&mut self) -> &mut Network {
        let limits = outbound_limits(&self.budget);
        let trace = self.environ.trace.clone();
        let parent = self.span.as_deref().map(ActiveSpan::context);
        let network = &mut self.wasi().network;
        network.limits = limits;
        network.trace = trace.map(|trace| OutboundTrace::new(trace, parent));
        network
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

/// Returns the limits of a request to another host: no time is longer than the handler's own.
fn outbound_limits(budget: &Budget) -> outbound::Limits {
    /// The maximum time until there is a connection: a packet that is lost is sent again after 1, 3
    /// and 7 seconds.
    const CONNECT_TIME: Duration = Duration::from_secs(10);
    outbound::Limits {
        connections: budget.outbound_connections,
        response_bytes: budget.outbound_response_bytes,
        connect_time: budget.wall_time.min(CONNECT_TIME),
        first_byte_time: budget.wall_time,
        between_bytes_time: budget.wall_time,
    }
}

impl Drop for HostState {
    /// Releases the lock on folders. A request that was cut off may have left an operation with the
    /// system, which completes; the next request must not see its folder change then.
    fn drop(&mut self) {
        if let Some(lock) = self.folder_lock.take() {
            self.wasi = None;
            lock.release_after(self.open_files.take_files());
        }
    }
}

impl ResourceLimiter for HostState {
    /// The budget applies to all memories of an instance together.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.memory_denied = None;
            // The program's own maximum. A reservation for it would not be released.
            return Ok(false);
        }
        let denied = if self.footprint.after(current, desired) > self.budget.memory_bytes {
            self.note_body(desired.saturating_sub(current));
            Some(MemoryDenied::Budget)
        } else if let Err(short) = self.reservation.grow_memory(current, desired) {
            Some(MemoryDenied::Total(short))
        } else {
            self.footprint.grow(current, desired);
            None
        };
        Ok(self.note_growth(denied))
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
        Ok(self.note_growth(taken.err().map(MemoryDenied::Total)))
    }
}

impl Wasi {
    /// Sets up clocks, randomness, and streams to the log, with no files, network, environment or
    /// arguments except those of `folders` and `grants` and what `configure` adds. Also returns a
    /// log line for each granted folder that can't be opened.
    fn new(
        log: &GuestLog,
        folders: &Folders,
        grants: Option<&Grants>,
        network: Network,
        configure: impl FnOnce(&mut WasiCtxBuilder),
    ) -> (Box<Self>, Vec<String>) {
        let mut table = ResourceTable::new();
        table.set_max_capacity(WASI_HANDLES);
        let mut context = WasiCtxBuilder::new();
        context
            .stdout(LogStream::new(log, Source::Stdout))
            .stderr(LogStream::new(log, Source::Stderr))
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM_BYTES);
        network.sockets().set_up(&mut context);
        for (folder, name) in folders.iter() {
            // A folder that no longer exists is invisible to the guest.
            let _ = context.preopened_dir(folder, name, FsPerms::ReadOnly);
        }
        let mut missing = Vec::new();
        if let Some(grants) = grants {
            context.envs(grants.variables());
            for folder in grants.folders() {
                let permissions = match folder.is_writable {
                    true => FsPerms::ReadWrite,
                    false => FsPerms::ReadOnly,
                };
                let opened =
                    context.preopened_dir(&folder.source, &folder.destination, permissions);
                if let Err(error) = opened {
                    let source = folder.source.display();
                    let error = limits::cause(&error);
                    missing.push(format!(
                        "has no folder {}: {source}: {error}",
                        folder.destination
                    ));
                }
            }
        }
        configure(&mut context);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES);
        let wasi = Self {
            context: context.build(),
            table,
            http,
            network,
        };
        (Box::new(wasi), missing)
    }

    /// Returns its folders, as long as something uses them.
    fn open_folders(&mut self) -> Vec<Weak<File>> {
        let folders = self.filesystem().get_directories().unwrap_or_default();
        let open = |(folder, _)| match self.filesystem().table.delete(folder) {
            Ok(Descriptor::Dir(folder)) => Some(Arc::downgrade(&folder.dir)),
            _ => None,
        };
        folders.into_iter().filter_map(open).collect()
    }
}

impl WasiView for Wasi {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi().ctx()
    }
}

impl WasiHttpView for HostState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = self.wasi();
        WasiHttpCtxView {
            hooks: &mut wasi.network,
            table: &mut wasi.table,
            ctx: &mut wasi.http,
        }
    }
}
