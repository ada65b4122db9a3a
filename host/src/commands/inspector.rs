//! What the admin listener tells of one serving process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::acme::Folder;
use crate::admin::{Inspect, Inspection, Phase, ProcessStatus};
use crate::engine::{Engine, Program};
use crate::host_name;
use crate::metrics::{Snapshot, Value as Metric, collect_process};
use crate::policy::Handlers;
use crate::published::Published;
use crate::registry::{Describe, Handler, Pending, Problem, Registry};
use crate::server::tls::CertificateFact;
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
    /// The folder of certificates that the server obtains, if it does so.
    pub(super) acme: Option<Folder>,
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
        let hosts = settings
            .hosts
            .as_ref()
            .map_or(&[][..], |table| table.hosts());
        let of_hosts = hosts.iter().map(|host| (host.registry(), host.policies()));
        let sites: Vec<_> = [(registry, &settings.policies)]
            .into_iter()
            .chain(of_hosts)
            .collect();
        let (mut handlers, mut problems) = (Vec::new(), Vec::new());
        for (registry, policies) in &sites {
            let served = registry.handlers().iter();
            let served = served.map(|one| handler(registry, one, policies.handlers()));
            let pending = registry.pending().iter();
            handlers.extend(served.chain(pending.map(|one| loading(registry, one))));
            problems.extend(registry.problems().iter().map(|one| problem(registry, one)));
        }
        let certificates = self.server.certificates();
        let registries = sites.iter().map(|(registry, _)| &**registry);
        let mut metrics = self.metrics(registries);
        for certificate in &certificates {
            if let Some(validity) = certificate.validity {
                let host = certificate.host.as_deref().unwrap_or_default();
                let end = Metric::Time(validity.end as f64);
                metrics.add("wasgi_tls_certificate_expiry_timestamp", &[host], end);
            }
        }
        for host in hosts {
            let name = host_name::full_name(Some(host.name()), "");
            host.others().collect(&name, &mut metrics);
        }
        Inspection {
            process: ProcessStatus {
                pid: std::process::id(),
                uptime_seconds: self.started.elapsed().as_secs_f64(),
                connections: self.server.connections(),
                instance_memory_bytes: self.engine.memory_used(),
            },
            handlers,
            problems,
            certificates: certificates.iter().map(|it| self.certificate(it)).collect(),
            failures: self.server.failures(),
            metrics,
        }
    }

    /// Describes a certificate.
    fn certificate(&self, fact: &CertificateFact) -> Value {
        let mut value = json!({
            "host": fact.host,
            "source": if fact.obtained_as.is_some() { "acme" } else { "file" },
            "valid-from": fact.validity.map(|it| it.start),
            "valid-until": fact.validity.map(|it| it.end),
        });
        if let (Some(folder), Some(name)) = (&self.acme, &fact.obtained_as)
            && let Some(members) = value.as_object_mut()
        {
            members.insert("failure".to_owned(), folder.failure(name).into());
        }
        value
    }

    fn metrics<'r>(&self, registries: impl Iterator<Item = &'r Registry<Program>>) -> Snapshot {
        let gauge = |count: usize| Metric::Gauge(count as f64);
        let mut all = Snapshot::default();
        collect_process(&mut all);
        self.server.others().collect("", &mut all);
        for handler in registries.flat_map(Registry::handlers) {
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
}

/// Describes a handler that is served.
fn handler(registry: &Registry<Program>, handler: &Handler<Program>, tables: &Handlers) -> Value {
    // An application is a folder, whose size says nothing.
    let file = registry.folder().join(&handler.file).metadata();
    let file = file.ok().filter(std::fs::Metadata::is_file);
    let (_, name) = host_name::split(&handler.name);
    let table = tables.table_of(name);
    let value = json!({
        "name": *handler.name,
        "route": registry.shown(&handler.route),
        "file": handler.file,
        "state": "served",
        "kind": Describe::kind(&handler.program),
        "version": handler.version.to_string(),
        "file-bytes": file.map(|file| file.len()),
        "in-flight": handler.usage.permits.taken(),
        "imports": handler.program.imports(),
        "grants": table.map_or(json!({}), |(_, table)| json!(table.grants().names())),
    });
    with_host(registry, value)
}

/// Describes a handler that is loaded for the first time.
fn loading(registry: &Registry<Program>, pending: &Pending) -> Value {
    let value = json!({
        "name": pending.name,
        "route": registry.shown(&pending.route),
        "file": pending.file,
        "state": "loading",
    });
    with_host(registry, value)
}

fn problem(registry: &Registry<Program>, problem: &Problem) -> Value {
    let value = json!({"file": problem.file, "kind": problem.kind.as_str(), "text": problem.text});
    with_host(registry, value)
}

/// Adds the virtual host that something belongs to.
fn with_host(registry: &Registry<Program>, mut value: Value) -> Value {
    if let (Some(host), Some(members)) = (registry.host(), value.as_object_mut()) {
        members.insert("host".to_owned(), host.into());
    }
    value
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
