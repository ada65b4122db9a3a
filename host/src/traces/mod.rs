//! Traces of requests, for OpenTelemetry: spans are sent to a collector by OTLP over HTTP. They are
//! off unless the standard variables name a collector, and cost nothing then.
//!
//! - `options`, `sampler`: the standard variables.
//! - `context`: `traceparent` and `tracestate`, by which requests carry their trace.
//! - `request`: the spans of one request.
//! - `queue`: the spans that wait for their export, bounded.
//! - `exporter`: the thread that sends them. A collector that is away, slow or broken delays no
//!   request: spans are dropped and counted.
//! - `message`: the messages of OTLP, in the format of `protobuf`.

mod context;
mod exporter;
mod message;
mod options;
mod protobuf;
mod queue;
mod request;
mod sampler;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

pub(crate) use self::context::SpanContext;
use self::options::{Parsed, TraceOptions};
use self::queue::Queue;
#[allow(unreachable_pub, reason = "the environ has it")]
pub use self::request::RequestTrace;
pub(crate) use self::request::{ActiveSpan, Attribute, SpanKind};
use self::sampler::Sampler;

/// The field that carries the context of a trace.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The field that carries what other systems know about a trace.
pub(crate) const TRACESTATE: &str = "tracestate";

/// How long the end of the process waits for the collector to accept the last spans.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// Records traces. Dropping it sends the last spans; see [`Tracer::finish`].
#[derive(Debug)]
pub(crate) struct Tracer {
    queue: Arc<Queue>,
    sampler: Sampler,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Returns the port of the collector that the environment's variables name, if they do.
pub(crate) fn collector_port() -> Option<u16> {
    let variable = |name: &str| std::env::var(name).ok();
    // What is invalid is logged when traces start.
    match TraceOptions::from_variables(variable, &mut |_| {}) {
        Parsed::Off => None,
        Parsed::On(options) => Some(options.endpoint.port),
    }
}

impl Tracer {
    /// Starts to record traces if the environment's variables say so. Logs a warning for each
    /// variable that is invalid.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a thread.
    pub(crate) fn start() -> anyhow::Result<Option<Arc<Self>>> {
        let variable = |name: &str| std::env::var(name).ok();
        let mut warn = |line: String| tracing::warn!("{line}");
        match TraceOptions::from_variables(variable, &mut warn) {
            Parsed::Off => Ok(None),
            Parsed::On(options) => Self::with_options(*options).map(Some),
        }
    }

    fn with_options(options: TraceOptions) -> anyhow::Result<Arc<Self>> {
        let queue = Arc::new(Queue::new(options.batch));
        let sampler = options.sampler;
        tracing::info!("traces are sent to {}", options.endpoint);
        let thread = thread::Builder::new()
            .name("wasgi-traces".into())
            .spawn({
                let queue = queue.clone();
                move || exporter::run(&options, &queue)
            })
            .context("could not start the thread of traces")?;
        Ok(Arc::new(Self {
            queue,
            sampler,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Sends the last spans. Waits for at most two seconds. Later spans are dropped.
    pub(crate) fn finish(&self) {
        self.queue.close();
        let until = Instant::now() + FLUSH_TIME;
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if self.queue.wait_for_end(until)
            && let Some(thread) = thread.take()
        {
            // A thread that panicked has already printed a message.
            let _ = thread.join();
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.finish();
    }
}
