//! The program's commands, one per file. Their arguments are in `cli`.

mod build;
mod check;
mod compile;
mod completions;
mod config;
mod deps;
mod dev;
mod doctor;
mod inspector;
mod new;
mod projects;
mod routes;
mod run;
mod serve;
mod service;
mod site;
mod state;
mod test;
mod wit;
mod worker;

pub use build::build;
pub use check::check;
pub use compile::compile_for_server;
pub use completions::{completions, man};
pub use config::config;
pub use deps::deps;
pub use dev::dev;
pub use doctor::doctor;
pub use new::new;
pub use routes::routes;
pub use run::run;
pub use serve::serve;
pub use state::state;
pub use test::test;
pub use wit::wit;
