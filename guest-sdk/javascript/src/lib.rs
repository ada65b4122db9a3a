//! The runtime that the server loads JavaScript handlers with: QuickJS, the global scope of web
//! servers (`platform/`), and the binding to the contract.
//!
//! A compiling process calls `load` with a plan: the handler's module is evaluated, and the server
//! takes a snapshot of the memory. The instance of each request starts there.
//!
//! - `exports` has the functions that the server calls.
//! - `engine` has the interpreter, and `event_loop` runs it until a promise is settled.
//! - `modules` finds and loads modules.
//! - `load` follows a plan; `serve` handles a request.
//! - `host` has the functions that the platform's code calls, `client` those for requests to other
//!   hosts, `kv` those for key-value buckets, and `url` those for URLs.
//! - `foreign` has the functions of C that have no safe form.

mod bindings;
mod client;
mod engine;
mod event_loop;
mod exports;
mod failure;
mod foreign;
mod host;
mod kv;
mod load;
mod modules;
mod packages;
mod reason;
mod serve;
mod url;
