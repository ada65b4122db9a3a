//! Decides which route a request takes.
//!
//! A route of `k` segments matches a path whose first `k` segments match; the rest of the path is
//! the handler's `PATH_INFO`. If several routes match, the order of precedence is:
//!
//! 1. the longest route, counted in its own segments (`[...rest]` counts as one);
//! 2. then the most literal one, compared segment by segment from the left: a literal before `[id]`
//!    before `[...rest]`. One exception: an `[id]` that leaves part of the path unmatched comes
//!    after `[...rest]`. If a folder has both, `[id]` gets paths of one segment and `[...rest]`
//!    gets longer ones.
//!
//! So `/users/new` goes to `users/new` and not to `users/[id]`, and `/users/7/posts` to
//! `users/[id]/posts`, while `/users/7/likes` falls back to `users/[...rest]`.
//!
//! The routes form a tree with a level for each segment. A lookup visits each node at most once,
//! and at most [`MAX_SEGMENTS`](super::route::MAX_SEGMENTS) levels, regardless of the path's
//! length.

use std::collections::BTreeMap;

use super::path::RequestPath;
use super::route::{Route, Segment};

/// A set of routes, each with a value.
#[derive(Debug)]
pub struct Table<T> {
    root: Node<T>,
}

/// The route that matches a path.
#[derive(Debug)]
pub struct Found<'t, T> {
    /// The value of the route.
    pub value: &'t T,
    /// The route itself.
    pub route: &'t Route,
    /// The number of the path's segments in `SCRIPT_NAME`; the others form `PATH_INFO`. This is the
    /// length of the route without `[...rest]`, whose part of the path is both in `PATH_INFO` and
    /// bound.
    pub taken: usize,
    /// Whether the route takes precedence over pages.
    pub by: MatchedBy,
}

/// The specificity of a match, which decides between a handler and a page with the same path:
/// [`Name`](Self::Name) hides the page, [`Pattern`](Self::Pattern) yields to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchedBy {
    /// Every segment is literal, and the path equals the route or is below it. An `index` matches
    /// exactly its folder.
    Name,
    /// The route has a name in brackets, or the path is below an `index`.
    Pattern,
}

#[derive(Debug)]
struct Node<T> {
    /// Ordered rather than hashed: a few comparisons cost less than hashing a name, and names that
    /// a client chooses cannot increase the number of comparisons.
    literals: BTreeMap<Box<[u8]>, Node<T>>,
    one: Option<Box<Node<T>>>,
    rest: Option<Entry<T>>,
    /// The route that ends at this node.
    here: Option<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    route: Route,
    value: T,
}

impl<T> Table<T> {
    /// Creates a table without routes.
    pub fn new() -> Table<T> {
        Table { root: Node::new() }
    }

    /// Adds a route.
    ///
    /// # Errors
    ///
    /// Returns `value` if the table already has a route of the same [shape](Route::shape).
    pub fn insert(&mut self, route: Route, value: T) -> Result<(), T> {
        let mut node = &mut self.root;
        let mut ends_in_rest = false;
        for segment in route.segments() {
            match segment {
                Segment::Literal(text) => {
                    let name: Box<[u8]> = text.as_bytes().into();
                    node = node.literals.entry(name).or_insert_with(Node::new);
                }
                Segment::One(_) => node = node.one.get_or_insert_with(|| Box::new(Node::new())),
                Segment::Rest(_) => ends_in_rest = true,
            }
        }
        let place = match ends_in_rest {
            true => &mut node.rest,
            false => &mut node.here,
        };
        if place.is_some() {
            return Err(value);
        }
        *place = Some(Entry { route, value });
        Ok(())
    }

    /// Finds the route that `path` takes, if any. Does not allocate.
    pub fn find(&self, path: &RequestPath) -> Option<Found<'_, T>> {
        let mut best = None;
        self.root.search(path, 0, &mut best);
        best.map(|entry| entry.found(path))
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table::new()
    }
}

impl<T> Found<'_, T> {
    /// Returns the values of the names in brackets in `path`, in the order of the route. The values
    /// are decoded bytes. The value of a `[...rest]` keeps the inner and trailing slashes of the
    /// path.
    pub fn args(&self, path: &RequestPath) -> Vec<(String, Vec<u8>)> {
        let mut args = Vec::new();
        for (segment, value) in self.route.segments().iter().zip(path.segments()) {
            match segment {
                Segment::Literal(_) => {}
                Segment::One(name) => args.push((name.clone(), value.to_vec())),
                Segment::Rest(name) => {
                    let (_, tail) = path.split_after(self.taken);
                    let tail = tail.strip_prefix(b"/").unwrap_or(tail);
                    args.push((name.clone(), tail.to_vec()));
                }
            }
        }
        args
    }
}

impl<T> Node<T> {
    fn new() -> Node<T> {
        Node {
            literals: BTreeMap::new(),
            one: None,
            rest: None,
            here: None,
        }
    }

    /// Stores the best route of this node and its descendants in `best`. Searches from the most to
    /// the least literal, so of two routes with the same length the first one found takes
    /// precedence.
    fn search<'t>(&'t self, path: &RequestPath, depth: usize, best: &mut Option<&'t Entry<T>>) {
        if let Some(name) = path.segments().nth(depth) {
            if let Some(node) = self.literals.get(name) {
                node.search(path, depth + 1, best);
            }
            if let Some(node) = &self.one
                && !name.is_empty()
            {
                node.search(path, depth + 1, best);
            }
            self.offer_rest(path, depth, best);
        }
        if let Some(here) = &self.here
            && best.is_none_or(|best| best.length() < depth)
        {
            *best = Some(here);
        }
    }

    fn offer_rest<'t>(&'t self, path: &RequestPath, depth: usize, best: &mut Option<&'t Entry<T>>) {
        let Some(rest) = &self.rest else { return };
        if path.segments().skip(depth).all(<[u8]>::is_empty) {
            return;
        }
        let wins = best.is_none_or(|best| {
            let leaves_some = path.segment_count() > depth + 1;
            best.length() < rest.length() || (leaves_some && self.is_one(best))
        });
        if wins {
            *best = Some(rest);
        }
    }

    /// Reports whether `entry` is the `[id]` of this node.
    fn is_one(&self, entry: &Entry<T>) -> bool {
        let one = self.one.as_ref().and_then(|node| node.here.as_ref());
        one.is_some_and(|one| std::ptr::eq(one, entry))
    }
}

impl<T> Entry<T> {
    fn length(&self) -> usize {
        self.route.segments().len()
    }

    fn found(&self, path: &RequestPath) -> Found<'_, T> {
        let rest = matches!(self.route.segments().last(), Some(Segment::Rest(_)));
        let below = path.segment_count() > self.length();
        let by = match self.route.is_literal() && !(self.route.is_index() && below) {
            true => MatchedBy::Name,
            false => MatchedBy::Pattern,
        };
        Found {
            value: &self.value,
            route: &self.route,
            taken: self.length() - usize::from(rest),
            by,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(stems: &[&str]) -> Table<String> {
        let mut table = Table::new();
        for stem in stems {
            let route = Route::parse(stem).unwrap_or_else(|why| panic!("{stem}: {why}"));
            table
                .insert(route, (*stem).to_owned())
                .expect("no conflict");
        }
        table
    }

    fn path(raw: &str) -> RequestPath {
        RequestPath::parse(raw.as_bytes()).unwrap_or_else(|why| panic!("{raw}: {why}"))
    }

    /// Formats a match as `file by SCRIPT_NAME|PATH_INFO name=value …`, or `-` if no route matches.
    fn answer(table: &Table<String>, raw: &str) -> String {
        let path = path(raw);
        let Some(found) = table.find(&path) else {
            return "-".into();
        };
        let (script_name, path_info) = path.split_after(found.taken);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut answer = format!(
            "{} {:?} {}|{}",
            found.value,
            found.by,
            text(script_name),
            text(path_info)
        );
        for (name, value) in found.args(&path) {
            answer += &format!(" {name}={}", text(&value));
        }
        answer
    }

    #[test]
    fn a_literal_route_matches_the_paths_below_it() {
        let table = table(&["hello", "api/users", "api/index"]);
        let cases = [
            ("/hello", "hello Name /hello|"),
            ("/hello/", "hello Name /hello|/"),
            ("/hello/a/b", "hello Name /hello|/a/b"),
            ("/hello//x/", "hello Name /hello|//x/"),
            ("/%68ello/a%2Fb", "hello Name /hello|/a/b"),
            ("/x/../hello", "hello Name /hello|"),
            ("/hello%2Fa", "-"),
            ("/hellox", "-"),
            ("/Hello", "-"),
            ("//hello", "-"),
            ("/", "-"),
            ("/api/users", "api/users Name /api/users|"),
            ("/api/users/7", "api/users Name /api/users|/7"),
            ("/api", "api/index Name /api|"),
            ("/api/", "api/index Name /api|/"),
            ("/api/other", "api/index Pattern /api|/other"),
            ("/api//users", "api/index Pattern /api|//users"),
        ];
        for (raw, expected) in cases {
            assert_eq!(answer(&table, raw), expected, "{raw}");
        }
    }

    #[test]
    fn the_root_index_matches_every_path() {
        let table = table(&["index"]);
        assert_eq!(answer(&table, "/"), "index Name |/");
        assert_eq!(answer(&table, "/a/b"), "index Pattern |/a/b");
        assert_eq!(answer(&table, "//"), "index Pattern |//");
    }

    #[test]
    fn names_in_brackets_bind_segments() {
        let table = table(&["users/[id]", "users/[id]/posts/[post]", "files/[...rest]"]);
        let cases = [
            ("/users", "-"),
            ("/users/", "-"),
            ("/users//", "-"),
            ("/users/7", "users/[id] Pattern /users/7| id=7"),
            ("/users/7/", "users/[id] Pattern /users/7|/ id=7"),
            ("/users/7/x", "users/[id] Pattern /users/7|/x id=7"),
            ("/users/a%2Fb", "users/[id] Pattern /users/a/b| id=a/b"),
            (
                "/users/7/posts/9/x",
                "users/[id]/posts/[post] Pattern /users/7/posts/9|/x id=7 post=9",
            ),
            ("/users/7/posts", "users/[id] Pattern /users/7|/posts id=7"),
            ("/files", "-"),
            ("/files/", "-"),
            ("/files//", "-"),
            ("/files/a", "files/[...rest] Pattern /files|/a rest=a"),
            (
                "/files/a//b/",
                "files/[...rest] Pattern /files|/a//b/ rest=a//b/",
            ),
            ("/files//a", "files/[...rest] Pattern /files|//a rest=/a"),
        ];
        for (raw, expected) in cases {
            assert_eq!(answer(&table, raw), expected, "{raw}");
        }
    }

    #[test]
    fn the_longest_and_most_literal_wins() {
        let table = table(&[
            "users/new",
            "users/[id]",
            "users/[id]/posts",
            "users/[...rest]",
            "[lang]/new/form",
            "shop/index",
            "[...all]",
        ]);
        let cases = [
            ("/users/new", "users/new"),
            ("/users/new/x", "users/new"),
            ("/users/7", "users/[id]"),
            ("/users/7/", "users/[id]"),
            ("/users/7/posts", "users/[id]/posts"),
            ("/users/7/posts/x", "users/[id]/posts"),
            ("/users/7/likes", "users/[...rest]"),
            // Longer than `users/new`, and found on the way back from it.
            ("/users/new/form", "[lang]/new/form"),
            ("/users/new/posts", "users/[id]/posts"),
            ("/de/new", "[...all]"),
            ("/shop", "shop/index"),
            ("/shop/cart", "shop/index"),
            ("/users", "[...all]"),
        ];
        for (raw, expected) in cases {
            let path = path(raw);
            let found = table.find(&path).map(|found| found.value.as_str());
            assert_eq!(found, Some(expected), "{raw}");
        }
        assert!(table.find(&path("/")).is_none());
    }

    #[test]
    fn a_second_route_of_the_same_shape_is_rejected() {
        let mut table = table(&["[id]", "api", "x/[...a]"]);
        for stem in ["[name]", "api/index", "x/[...b]"] {
            let route = Route::parse(stem).expect("a route");
            assert_eq!(table.insert(route, stem.into()), Err(stem.into()));
        }
        assert_eq!(answer(&table, "/7"), "[id] Pattern /7| id=7");
    }

    /// The precedence rule of the module documentation as a sort key: the greatest key wins.
    fn rank(route: &Route, path: &RequestPath) -> Option<(usize, Vec<u8>)> {
        let names: Vec<&[u8]> = path.segments().collect();
        let length = route.segments().len();
        if names.len() < length {
            return None;
        }
        let mut literalness = Vec::new();
        for (at, segment) in route.segments().iter().enumerate() {
            let leaves_some = at + 1 == length && names.len() > length;
            literalness.push(match segment {
                Segment::Literal(text) if text.as_bytes() == names[at] => 3,
                Segment::One(_) if names[at].is_empty() => return None,
                Segment::One(_) if leaves_some => 0,
                Segment::One(_) => 2,
                Segment::Rest(_) if names[at..].iter().any(|name| !name.is_empty()) => 1,
                _ => return None,
            });
        }
        Some((length, literalness))
    }

    /// A xorshift generator, which returns the same numbers in each run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).expect("31 bits") % bound
        }

        fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
            from[self.below(from.len())]
        }

        fn stem(&mut self) -> String {
            let mut stem: Vec<String> = (0..self.below(4))
                .map(|at| match self.pick(&["a", "b", "[x]"]) {
                    "[x]" => format!("[x{at}]"),
                    literal => literal.to_owned(),
                })
                .collect();
            stem.push(self.pick(&["a", "b", "[y]", "[...z]", "index"]).to_owned());
            stem.join("/")
        }

        fn raw_path(&mut self) -> String {
            let mut raw = String::new();
            for _ in 0..self.below(6) {
                raw += "/";
                raw += self.pick(&["a", "b", "c", "a", "b", ""]);
            }
            raw + self.pick(&["", "/"])
        }
    }

    #[test]
    fn a_lookup_agrees_with_trying_every_route() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut matched = 0;
        for _ in 0..2_000 {
            let mut table = Table::new();
            let mut routes: Vec<Route> = Vec::new();
            for _ in 0..1 + random.below(12) {
                let route = Route::parse(&random.stem()).expect("a route");
                let known = routes.iter().any(|other| other.shape() == route.shape());
                let taken = table.insert(route.clone(), routes.len());
                assert_eq!(taken.is_err(), known, "{route}");
                if !known {
                    routes.push(route);
                }
            }
            for _ in 0..50 {
                let path = path(&random.raw_path());
                let best = routes
                    .iter()
                    .filter_map(|route| Some((rank(route, &path)?, route)))
                    .max_by(|one, other| one.0.cmp(&other.0))
                    .map(|(_, route)| route);
                let found = table.find(&path).map(|found| found.route);
                assert_eq!(found, best, "{path:?} among {routes:?}");
                matched += usize::from(best.is_some());
            }
        }
        assert!(
            matched > 20_000,
            "the paths hardly match anything: {matched}"
        );
    }
}
