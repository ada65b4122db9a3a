//! Handlers that attempt what their query asks for, and what is granted to them.

use std::fs;

use super::server::Server;
use super::site::Site;

/// Replaces the site's configuration as a whole, so that a server never sees a part of it.
pub(crate) fn configure(site: &Site, text: &str) {
    let aside = site.path().join("aside.toml");
    fs::write(&aside, text).expect("written");
    fs::rename(aside, site.path().join("wasgi.toml")).expect("renamed");
}

/// Returns the text of a handler's response, whose status must be 200.
#[track_caller]
pub(crate) fn ask(server: &Server, handler: &str, query: &str) -> String {
    let response = server.get(&format!("/{handler}?{query}"));
    assert_eq!(response.status(), 200, "{handler}?{query}");
    response.text().to_owned()
}
