//! The human-readable route table, printed by `wasgi routes` and by `wasgi serve` at startup.

use std::fmt;

use serde_json::{Value, json};

use super::{Problem, Registry, Step, problem};

/// Properties of a compiled program that the route table shows.
pub(crate) trait Describe {
    /// Returns the kind of handler, in a word or two.
    fn kind(&self) -> &str;

    /// Returns the names of the interfaces that it imports beyond those of its kind. Empty if it
    /// has no further imports.
    fn imports(&self) -> Vec<String>;
}

/// The routes, each with its handler, and the problems.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteTable {
    /// One row per handler, sorted by route.
    pub rows: Vec<Row>,
    /// Sorted by file. The caller can add more, for example those of [`super::shadowed_pages`].
    pub problems: Vec<Problem>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    /// `/users/[id]`, or `//example.com/users/[id]` of a virtual host.
    pub route: String,
    /// The file, prefixed with the folder as it was configured.
    pub file: String,
    /// See [`Describe::kind`].
    pub kind: String,
    /// See [`Describe::imports`].
    pub imports: Vec<String>,
    /// Whether the handler is loaded.
    pub state: RowState,
    /// The keys of the grants that the handler has.
    pub granted: Vec<&'static str>,
    /// The keys of the grants for its imports that it doesn't have.
    pub not_granted: Vec<&'static str>,
}

/// The state of a route's handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RowState {
    /// The handler is loaded and serves requests.
    Served,
    /// The handler is being built for the first time. Requests get a 503 until then.
    Building,
    /// The handler is being loaded for the first time. Requests get a 503 until then.
    Loading,
    /// The handler failed to load. The problems give the reason.
    Broken,
}

impl RouteTable {
    pub(super) fn from_registry<P: Describe>(registry: &Registry<P>) -> RouteTable {
        let row = |handler: &super::Handler<P>| Row {
            route: registry.shown(&handler.route),
            file: problem::label(registry.folder(), handler.file.as_ref()),
            kind: handler.program.kind().to_owned(),
            imports: handler.program.imports(),
            state: RowState::Served,
            granted: Vec::new(),
            not_granted: Vec::new(),
        };
        let mut rows: Vec<Row> = registry.handlers().iter().map(|h| row(h)).collect();
        rows.extend(registry.pending().iter().map(|pending| Row {
            route: registry.shown(&pending.route),
            file: problem::label(registry.folder(), pending.file.as_ref()),
            kind: "-".to_owned(),
            imports: Vec::new(),
            state: match pending.step {
                Step::Build => RowState::Building,
                Step::Load => RowState::Loading,
            },
            granted: Vec::new(),
            not_granted: Vec::new(),
        }));
        rows.extend(registry.problems().iter().filter_map(|problem| {
            let route = problem.broken_route(registry.folder())?;
            Some(Row {
                route: registry.shown(&route),
                file: problem.file.clone(),
                kind: "-".to_owned(),
                imports: Vec::new(),
                state: RowState::Broken,
                granted: Vec::new(),
                not_granted: Vec::new(),
            })
        }));
        rows.sort();
        RouteTable {
            rows,
            problems: registry.problems().to_vec(),
        }
    }
}

impl Row {
    /// Returns the imports and the grants.
    fn details(&self) -> String {
        let mut details = match self.imports.is_empty() {
            true => "-".to_owned(),
            false => self.imports.join(", "),
        };
        for (what, keys) in [
            ("granted", &self.granted),
            ("not granted", &self.not_granted),
        ] {
            if !keys.is_empty() {
                details += &format!("; {what}: {}", keys.join(", "));
            }
        }
        details
    }
}

impl RowState {
    /// Returns the state as one word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Building => "building",
            Self::Loading => "loading",
            Self::Broken => "broken",
        }
    }
}

impl RouteTable {
    /// Returns the table as JSON: `{"routes": [{"route", "file", "kind", "state", "imports",
    /// "granted", "not-granted"}], "problems": [{"file", "kind", "text"}]}`.
    pub(crate) fn json(&self) -> Value {
        let routes: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "route": row.route,
                    "file": row.file,
                    "kind": row.kind,
                    "state": row.state.as_str(),
                    "imports": row.imports,
                    "granted": row.granted,
                    "not-granted": row.not_granted,
                })
            })
            .collect();
        let problems: Vec<Value> = self
            .problems
            .iter()
            .map(|problem| {
                json!({
                    "file": problem.file,
                    "kind": problem.kind.as_str(),
                    "text": problem.text,
                })
            })
            .collect();
        json!({ "routes": routes, "problems": problems })
    }
}

impl RouteTable {
    /// Appends the routes and problems of another site: a virtual host.
    pub(crate) fn append(&mut self, other: RouteTable) {
        self.rows.extend(other.rows);
        self.problems.extend(other.problems);
    }

    /// Returns a table of the problems without the routes.
    pub(crate) fn problems_alone(&self) -> RouteTable {
        RouteTable {
            rows: Vec::new(),
            problems: self.problems.clone(),
        }
    }

    /// Returns the table with the imports of each handler.
    pub(crate) fn verbose(&self) -> impl fmt::Display {
        fmt::from_fn(|f| self.write(f, true))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, with_imports: bool) -> fmt::Result {
        let width = |column: fn(&Row) -> &str| {
            let widths = self.rows.iter().map(|row| column(row).chars().count());
            widths.max().unwrap_or(0)
        };
        let route_width = width(|row| &row.route);
        let file_width = width(|row| &row.file);
        let kind_width = width(|row| &row.kind);
        for row in &self.rows {
            let last = match row.state {
                RowState::Building => "not built yet".to_owned(),
                RowState::Loading => "not loaded yet".to_owned(),
                RowState::Broken => "broken".to_owned(),
                RowState::Served if !with_imports => String::new(),
                RowState::Served => row.details(),
            };
            let line = format!(
                "{:route_width$}  {:file_width$}  {:kind_width$}  {last}",
                row.route, row.file, row.kind
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        Ok(())
    }
}

/// One line per route, with aligned columns, then one line per problem.
impl fmt::Display for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::registry::{Handler, ProblemKind};

    impl Describe for () {
        fn kind(&self) -> &str {
            "gateway"
        }

        fn imports(&self) -> Vec<String> {
            Vec::new()
        }
    }

    #[test]
    fn columns_are_aligned() {
        let handlers = ["users/[id]", "index", "café"].map(|stem| Arc::new(Handler::example(stem)));
        let text = "not a handler";
        let problem = Problem::new("handlers/a.txt".into(), ProblemKind::NotAHandler, text);
        let registry = Registry::new("handlers".into(), handlers, Vec::new(), vec![problem]);
        let mut table = registry.route_table();
        table.rows[1].imports = vec!["wasi:clocks".into(), "wasi:random".into()];
        table.rows[1].not_granted = vec!["files"];
        table.rows[2].granted = vec!["environment", "files"];
        assert_eq!(
            table.to_string(),
            "\
/            handlers/index.wasm       gateway
/café        handlers/café.wasm        gateway
/users/[id]  handlers/users/[id].wasm  gateway
problem: handlers/a.txt: not a handler
"
        );
        assert_eq!(
            table.problems_alone().to_string(),
            "problem: handlers/a.txt: not a handler\n"
        );
        assert_eq!(
            table.verbose().to_string(),
            "\
/            handlers/index.wasm       gateway  -
/café        handlers/café.wasm        gateway  wasi:clocks, wasi:random; not granted: files
/users/[id]  handlers/users/[id].wasm  gateway  -; granted: environment, files
problem: handlers/a.txt: not a handler
"
        );
    }

    #[test]
    fn an_empty_table_is_empty() {
        let registry: Registry<()> = Registry::new("handlers".into(), [], Vec::new(), Vec::new());
        assert_eq!(registry.route_table().to_string(), "");
    }
}
