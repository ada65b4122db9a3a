//! An immutable snapshot of the routes, the handlers that serve them, and the problems in the
//! handlers folder.
//!
//! A snapshot never changes. When `reload` finds a change, it builds a new snapshot and publishes
//! it in [`Published`](crate::published::Published). A request keeps the [`Handler`] that it
//! started with for as long as it needs it.
//!
//! The compiled program is a type parameter, so this module does not depend on wasmtime.

mod handler;
mod pending;
mod problem;
mod report;
mod shadow;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host_name;
use crate::router::{MatchedBy, RequestPath, Route, Table};

pub(crate) use handler::{Handler, Usage, Version};
pub(crate) use pending::{Claim, Pending, Step};
pub(crate) use problem::{Problem, ProblemKind};
pub(crate) use problem::{is_url, label};
pub(crate) use report::{Describe, RouteTable, Row, RowState};
pub(crate) use shadow::shadowed_pages;

/// One state of the handlers folder.
#[derive(Debug)]
pub(crate) struct Registry<P> {
    folder: PathBuf,
    /// The virtual host that the folder belongs to.
    host: Option<Arc<str>>,
    table: Table<Target<P>>,
    /// The routes of pending handlers that claim only requests that nothing else answers.
    rest: Table<Arc<Pending>>,
    /// Sorted by name.
    handlers: Vec<Arc<Handler<P>>>,
    /// Sorted by name.
    pending: Vec<Arc<Pending>>,
    problems: Vec<Problem>,
}

/// The target of a route.
#[derive(Debug)]
pub(crate) enum Target<P> {
    /// A loaded version. The reference keeps it alive until the request ends.
    Handler(Arc<Handler<P>>),
    /// A handler without a loaded version.
    Pending(Arc<Pending>),
}

/// The handler for a request, and how the request's path is divided.
#[derive(Debug)]
pub(crate) struct Match<P> {
    /// The handler.
    pub target: Target<P>,
    /// Decoded. Empty, or starts with `/` (rule E3).
    pub script_name: Vec<u8>,
    /// Decoded. Empty, or starts with `/`; appended to `script_name` it makes the whole path (rule
    /// E3).
    pub path_info: Vec<u8>,
    /// The values of the names in brackets, in the order of the route. Decoded.
    pub args: Vec<(String, Vec<u8>)>,
    /// Whether the handler takes precedence over a page with this path.
    pub by: MatchedBy,
}

impl<P> Registry<P> {
    /// Creates a snapshot of `folder` that serves `handlers`, with `pending` handlers that are
    /// being loaded. Omits a pending handler if its route is already in use.
    ///
    /// If two handlers have the same route, the first is served and the second becomes a problem:
    /// `reload` resolves such conflicts before it loads anything, by the rule in `reload::listing`.
    pub(crate) fn new(
        folder: PathBuf,
        handlers: impl IntoIterator<Item = Arc<Handler<P>>>,
        mut pending: Vec<Arc<Pending>>,
        mut problems: Vec<Problem>,
    ) -> Registry<P> {
        let mut table = Table::new();
        let mut served = Vec::new();
        for handler in handlers {
            let target = Target::Handler(Arc::clone(&handler));
            match table.insert(handler.route.clone(), target) {
                Ok(()) => served.push(handler),
                Err(_) => {
                    let file = label(&folder, Path::new(&handler.file));
                    problems.push(Problem::conflict(file, &handler.route, "another file"));
                }
            }
        }
        let mut rest = Table::new();
        pending.retain(|one| {
            let route = one.route.clone();
            match one.claim {
                Claim::Route => table.insert(route, Target::Pending(one.clone())).is_ok(),
                Claim::Rest => rest.insert(route, one.clone()).is_ok(),
            }
        });
        served.sort_by(|one, other| one.name.cmp(&other.name));
        pending.sort_by(|one, other| one.name.cmp(&other.name));
        problems.sort();
        Registry {
            folder,
            host: None,
            table,
            rest,
            handlers: served,
            pending,
            problems,
        }
    }

    /// Makes the snapshot that of a virtual host, which has the names of its handlers.
    pub(crate) fn of_host(mut self, host: Arc<str>) -> Registry<P> {
        self.host = Some(host);
        self
    }

    /// Returns the virtual host that the folder belongs to.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns a route as it is shown: with the virtual host, if the folder belongs to one.
    pub(crate) fn shown(&self, route: &Route) -> String {
        match &self.host {
            Some(host) => format!("//{host}{route}"),
            None => route.to_string(),
        }
    }

    /// Finds the target of a path: the longest and most literal route (see
    /// [`crate::router::Table`]). [`Match::by`] says whether a page takes precedence.
    pub(crate) fn find(&self, path: &RequestPath) -> Option<Match<P>> {
        let found = self.table.find(path)?;
        let (script_name, path_info) = path.split_after(found.taken);
        Some(Match {
            target: found.value.clone(),
            script_name: script_name.to_vec(),
            path_info: path_info.to_vec(),
            args: found.args(path),
            by: found.by,
        })
    }

    /// Returns the pending handler, if any, for a path that neither a route nor a page answers.
    pub(crate) fn find_rest(&self, path: &RequestPath) -> Option<Arc<Pending>> {
        self.rest.find(path).map(|found| Arc::clone(found.value))
    }

    /// Returns the handlers folder, as it was configured.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns all loaded handlers, sorted by name.
    pub(crate) fn handlers(&self) -> &[Arc<Handler<P>>] {
        &self.handlers
    }

    /// Returns the handler with this name: `hello`, `users/[id]`.
    pub(crate) fn handler(&self, name: &str) -> Option<&Arc<Handler<P>>> {
        let at = self
            .handlers
            .binary_search_by(|handler| (*handler.name).cmp(name))
            .ok()?;
        self.handlers.get(at)
    }

    /// Returns all handlers that are being loaded and have no loaded version, sorted by name.
    pub(crate) fn pending(&self) -> &[Arc<Pending>] {
        &self.pending
    }

    /// Returns the pending handler with this name.
    pub(crate) fn pending_handler(&self, name: &str) -> Option<&Arc<Pending>> {
        let at = self
            .pending
            .binary_search_by(|pending| pending.name.as_str().cmp(name))
            .ok()?;
        self.pending.get(at)
    }

    /// Returns the problems in the folder, sorted by file.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the names of all handlers whose files exist, whether they are loaded or not; without
    /// the virtual host.
    pub(crate) fn handler_names(&self) -> Vec<String> {
        let in_folder = |name: &str| host_name::split(name).1.to_owned();
        let served = self.handlers().iter().map(|one| in_folder(&one.name));
        let pending = self.pending().iter().map(|one| in_folder(&one.name));
        let broken = self.problems().iter();
        let broken = broken.filter_map(|problem| problem.name(self.folder()).map(str::to_owned));
        served.chain(pending).chain(broken).collect()
    }

    /// Returns the routes as a human-readable table.
    pub(crate) fn route_table(&self) -> RouteTable
    where
        P: Describe,
    {
        RouteTable::from_registry(self)
    }
}

impl<P> Clone for Target<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Handler(handler) => Self::Handler(Arc::clone(handler)),
            Self::Pending(pending) => Self::Pending(Arc::clone(pending)),
        }
    }
}

#[cfg(test)]
impl Target<()> {
    /// Returns the name of the handler, with a mark if it is pending.
    fn shown(&self) -> String {
        match self {
            Self::Handler(handler) => handler.name.to_string(),
            Self::Pending(pending) => format!("{} (pending)", pending.name),
        }
    }
}

#[cfg(test)]
impl Registry<()> {
    /// Creates a registry for tests from the files `<stem>.wasm`.
    fn example(stems: &[&str]) -> Registry<()> {
        let handlers = stems.iter().map(|stem| Arc::new(Handler::example(stem)));
        Registry::new("handlers".into(), handlers, Vec::new(), Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_divides_the_path() {
        let registry = Registry::example(&["hello", "users/[id]"]);
        let path = RequestPath::parse(b"/users/a%20b/c").expect("a path");
        let found = registry.find(&path).expect("a match");
        assert_eq!(found.target.shown(), "users/[id]");
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
            assert_eq!(registry.handler(name).expect(name).name.as_ref(), name);
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

    #[test]
    fn a_pending_handler_claims_its_route_or_what_is_left_of_it() {
        let handlers = ["[...all]", "api/index"].map(|stem| Arc::new(Handler::example(stem)));
        let pending = |stem: &str, claim| {
            Arc::new(Pending {
                name: stem.to_owned(),
                route: Route::parse(stem).expect("a route"),
                file: format!("{stem}.wasm"),
                claim,
                step: Step::Load,
            })
        };
        let pending = vec![
            pending("shop", Claim::Route),
            pending("late", Claim::Rest),
            pending("api", Claim::Rest),
        ];
        let registry = Registry::new("handlers".into(), handlers, pending, Vec::new());
        let names: Vec<&str> = registry.pending().iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["api", "late", "shop"]);
        for (path, found, rest) in [
            ("/shop/1", Some("shop (pending)"), None),
            ("/late", Some("[...all]"), Some("late")),
            ("/api", Some("api/index"), Some("api")),
            ("/", None, None),
        ] {
            let path = RequestPath::parse(path.as_bytes()).expect("a path");
            let shown = registry.find(&path).map(|found| found.target.shown());
            assert_eq!(shown.as_deref(), found, "{path:?}");
            let shown = registry.find_rest(&path).map(|found| found.name.clone());
            assert_eq!(shown.as_deref(), rest, "{path:?}");
        }
    }
}
