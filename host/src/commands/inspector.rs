//! What the admin listener tells of one serving process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::admin::{Inspect, Inspection, Phase, ProcessStatus};
use crate::engine::{Engine, Program};
use crate::metrics::{Snapshot, Value as Metric, collect_process};
use crate::policy::Handlers;
use crate::published::Published;
use crate::registry::{Describe, Handler, Registry};
use crate::server::{ServerView, Settings};

/// A view of a serving process. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Inspector {
    pub(super) engine: Engine,
    pub(super) registry: Arc<Published<Registry<Program>>>,
    pub(super) settings: Arc<Published<Settings>>,
    pub(super) server: ServerView,
    pub(super) started: Instant,
    pub(super) progress: Arc<Progress>,
}

/// How far a serving process is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The handlers that existed at the start are loaded, or have failed to load.
    has_loaded: AtomicBool,
    is_draining: AtomicBool,
}

impl Progress {
    pub(super) fn loaded(&self) {
        self.has_loaded.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_loaded(&self) -> bool {
        self.has_loaded.load(Ordering::Relaxed)
    }

    pub(super) fn drains(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}

impl Inspector {
    /// Returns the state of this process.
    pub(super) fn inspection(&self) -> Inspection {
        let registry = self.registry.current();
        let settings = self.settings.current();
        let handlers = settings.policies.handlers();
        let served = registry.handlers().iter();
        let served = served.map(|handler| self.handler(&registry, handler, handlers));
        let pending = registry.pending().iter().map(|pending| {
            json!({
                "name": pending.name,
                "route": pending.route.to_string(),
                "file": pending.file,
                "state": "loading",
            })
        });
        let problems = registry.problems().iter().map(|problem| {
            json!({"file": problem.file, "kind": problem.kind.as_str(), "text": problem.text})
        });
        Inspection {
            process: ProcessStatus {
                pid: std::process::id(),
                uptime_seconds: self.started.elapsed().as_secs_f64(),
                connections: self.server.connections(),
                instance_memory_bytes: self.engine.memory_used(),
            },
            handlers: served.chain(pending).collect(),
            problems: problems.collect(),
            failures: self.server.failures(),
            metrics: self.metrics(&registry),
        }
    }

    fn metrics(&self, registry: &Registry<Program>) -> Snapshot {
        let gauge = |count: usize| Metric::Gauge(count as f64);
        let mut all = Snapshot::default();
        collect_process(&mut all);
        self.server.others().collect("", &mut all);
        for handler in registry.handlers() {
            let name = &*handler.name;
            handler.usage.counts.collect(name, &mut all);
            let usage = &handler.usage;
            let in_flight = gauge(usage.permits.taken());
            all.add("wasgi_http_requests_in_flight", &[name], in_flight);
            all.add(
                "wasgi_http_requests_queued",
                &[name],
                gauge(usage.queue.taken()),
            );
            let version = handler.version.to_string();
            let memory = gauge(handler.program.memory_used());
            all.add("wasgi_handler_memory", &[name, &version], memory);
            let kind = Describe::kind(&handler.program);
            all.add("wasgi_handler_info", &[name, &version, kind], Metric::Fact);
        }
        all.add("wasgi_connections", &[], gauge(self.server.connections()));
        all.add(
            "wasgi_instance_memory",
            &[],
            gauge(self.engine.memory_used()),
        );
        all
    }

    fn handler(
        &self,
        registry: &Registry<Program>,
        handler: &Handler<Program>,
        tables: &Handlers,
    ) -> Value {
        // An application is a folder, whose size says nothing.
        let file = registry.folder().join(&handler.file).metadata();
        let file = file.ok().filter(std::fs::Metadata::is_file);
        let table = tables.table_of(&handler.name);
        json!({
            "name": *handler.name,
            "route": handler.route.to_string(),
            "file": handler.file,
            "state": "served",
            "kind": Describe::kind(&handler.program),
            "version": handler.version.to_string(),
            "file-bytes": file.map(|file| file.len()),
            "in-flight": handler.usage.permits.taken(),
            "imports": handler.program.imports(),
            "grants": table.map_or(json!({}), |(_, table)| json!(table.grants().names())),
        })
    }
}

impl Inspect for Inspector {
    fn phase(&self) -> Phase {
        if self.progress.is_draining.load(Ordering::Relaxed) {
            Phase::Draining
        } else if self.progress.has_loaded.load(Ordering::Relaxed) {
            Phase::Ready
        } else {
            Phase::Starting
        }
    }

    fn inspect(&self) -> Vec<Inspection> {
        vec![self.inspection()]
    }
}
