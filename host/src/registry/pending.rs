//! A route whose handler has no loaded version yet.

use crate::router::Route;

/// A handler's file whose first version is being built or loaded. Until then, requests to its route
/// get a 503 response with `Retry-After`.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The handler's name, as in [`Handler::name`](super::Handler::name).
    pub name: String,
    /// The route that the handler will serve.
    pub route: Route,
    /// The file's path in the handlers folder, with `/` between its parts.
    pub file: String,
    /// The requests that the handler claims while it is pending.
    pub claim: Claim,
    /// What is being done.
    pub step: Step,
}

/// What is being done for a [`Pending`] handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its compiler builds it.
    Build,
    /// The server loads it.
    Load,
}

/// The requests that a [`Pending`] handler claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// All requests that its route matches, as when it is loaded. Used for files that exist when
    /// the server starts: the site does not intend other routes or pages to answer in their place.
    Route,
    /// Only requests that nothing else answers. Used for files added later: an existing route or
    /// page continues to answer until they are loaded.
    Rest,
}
