//! Tests of the complete program: each test starts the real server with its own site, and uses
//! sockets, files and signals.
//!
//! `cargo xtask test` builds the handlers that are served. No test measures time: see `support`.

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod acme;
mod admin;
mod bodies;
mod build;
mod builds;
mod bundle;
mod cgi;
mod check;
mod cold_start;
mod colours;
mod completions;
mod compression;
mod confinement;
mod contract;
mod dashboard;
mod databases;
mod deps;
mod dev;
mod doctor;
mod documents;
mod early;
mod expectations;
mod fairness;
mod files;
mod generated;
mod grants;
mod hostile;
mod hosts;
mod http;
mod isolation;
mod javascript;
mod lifecycle;
mod lingering;
mod live_grants;
mod logs;
mod main_job;
mod many;
mod memory;
mod messages;
mod metrics;
mod oci;
mod outbound;
mod overlap;
mod processes;
mod projects;
mod proxy;
mod python;
mod reload;
mod request_id;
mod reuse;
mod saves;
mod scripts;
mod service_manager;
mod settings;
mod state;
mod stress;
mod templates;
mod tls;
mod top;
mod traces;
mod traps;
mod trial;
mod upgrade;
mod waiting;
mod wasi_http;
