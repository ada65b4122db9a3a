//! One request in an instance: creates an instance or takes a warm one, calls the application,
//! sends its output, and closes it.

mod backtrace;
pub(super) mod denials;
mod folder_lock;
mod footprint;
pub(super) mod guest_log;
pub(super) mod open_files;
pub(super) mod refusals;
pub(super) mod state;
pub(super) mod store;
pub(super) mod trap;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wasmtime::Store;

use super::clock::meter::Meter;
use super::pools::memory::{Reservation, Short};
use super::pools::warm::Warm;
use super::program::{Code, Program};
use super::worlds::gateway::answer::Answer;
use super::worlds::gateway::application::{Application, ApplicationPre, Blocks};
use super::worlds::gateway::bindings::wasgi::gateway::gateway::Exception;
use super::worlds::key_value::opened::KeyValue;
use super::worlds::pre::Pre;
use super::worlds::{command, wasi_http};
use crate::descriptor_limits::{DescriptorLimits, DescriptorPermit};
use crate::gateway::{Environ, Exchange, Failure, Response, Sent, Step};
use crate::grants::Grants;
use crate::metrics::{SAMPLED, is_sampled};
use crate::permits::Permit;
use crate::policy::{Budget, Policy};
use crate::traces::{ActiveSpan, SpanKind};
use backtrace::Stack;
use folder_lock::FolderLock;
use open_files::try_take_folders;
use refusals::Refused;
use state::HostState;
use store::{FIRST_TICKS, new_store};
use trap::{instantiation_failure, trap_failure};

/// The maximum number of requests per instance, whatever `reuse` says: an instance that releases
/// nothing uses two more of its [`HANDLES`](super::limits::HANDLES) with each.
const REQUESTS_PER_INSTANCE: u32 = 20_000;

/// The span of the wait for an instance, and of its creation.
const INSTANCE_SPAN: &str = "instance";

/// The span of the guest's code.
const GUEST_SPAN: &str = "guest";

/// A request that runs in an instance. Dropping it aborts the guest.
pub struct Call {
    meter: Arc<Meter>,
    /// The elapsed time of the polls before the first tick, as an estimate from those that are
    /// sampled.
    before_first_tick: Duration,
    work: Pin<Box<dyn Future<Output = Finished> + Send>>,
}

/// A call that has ended. The instance's memory is reset on drop, which can wait until the response
/// is on its way.
pub struct Finished {
    /// The failure, if any. The handler's output up to there is in the exchange.
    pub failure: Option<Failure>,
    /// `None` if the instance waits for another request.
    _store: Option<Store<HostState>>,
}

impl Call {
    /// Prepares a call. No code runs, and no instance is created or taken, before the first poll.
    ///
    /// `handler` is the name in front of each line that the guest logs.
    pub fn new(
        program: &Program,
        handler: Arc<str>,
        environ: Environ,
        exchange: Arc<Exchange>,
        policy: Policy,
    ) -> Self {
        let meter = Arc::<Meter>::default();
        let code = program.0.clone();
        let request = Request {
            handler,
            environ,
            exchange,
            budget: policy.budget,
            grants: policy.grants,
            meter: meter.clone(),
            refused: program.0.refused.clone(),
        };
        let reuse = policy.reuse.min(REQUESTS_PER_INSTANCE);
        let work: Pin<Box<dyn Future<Output = Finished> + Send>> = if reuse > 1 {
            Box::pin(run_on(code, request, reuse))
        } else {
            Box::pin(run(code, request))
        };
        Self {
            meter,
            before_first_tick: Duration::ZERO,
            work,
        }
    }

    /// Returns how long the guest has computed. Less than a tick counts as zero.
    pub fn computed(&self) -> Duration {
        self.meter.used()
    }

    /// Returns how long the guest has used its thread: as [`Self::computed`], with an estimate of
    /// what is less than a tick, which is right on average. Without the estimate if the process
    /// doesn't count.
    pub fn thread_time(&self) -> Duration {
        self.before_first_tick + self.meter.used()
    }

    /// Runs the guest until it waits, yields or ends.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Finished> {
        self.meter.resume();
        let began = (!self.meter.has_ticked() && is_sampled()).then(Instant::now);
        let result = self.work.as_mut().poll(context);
        self.meter.pause();
        if let Some(began) = began
            && !self.meter.has_ticked()
        {
            self.before_first_tick += began.elapsed() * SAMPLED;
        }
        result
    }
}

impl Finished {
    /// Creates the end of a call that has not begun, for a lack of memory for an instance.
    fn turned_away(short: Short) -> Self {
        Self::failed(Failure::NoMemory(short.limit))
    }

    /// Creates the end of a call that has not begun.
    fn failed(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            _store: None,
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("meter", &self.meter)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finished")
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

/// The parameters of a call.
struct Request {
    handler: Arc<str>,
    environ: Environ,
    exchange: Arc<Exchange>,
    budget: Budget,
    grants: Option<Arc<Grants>>,
    meter: Arc<Meter>,
    refused: Refused,
}

impl Request {
    /// Begins the span of the wait for an instance, if the trace is recorded.
    fn instance_span(&self) -> Option<Box<ActiveSpan>> {
        let trace = self.environ.trace.as_ref()?;
        let span = trace.span(INSTANCE_SPAN, SpanKind::Internal, None)?;
        Some(Box::new(span))
    }

    /// Waits for the granted folders that only one request at a time may use.
    async fn lock_folders(&self) -> Result<Option<FolderLock>, Failure> {
        let Some(grants) = &self.grants else {
            return Ok(None);
        };
        // Boxed: most requests have no folders.
        let locked = Box::pin(folder_lock::acquire(grants));
        let mut gone = pin!(self.exchange.gone());
        let mut locked = pin!(locked);
        poll_fn(|context| {
            if gone.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            let locked = locked.as_mut().poll(context);
            locked.map(|locked| locked.map_err(Failure::Instantiation))
        })
        .await
    }

    /// Takes the permits for the folders of a script and those that are granted: an instance opens
    /// each.
    fn take_folders(&self, code: &Code) -> Result<Vec<DescriptorPermit>, Failure> {
        let granted = self.grants.as_ref();
        let granted = granted.map_or(0, |grants| grants.folders().len());
        let count = code.folders.len() + granted;
        if count == 0 {
            return Ok(Vec::new());
        }
        let limits = DescriptorLimits::current();
        try_take_folders(&self.handler, count, limits)
            .ok_or_else(|| Failure::NoDescriptor(limits.to_string()))
    }

    /// Reserves the memory and the descriptors of an instance.
    fn reserve(&self, code: &Code) -> Result<(Reservation, Vec<DescriptorPermit>), Finished> {
        let reservation = code.reserve().map_err(Finished::turned_away)?;
        let folders = self.take_folders(code).map_err(Finished::failed)?;
        Ok((reservation, folders))
    }

    fn into_state(
        self,
        code: &Code,
        permit: Option<Permit>,
        reservation: Reservation,
        lock: Option<FolderLock>,
        span: Option<Box<ActiveSpan>>,
        folders: Vec<DescriptorPermit>,
    ) -> HostState {
        let mut state = HostState::new(
            self.handler,
            self.environ,
            self.exchange,
            self.budget,
            self.meter,
            permit,
            reservation,
        );
        state.refused = Some(self.refused);
        let grants = self.grants.as_ref();
        if grants.is_some_and(|grants| !grants.buckets().is_empty()) {
            let store = code.store.clone();
            state.key_value = store.map(|store| Box::new(KeyValue::new(store)));
        }
        state.keeps_stack = code.lines.is_some();
        state.set_folders(&code.folders, folders);
        state.set_grants(self.grants, lock);
        state.span = span;
        state
    }
}

/// Runs a request in an instance that has served, or may serve another. Only an instance that has
/// answered without a failure is reused: after a failure, its state is unknown.
async fn run_on(code: Arc<Code>, request: Request, reuse: u32) -> Finished {
    let lock = match request.lock_folders().await {
        Ok(lock) => lock,
        Err(failure) => return Finished::failed(failure),
    };
    let warm = code.idle.take();
    let warm = warm.filter(|warm| {
        warm.served < reuse && warm.store.data().has_grants(request.grants.as_ref())
    });
    let (mut store, instance, served) = match warm {
        Some(mut warm) => {
            let state = warm.store.data_mut();
            state.renew(
                request.environ,
                request.exchange,
                request.budget,
                request.meter,
            );
            state.set_grants(request.grants, lock);
            state.begin_span(INSTANCE_SPAN);
            (warm.store, Ok(warm.instance), warm.served)
        }
        None => {
            let (reservation, folders) = match request.reserve(&code) {
                Ok(reserved) => reserved,
                Err(finished) => return finished,
            };
            let waiting = request.instance_span();
            let (pre, permit) = code.place_to_stay().await;
            let state = request.into_state(&code, permit, reservation, lock, waiting, folders);
            let mut store = new_store(pre, state);
            code.prepare(store.data_mut());
            let instance = match pre {
                Pre::Application(pre) => instantiate(pre, &mut store).await,
                Pre::WasiHttp(_) | Pre::Command(_) => Err(Failure::Instantiation(
                    "only handlers of the contract can serve several requests".into(),
                )),
            };
            (store, instance, 0)
        }
    };
    let served = served + 1;
    let is_last = served >= reuse;
    store.data_mut().is_kept = !is_last;
    store.set_epoch_deadline(FIRST_TICKS);
    if instance.is_ok() {
        store.data_mut().begin_span(GUEST_SPAN);
    }
    let failure = match instance {
        Err(failure) => Some(failure),
        Ok(instance) => match answer(&instance, &mut store).await {
            Ok(()) if !is_last && !store.data().is_nearly_full() => {
                store.data_mut().end_request();
                code.keep(Warm {
                    store,
                    instance,
                    served,
                });
                return Finished {
                    failure: None,
                    _store: None,
                };
            }
            Ok(()) => failure(Ok(()), store.data()),
            Err(failed) => {
                // Boxed: requests that don't fail don't need the space.
                let failed = Box::pin(with_lines(&code, store.data_mut(), failed)).await;
                failure(Err(failed), store.data())
            }
        },
    };
    store.data_mut().end_span(failure.as_ref());
    Finished {
        failure,
        _store: Some(store),
    }
}

/// Returns the failure of a request, if any. If the request body caused a lack of memory, the
/// failure says so.
fn failure(result: Result<(), Failure>, state: &HostState) -> Option<Failure> {
    let failure = result.err()?;
    match (&failure, state.body_denied) {
        (
            Failure::Exception(_)
            | Failure::Panic(_)
            | Failure::Trap(_)
            | Failure::Memory(_)
            | Failure::Exit(_)
            | Failure::NotStarted
            | Failure::BadResponse(_),
            Some(read_bytes),
        ) => Some(Failure::BodyMemory {
            read_bytes,
            budget_bytes: state.budget.memory_bytes,
            failure: Some(Box::new(failure)),
        }),
        _ => Some(failure),
    }
}

/// Runs a request in a separate instance.
async fn run(code: Arc<Code>, request: Request) -> Finished {
    let lock = match request.lock_folders().await {
        Ok(lock) => lock,
        Err(failure) => return Finished::failed(failure),
    };
    let (reservation, folders) = match request.reserve(&code) {
        Ok(reserved) => reserved,
        Err(finished) => return finished,
    };
    let waiting = request.instance_span();
    let (pre, permit) = code.place().await;
    let state = request.into_state(&code, permit, reservation, lock, waiting, folders);
    let mut store = new_store(pre, state);
    code.prepare(store.data_mut());
    let result = match pre {
        Pre::Application(pre) => match instantiate(pre, &mut store).await {
            Ok(application) => {
                store.data_mut().begin_span(GUEST_SPAN);
                answer(&application, &mut store).await
            }
            Err(failure) => Err(failure),
        },
        // Boxed: otherwise, each request of the first kind would have the size of the largest.
        Pre::WasiHttp(pre) => {
            store.data_mut().begin_span(GUEST_SPAN);
            Box::pin(wasi_http::run(pre, &mut store)).await
        }
        Pre::Command(pre) => {
            store.data_mut().begin_span(GUEST_SPAN);
            Box::pin(command::run(pre, &mut store)).await
        }
    };
    let result = match result {
        // Boxed: requests that don't fail don't need the space.
        Err(failed) => Err(Box::pin(with_lines(&code, store.data_mut(), failed)).await),
        Ok(()) => Ok(()),
    };
    let failure = failure(result, store.data());
    store.data_mut().end_span(failure.as_ref());
    Finished {
        failure,
        _store: Some(store),
    }
}

/// Adds the lines of the source to a failure, if its stack was kept.
async fn with_lines(code: &Code, state: &mut HostState, failure: Failure) -> Failure {
    let (Some(lines), Some(stack)) = (&code.lines, state.stack.take()) else {
        return failure;
    };
    let found = lines.find(stack.positions()).await;
    let own = Stack::with_lines(&found);
    let located = |mut text: String| {
        match &own {
            Some(own) => own
                .lines()
                .for_each(|line| text += &format!("\n    {line}")),
            None => stack.push_frames(&mut text),
        }
        text
    };
    match failure {
        Failure::Trap(text) => Failure::Trap(located(text)),
        Failure::Instantiation(text) => Failure::Instantiation(located(text)),
        Failure::Panic(mut panic) => {
            panic.traceback = own.unwrap_or(panic.traceback);
            Failure::Panic(panic)
        }
        other => other,
    }
}

async fn instantiate(
    pre: &ApplicationPre,
    store: &mut Store<HostState>,
) -> Result<Application, Failure> {
    let made = pre.instantiate(store).await;
    store.data_mut().reservation.settle();
    made.map_err(|error| instantiation_failure(&error, store.data_mut()))
}

/// Calls the application and sends its body, as PEP 3333 specifies for servers.
async fn answer(application: &Application, store: &mut Store<HostState>) -> Result<(), Failure> {
    let body = application.call(store).await;
    match flatten(body, store)? {
        Answer::Block(block) => finish(store, block),
        Answer::Blocks(blocks) => {
            let sent = send_blocks(application, store, blocks).await;
            if store.data().has_trapped {
                // After a trap, whatever its cause, the instance can't be called.
                return sent;
            }
            let closed = close(application, store, blocks).await;
            // Report the first failure.
            sent.and(closed)
        }
    }
}

/// Sends a complete body together with the head and the end: doesn't wait for the client.
fn finish(store: &mut Store<HostState>, block: Vec<u8>) -> Result<(), Failure> {
    let state = store.data_mut();
    refuse_body(state)?;
    state
        .exchange
        .trace()
        .note(|| Step::Returned { bytes: block.len() });
    if let Response::Ready(head) = &mut state.response {
        // B4: the length of a single block is known. A declared length takes precedence, and is
        // checked against the actual one (B3).
        head.length.get_or_insert(block.len() as u64);
    }
    if !state.send_head() {
        return Err(Failure::NotStarted);
    }
    state.exchange.end(block);
    Ok(())
}

/// Sends a body block by block. Each is on its way before the next is requested (B1).
async fn send_blocks(
    application: &Application,
    store: &mut Store<HostState>,
    blocks: Blocks,
) -> Result<(), Failure> {
    store.data().exchange.iterate();
    store.data().exchange.trace().note(|| Step::Iterates);
    loop {
        let next = application.next(store, blocks).await;
        let Some(block) = flatten(next, store)? else {
            break;
        };
        let bytes = block.len();
        store.data().exchange.trace().note(|| Step::Block { bytes });
        if block.is_empty() {
            // R2: an empty block sends no head.
            continue;
        }
        refuse_body(store.data())?;
        if !store.data_mut().send_head() {
            return Err(Failure::NotStarted);
        }
        let exchange = store.data().exchange.clone();
        if exchange.send_block(block).await != Sent::Left {
            return Ok(());
        }
        if exchange.is_overfull() {
            break;
        }
    }
    refuse_body(store.data())?;
    if !store.data_mut().send_head() {
        return Err(Failure::NotStarted);
    }
    store.data().exchange.end(Vec::new());
    Ok(())
}

/// Detects a response to a lack of memory: frameworks answer an exception with status 500, and
/// running out of memory is one.
///
/// # Errors
///
/// Fails if the request body caused the lack of memory and no head has been sent.
fn refuse_body(state: &HostState) -> Result<(), Failure> {
    match (&state.response, state.body_denied) {
        (Response::Ready(head), Some(read_bytes)) if head.status == 500 => {
            Err(Failure::BodyMemory {
                read_bytes,
                budget_bytes: state.budget.memory_bytes,
                failure: None,
            })
        }
        _ => Ok(()),
    }
}

/// Calls `close`, whatever the outcome of the body (B2).
async fn close(
    application: &Application,
    store: &mut Store<HostState>,
    blocks: Blocks,
) -> Result<(), Failure> {
    let closed = application.close(store, blocks).await;
    let closed = flatten(closed, store);
    store.data().exchange.trace().note(|| {
        Step::Closed(match &closed {
            Ok(()) => Ok(()),
            Err(failure) => Err(failure.to_string()),
        })
    });
    closed?;
    // A fresh instance is dropped as a whole.
    if store.data().is_kept {
        let dropped = application.destroy(store, blocks).await;
        dropped.map_err(|trap| trap_failure(&trap, store.data_mut()))?;
    }
    Ok(())
}

/// Distinguishes an application's exception from a trap.
fn flatten<T>(
    result: wasmtime::Result<Result<T, Exception>>,
    store: &mut Store<HostState>,
) -> Result<T, Failure> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(exception)) => Err(Failure::Exception(exception.into())),
        Err(trap) => Err(trap_failure(&trap, store.data_mut())),
    }
}
