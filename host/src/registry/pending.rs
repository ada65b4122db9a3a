//! A route whose handler has no version that can answer yet.

use crate::router::Route;

/// A handler's file whose first version is being loaded. Requests to its route are answered with
/// 503 and `Retry-After` until then.
#[derive(Debug)]
pub struct Pending {
    /// The handler's name, as [`Handler::name`](super::Handler::name) will be.
    pub name: String,
    /// What it will answer to.
    pub route: Route,
    /// The file's path in the handlers folder, with `/` between its parts.
    pub file: String,
    /// What its route means for others.
    pub claim: Claim,
}

/// Which requests a [`Pending`] handler keeps from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// All that its route matches, as once it is loaded. For files that were there when the server
    /// started: what pages or other routes would answer in its place is not what the site means.
    Route,
    /// Those that nothing else answers. For files that come later: what answered before them goes
    /// on to answer until they are loaded.
    Rest,
}
