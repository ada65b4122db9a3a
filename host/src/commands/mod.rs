//! What the program's commands do: each in a file of its own. Their arguments are in `cli`.

mod config;
mod routes;
mod serve;
mod site;

pub use config::config;
pub use routes::routes;
pub use serve::serve;
