//! The route of a handler, derived from its file: `users/[id].wasm` has the route `/users/[id]`.
//!
//! A route depends only on the file's path below the handlers folder. [`super::table`] decides
//! which route a request takes.

use std::fmt;

/// The maximum number of segments in a route, and so the maximum depth of the handlers folder. A
/// deeper folder is more likely a mistake (a link farm, a build folder) than a site.
pub const MAX_SEGMENTS: usize = 16;

/// One segment of a route, between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// `users`: exactly this text, compared with the decoded segment of the request's path.
    Literal(String),
    /// `[id]`: any one segment that is not empty, bound to the name.
    One(String),
    /// `[...rest]`: the rest of the path, at least one segment, bound to the name. Always the last
    /// segment of its route.
    Rest(String),
}

/// The route of a handler's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    segments: Vec<Segment>,
    /// Whether the file is its folder's `index`.
    index: bool,
}

/// The part of a route that decides which requests it matches. `/users/[id]` and `/users/[name]`
/// have the same shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape(Vec<ShapeSegment>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ShapeSegment {
    Literal(String),
    One,
    Rest,
}

/// The reason why a file's path is not a valid route. The message says how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRoute {
    /// The route has more than [`MAX_SEGMENTS`] segments.
    TooDeep,
    /// A segment contains a control character, which would corrupt log lines that name the route.
    Control(String),
    /// A segment contains a `[` or `]` outside the two valid forms.
    Brackets(String),
    /// A name in brackets is not a valid variable name.
    Name(String),
    /// The route uses one name twice.
    NameTwice(String),
    /// `[...rest]` is not the last segment.
    RestNotLast(String),
}

impl Route {
    /// Parses a route from a file's path: relative to the handlers folder, without its extension,
    /// with `/` between segments. `index` as the last segment stands for the folder itself.
    ///
    /// # Errors
    ///
    /// Fails with the reason listed in [`BadRoute`].
    pub fn parse(stem: &str) -> Result<Route, BadRoute> {
        let mut names: Vec<&str> = stem.split('/').collect();
        let index = names.last() == Some(&"index");
        if index {
            names.pop();
        }
        if names.len() > MAX_SEGMENTS {
            return Err(BadRoute::TooDeep);
        }
        if let Some(name) = names.iter().find(|name| name.contains(char::is_control)) {
            return Err(BadRoute::Control((*name).to_owned()));
        }
        let segments: Vec<Segment> = names
            .iter()
            .map(|name| Segment::parse(name))
            .collect::<Result<_, _>>()?;
        check_names(&segments)?;
        check_rest(&segments, index)?;
        Ok(Route { segments, index })
    }

    /// Returns the segments from left to right. Empty for the root.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Reports whether the file is called `index`. Such a route matches its folder, and paths below
    /// the folder only if no better route or page matches.
    pub fn is_index(&self) -> bool {
        self.index
    }

    /// Reports whether every segment is literal.
    pub fn is_literal(&self) -> bool {
        self.segments
            .iter()
            .all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// Returns the shape of the route. Two routes with the same shape conflict.
    pub fn shape(&self) -> Shape {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => ShapeSegment::Literal(text.clone()),
            Segment::One(_) => ShapeSegment::One,
            Segment::Rest(_) => ShapeSegment::Rest,
        });
        Shape(segments.collect())
    }
}

impl Segment {
    fn parse(name: &str) -> Result<Segment, BadRoute> {
        let Some(inner) = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        else {
            if name.contains(['[', ']']) {
                return Err(BadRoute::Brackets(name.to_owned()));
            }
            return Ok(Segment::Literal(name.to_owned()));
        };
        let (variable, rest) = match inner.strip_prefix("...") {
            Some(variable) => (variable, true),
            None => (inner, false),
        };
        if !is_variable(variable) {
            return Err(BadRoute::Name(name.to_owned()));
        }
        Ok(match rest {
            true => Segment::Rest(variable.to_owned()),
            false => Segment::One(variable.to_owned()),
        })
    }

    /// Returns the name in brackets, if this segment has one.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Segment::Literal(_) => None,
            Segment::One(name) | Segment::Rest(name) => Some(name),
        }
    }
}

/// Reports whether `name` can be a variable name. It becomes the suffix of `wasgi.route.<name>` and
/// an argument in `wsgiorg.routing_args`, so it is limited to characters that need no quoting in
/// either.
fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn check_names(segments: &[Segment]) -> Result<(), BadRoute> {
    for (at, segment) in segments.iter().enumerate() {
        if let Some(name) = segment.variable()
            && segments[..at].iter().any(|s| s.variable() == Some(name))
        {
            return Err(BadRoute::NameTwice(name.to_owned()));
        }
    }
    Ok(())
}

fn check_rest(segments: &[Segment], index: bool) -> Result<(), BadRoute> {
    let rest = segments
        .iter()
        .position(|segment| matches!(segment, Segment::Rest(_)));
    match rest {
        Some(at) if at + 1 < segments.len() || index => {
            Err(BadRoute::RestNotLast(segments[at].to_string()))
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return f.write_str("/");
        }
        for segment in &self.segments {
            write!(f, "/{segment}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Literal(text) => f.write_str(text),
            Segment::One(name) => write!(f, "[{name}]"),
            Segment::Rest(name) => write!(f, "[...{name}]"),
        }
    }
}

impl fmt::Display for BadRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRoute::TooDeep => write!(f, "more than {MAX_SEGMENTS} folders deep: move it up"),
            BadRoute::Control(name) => write!(
                f,
                "'{}' is not a valid route: it contains a control character",
                name.escape_debug()
            ),
            BadRoute::Brackets(name) => write!(
                f,
                "'{name}' is not a valid route: brackets must enclose a whole name, as in [id] or \
                 [...rest]"
            ),
            BadRoute::Name(name) => write!(
                f,
                "'{name}' is not a valid route: a name in brackets is a letter followed by \
                 letters, digits, '_' and '-'"
            ),
            BadRoute::NameTwice(name) => write!(
                f,
                "the name '{name}' occurs twice in this route: use a different name for each"
            ),
            BadRoute::RestNotLast(name) => write!(
                f,
                "nothing can follow {name}, which matches the rest of the path: rename the file \
                 itself to {name}"
            ),
        }
    }
}

impl std::error::Error for BadRoute {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_file_determines_its_route() {
        let table = [
            ("hello", "/hello"),
            ("hello.v2", "/hello.v2"),
            ("api/users", "/api/users"),
            ("index", "/"),
            ("api/index", "/api"),
            ("index/index", "/index"),
            ("index/list", "/index/list"),
            ("users/[id]", "/users/[id]"),
            ("users/[id]/posts", "/users/[id]/posts"),
            ("users/[user-id]/[post_id]", "/users/[user-id]/[post_id]"),
            ("users/[id]/index", "/users/[id]"),
            ("files/[...rest]", "/files/[...rest]"),
            ("[...all]", "/[...all]"),
            ("café", "/café"),
            ("a b", "/a b"),
        ];
        for (stem, route) in table {
            let parsed = Route::parse(stem).unwrap_or_else(|why| panic!("{stem}: {why}"));
            assert_eq!(parsed.to_string(), route, "{stem}");
            assert_eq!(parsed.is_index(), stem.ends_with("index"), "{stem}");
            assert_eq!(parsed.is_literal(), !stem.contains('['), "{stem}");
        }
    }

    #[test]
    fn a_file_without_a_valid_route_is_rejected() {
        let deep = "a/".repeat(MAX_SEGMENTS) + "b";
        let table = [
            (deep.as_str(), BadRoute::TooDeep),
            ("a/b\nc", BadRoute::Control("b\nc".into())),
            ("\u{9b}", BadRoute::Control("\u{9b}".into())),
            ("[id", BadRoute::Brackets("[id".into())),
            ("a[id]", BadRoute::Brackets("a[id]".into())),
            ("[a].v2", BadRoute::Brackets("[a].v2".into())),
            ("x]/y", BadRoute::Brackets("x]".into())),
            ("[]", BadRoute::Name("[]".into())),
            ("[...]", BadRoute::Name("[...]".into())),
            ("[7]", BadRoute::Name("[7]".into())),
            ("[a b]", BadRoute::Name("[a b]".into())),
            ("[[id]]", BadRoute::Name("[[id]]".into())),
            ("[id]/x/[id]", BadRoute::NameTwice("id".into())),
            ("[id]/[...id]", BadRoute::NameTwice("id".into())),
            ("[...rest]/x", BadRoute::RestNotLast("[...rest]".into())),
            ("[...rest]/index", BadRoute::RestNotLast("[...rest]".into())),
        ];
        for (stem, why) in table {
            assert_eq!(Route::parse(stem), Err(why), "{stem}");
        }
        let deepest = "a/".repeat(MAX_SEGMENTS - 1) + "b";
        assert!(Route::parse(&deepest).is_ok());
    }

    #[test]
    fn the_shape_ignores_names_and_index() {
        let same = [
            ("users/[id]", "users/[name]"),
            ("[a]/x", "[b]/x"),
            ("[...a]", "[...b]"),
            ("api", "api/index"),
            ("[id]", "[name]/index"),
        ];
        for (one, other) in same {
            let shapes = [one, other].map(|stem| Route::parse(stem).unwrap().shape());
            assert_eq!(shapes[0], shapes[1], "{one} {other}");
        }
        let different = [
            ("a", "b"),
            ("a", "[a]"),
            ("[a]", "[...a]"),
            ("a/[b]", "[a]/b"),
            ("index", "index/index"),
        ];
        for (one, other) in different {
            let shapes = [one, other].map(|stem| Route::parse(stem).unwrap().shape());
            assert_ne!(shapes[0], shapes[1], "{one} {other}");
        }
    }
}
