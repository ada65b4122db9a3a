//! Finds pages that are not visible because a handler has the same path.
//!
//! A handler whose route is entirely literal takes precedence over pages. A handler with a name in
//! brackets, or an `index` for paths below its folder, yields to pages. So `handlers/hello.wasm`
//! hides `html/hello`, `html/hello/` and everything in it, and `handlers/index.wasm` hides
//! `html/index.html` and nothing else.

use std::path::{Path, PathBuf};

use super::Registry;
use super::problem::{self, Problem, ProblemKind};
use crate::router::{Route, Segment};

/// Returns the pages below `pages` that the handlers of `registry` hide, including handlers that
/// are being loaded. There is one problem for each handler that hides something. Checks one or two
/// names per handler, not the whole folder.
pub(crate) fn shadowed_pages<P>(pages: &Path, registry: &Registry<P>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let served = registry
        .handlers()
        .iter()
        .map(|one| (&one.route, &one.file));
    let pending = registry.pending().iter().map(|one| (&one.route, &one.file));
    for (route, handler) in served.chain(pending) {
        if let Some(page) = hidden_page(pages, route) {
            let by = problem::label(registry.folder(), handler.as_ref());
            let text = format!("hidden by {by}, which has the same path: rename one of the two");
            let file = problem::label(pages, &page);
            let problem = Problem::new(file, ProblemKind::ShadowedPage, &text);
            problems.push(problem.of_host(registry.host()));
        }
    }
    problems.sort();
    problems
}

/// Returns the page or folder of pages that a handler with this route hides, relative to `pages`.
fn hidden_page(pages: &Path, route: &Route) -> Option<PathBuf> {
    if !route.is_literal() {
        return None;
    }
    let mut page = PathBuf::new();
    for segment in route.segments() {
        match segment {
            // Always one path component: a file's name has no slash, and is neither `.` nor `..`.
            Segment::Literal(name) => page.push(name),
            Segment::One(_) | Segment::Rest(_) => return None,
        }
    }
    if route.is_index() {
        page.push("index.html");
        return pages.join(&page).is_file().then_some(page);
    }
    let path = pages.join(&page);
    if path.is_dir() {
        let mut entries = path.read_dir().ok()?;
        // The trailing slash shows that the handler hides the whole folder.
        return entries.next().is_some().then(|| page.join(""));
    }
    path.exists().then_some(page)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::registry::Handler;

    #[test]
    fn only_names_hide_pages() {
        let pages = tempfile::tempdir().expect("a folder");
        let root = pages.path();
        for page in [
            "index.html",
            "hello/world.html",
            "api/index.html",
            "time",
            "users/7",
        ] {
            let page = root.join(page);
            fs::create_dir_all(page.parent().expect("a parent")).expect("a folder");
            fs::write(page, "").expect("a page");
        }
        fs::create_dir(root.join("empty")).expect("a folder");
        let stems = [
            "index",
            "hello",
            "api/index",
            "time",
            "users/[id]",
            "empty",
            "other",
            "[...all]",
        ];
        let handlers = stems.map(|stem| Arc::new(Handler::example(stem)));
        let registry = Registry::new("handlers".into(), handlers, Vec::new(), Vec::new());
        let problems = shadowed_pages(root, &registry);
        let hidden: Vec<&str> = problems
            .iter()
            .map(|problem| {
                let file = Path::new(&problem.file).strip_prefix(root).expect("below");
                file.to_str().expect("UTF-8")
            })
            .collect();
        assert_eq!(hidden, ["api/index.html", "hello", "index.html", "time"]);
        assert!(problems[1].file.ends_with("hello/"), "{}", problems[1]);
        assert_eq!(
            problems[1].text,
            "hidden by handlers/hello.wasm, which has the same path: rename one of the two"
        );
    }
}
