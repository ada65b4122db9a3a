//! What is served now: an immutable snapshot of routes, the handlers behind them, and what is
//! wrong in the handlers folder.
//!
//! A snapshot is never changed. Whoever finds a change (`reload`) builds a new one and publishes it
//! in [`Shared`]; a request keeps the [`Handler`] that it began with for as long as it needs it.
//!
//! The compiled program is a type parameter, so nothing in here knows wasmtime.

mod gate;
mod handler;
mod problem;
mod report;
mod shadow;
mod shared;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::router::{MatchedBy, RequestPath, Table};

pub use gate::{Gate, Pass};
pub use handler::{Handler, Version};
pub(crate) use problem::label;
pub use problem::{Problem, ProblemKind};
pub use report::{Describe, RouteTable, Row, RowState};
pub use shadow::shadowed_pages;
pub use shared::{Reader, Shared};

/// One state of the handlers folder.
#[derive(Debug)]
pub struct Registry<P> {
    folder: PathBuf,
    table: Table<Arc<Handler<P>>>,
    /// Sorted by name.
    handlers: Vec<Arc<Handler<P>>>,
    problems: Vec<Problem>,
}

/// A handler for a request, and how the request's path is shared out.
#[derive(Debug)]
pub struct Match<P> {
    /// Keeps this version alive until the request is over.
    pub handler: Arc<Handler<P>>,
    /// Decoded. Empty, or starts with `/` (rule E3).
    pub script_name: Vec<u8>,
    /// Decoded. Empty, or starts with `/`; behind `script_name` it makes the whole path (rule E3).
    pub path_info: Vec<u8>,
    /// What the names in brackets stand for, in the order of the route. Decoded.
    pub args: Vec<(String, Vec<u8>)>,
    /// Whether a page with this path is hidden by the handler, or goes first.
    pub by: MatchedBy,
}

impl<P> Registry<P> {
    /// A snapshot of `folder` that serves `handlers`.
    ///
    /// Of two handlers with the same route the first is served, and the second becomes a problem:
    /// `reload` decides such conflicts before it loads anything, by the rule in
    /// `reload::listing`.
    pub fn new(
        folder: PathBuf,
        handlers: impl IntoIterator<Item = Arc<Handler<P>>>,
        mut problems: Vec<Problem>,
    ) -> Registry<P> {
        let mut table = Table::new();
        let mut served = Vec::new();
        for handler in handlers {
            match table.insert(handler.route.clone(), Arc::clone(&handler)) {
                Ok(()) => served.push(handler),
                Err(handler) => {
                    let file = label(&folder, Path::new(&handler.file));
                    problems.push(Problem::conflict(file, &handler.route, "another file"));
                }
            }
        }
        served.sort_by(|one, other| one.name.cmp(&other.name));
        problems.sort();
        Registry {
            folder,
            table,
            handlers: served,
            problems,
        }
    }

    /// The handler for a path, if one has it: the longest and most literal route (see
    /// [`crate::router::Table`]). Whether a page goes first is in [`Match::by`].
    pub fn find(&self, path: &RequestPath) -> Option<Match<P>> {
        let found = self.table.find(path)?;
        let (script_name, path_info) = path.split_after(found.taken);
        Some(Match {
            handler: Arc::clone(found.value),
            script_name: script_name.to_vec(),
            path_info: path_info.to_vec(),
            args: found.args(path),
            by: found.by,
        })
    }

    /// The handlers folder, as it was given.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every handler that is served, sorted by name.
    pub fn handlers(&self) -> &[Arc<Handler<P>>] {
        &self.handlers
    }

    /// The handler with this name: `hello`, `users/[id]`.
    pub fn handler(&self, name: &str) -> Option<&Arc<Handler<P>>> {
        let at = self
            .handlers
            .binary_search_by(|handler| handler.name.as_str().cmp(name))
            .ok()?;
        self.handlers.get(at)
    }

    /// What is wrong in the folder, sorted by file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The routes as a table for people.
    pub fn route_table(&self) -> RouteTable
    where
        P: Describe,
    {
        RouteTable::of(self)
    }
}

#[cfg(test)]
impl Registry<()> {
    /// A registry for tests, of the handlers in files `<stem>.wasm`.
    fn example(stems: &[&str]) -> Registry<()> {
        let handlers = stems.iter().map(|stem| Arc::new(Handler::example(stem)));
        Registry::new("handlers".into(), handlers, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_shares_out_the_path() {
        let registry = Registry::example(&["hello", "users/[id]"]);
        let path = RequestPath::parse(b"/users/a%20b/c").expect("a path");
        let found = registry.find(&path).expect("a match");
        assert_eq!(found.handler.name, "users/[id]");
        assert_eq!(found.script_name, b"/users/a b");
        assert_eq!(found.path_info, b"/c");
        assert_eq!(found.args, [("id".to_owned(), b"a b".to_vec())]);
        assert_eq!(found.by, MatchedBy::Pattern);

        let path = RequestPath::parse(b"/nothing").expect("a path");
        assert!(registry.find(&path).is_none());
    }

    #[test]
    fn handlers_are_found_by_name() {
        let registry = Registry::example(&["users/[id]", "hello", "api/index"]);
        for name in ["users/[id]", "hello", "api/index"] {
            assert_eq!(registry.handler(name).expect(name).name, name);
        }
        assert!(registry.handler("api").is_none());
    }

    #[test]
    fn of_two_with_one_route_the_first_is_served() {
        let registry = Registry::example(&["[id]", "[name]"]);
        assert_eq!(registry.handlers().len(), 1);
        let [problem] = registry.problems() else {
            panic!("{:?}", registry.problems());
        };
        assert_eq!(problem.file, "handlers/[name].wasm");
        assert_eq!(problem.kind, ProblemKind::Conflict);
    }
}
