//! Reloading: the server serves the current contents of the folders.

mod broken;
mod files;
mod folders;
mod shortages;
mod under_load;

use crate::support::eventually;
use crate::support::server::Server;

/// Waits until `target` is answered with `text`.
#[track_caller]
fn expect_text(server: &Server, target: &str, text: &str) {
    eventually(&format!("{target} answers {text:?}"), || {
        let response = server.get(target);
        response.status() == 200 && response.text() == text
    });
}

#[track_caller]
fn expect_missing(server: &Server, target: &str) {
    eventually(&format!("{target} is gone"), || {
        server.get(target).status() == 404
    });
}
