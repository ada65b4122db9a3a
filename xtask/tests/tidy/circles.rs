//! Import cycles: none between the files of a crate has more than two files, and there is none
//! between the server's top-level modules.
//!
//! An import is followed to the file that defines the item, through every `pub use` in between; a
//! `pub use` itself is not a dependency. Tests are ignored: they may use everything.

use std::collections::{BTreeMap, BTreeSet};

use crate::complaint::{Complaint, assert_none};
use crate::rust::{Token, code, code_before_tests};
use crate::tree::{File, tree};

/// The server's sources.
const SERVER: &str = "host/src/";

/// The maximum number of files in a cycle: two files may be halves of one unit.
const MAX_FILES: usize = 2;

/// The maximum number of `pub use` through which an import is followed. More would be a cycle.
const MAX_STEPS: usize = 16;

/// A module's path in its crate: the names from the crate's root.
type Name = Vec<String>;

/// The direct dependencies of each module.
type Graph = BTreeMap<Name, BTreeSet<Name>>;

/// An import of a file: the local name, and the path.
struct Import {
    name: String,
    path: Vec<String>,
    /// Whether other modules may import the item from this module. Such an import is not a
    /// dependency.
    is_public: bool,
}

struct Module {
    file: String,
    imports: Vec<Import>,
    /// Paths in the code, such as `crate::log::limits::LINE_BYTES` or, with an import of `limits`,
    /// `limits::LINE_BYTES`.
    paths: Vec<Vec<String>>,
}

/// All modules of one crate, without tests.
struct Crate(BTreeMap<Name, Module>);

impl Crate {
    fn new(folder: &str, files: &[File]) -> Self {
        // The program of a package with a library is another crate.
        let has_library = files
            .iter()
            .any(|file| file.path == format!("{folder}lib.rs"));
        let own: Vec<&File> = files
            .iter()
            .filter(|file| file.path.starts_with(folder) && file.extension() == "rs")
            .filter(|file| !(has_library && file.path == format!("{folder}main.rs")))
            .collect();
        let of_tests = modules_of_tests(folder, &own);
        let is_test = |name: &Name| {
            name.iter().any(|part| part == "tests")
                || of_tests.iter().any(|test| name.starts_with(test))
        };
        let modules = own.iter().map(|file| (name(folder, file), *file));
        let modules = modules.filter(|(name, _)| !is_test(name));
        Self(
            modules
                .map(|(name, file)| (name, Module::new(file)))
                .collect(),
        )
    }

    /// Returns the module that defines the item of a path, as seen from a module of this crate.
    fn resolve(&self, from: &Name, path: &[String], steps: usize) -> Option<Name> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Name::new(),
            "self" => from.clone(),
            "super" => {
                let mut at = from.clone();
                at.pop()?;
                while let Some((next, after)) = rest.split_first()
                    && next == "super"
                {
                    at.pop()?;
                    rest = after;
                }
                at
            }
            _ => {
                rest = path;
                // The name of another crate is not found.
                let is_here =
                    self.child(from, first).is_some() || self.import(from, first).is_some();
                is_here.then(|| from.clone())?
            }
        };
        while let Some((next, after)) = rest.split_first() {
            if let Some(child) = self.child(&at, next) {
                at = child;
                rest = after;
            } else if let Some(import) = self.import(&at, next).filter(|_| steps > 0) {
                let path: Vec<String> = import.path.iter().chain(after).cloned().collect();
                return self.resolve(&at, &path, steps - 1);
            } else {
                break;
            }
        }
        Some(at)
    }

    fn child(&self, module: &Name, name: &str) -> Option<Name> {
        let mut child = module.clone();
        child.push(name.to_owned());
        self.0.contains_key(&child).then_some(child)
    }

    fn import(&self, module: &Name, name: &str) -> Option<&Import> {
        let imports = &self.0.get(module)?.imports;
        imports.iter().find(|import| import.name == name)
    }

    /// Returns the dependencies of each module.
    fn needs(&self) -> Graph {
        let needs = self.0.iter().map(|(name, module)| {
            let imported = module.imports.iter().filter(|import| !import.is_public);
            let imported = imported.map(|import| &import.path);
            let paths = imported.chain(&module.paths);
            let mut needed: BTreeSet<Name> = paths
                .filter_map(|path| self.resolve(name, path, MAX_STEPS))
                .collect();
            needed.remove(name);
            (name.clone(), needed)
        });
        needs.collect()
    }

    /// Returns the circles of the crate's top-level modules, each with all of its files. A module
    /// whose file declares others is above them, and the crate's root is above all.
    fn circles_of_modules(&self) -> Vec<Vec<String>> {
        let mut graph = Graph::new();
        for (name, needed) in self.needs() {
            let Some(top) = name.first() else { continue };
            let needed = needed.iter().filter_map(|other| other.first());
            let others = needed.filter(|other| *other != top);
            let others = others.map(|other| vec![other.clone()]);
            graph.entry(vec![top.clone()]).or_default().extend(others);
        }
        let circles = circles(&graph, 1).into_iter();
        circles.map(|circle| circle.concat()).collect()
    }

    /// Returns the files of each circle that is too large, in order.
    fn circles(&self) -> Vec<Vec<&str>> {
        let circles = circles(&self.needs(), MAX_FILES).into_iter();
        let files = |name: &Name| Some(self.0.get(name)?.file.as_str());
        let circles = circles.map(|circle| {
            let files: BTreeSet<&str> = circle.iter().filter_map(files).collect();
            files.into_iter().collect()
        });
        circles.collect()
    }
}

/// Returns the circles with more than `max` modules, in order.
fn circles(needs: &Graph, max: usize) -> BTreeSet<Vec<Name>> {
    let reached: BTreeMap<&Name, BTreeSet<&Name>> = needs
        .keys()
        .map(|name| (name, reach(needs, name)))
        .collect();
    let mut circles = BTreeSet::new();
    for (name, reached_from) in &reached {
        let circle: Vec<Name> = reached_from
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(name)))
            .map(|other| (*other).clone())
            .collect();
        if circle.len() > max {
            circles.insert(circle);
        }
    }
    circles
}

/// Returns all direct and indirect dependencies of a module.
fn reach<'a>(needs: &'a Graph, from: &Name) -> BTreeSet<&'a Name> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&Name> = needs.get(from).into_iter().flatten().collect();
    while let Some(name) = open.pop() {
        if reached.insert(name) {
            open.extend(needs.get(name).into_iter().flatten());
        }
    }
    reached
}

impl Module {
    fn new(file: &File) -> Self {
        let code = code_before_tests(&file.text);
        let (mut imports, mut paths) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(token) = code.get(at) {
            if token.text == "use" {
                let is_public = is_public(&code[..at]);
                at += 1;
                let mut found = Vec::new();
                use_tree(&code, &mut at, &mut Vec::new(), &mut found);
                imports.extend(found.into_iter().map(|(name, path)| Import {
                    name,
                    path,
                    is_public,
                }));
            } else if is_visibility(&code, at) {
                // `pub(in crate::server)` is not a dependency.
                at += 1;
                path(&code, &mut at);
            } else if is_path(&code, at) {
                paths.push(path(&code, &mut at));
            } else {
                at += 1;
            }
        }
        Self {
            file: file.path.clone(),
            imports,
            paths,
        }
    }
}

/// Returns whether the tokens before a `use` make it a `pub use` with any visibility.
fn is_public(before: &[Token<'_>]) -> bool {
    let statement = before
        .rsplit(|token| matches!(token.text, ";" | "{" | "}" | "]"))
        .next();
    statement.is_some_and(|words| words.iter().any(|token| token.text == "pub"))
}

/// Returns whether the token is the `in` of a visibility, `pub(in crate::server)`.
fn is_visibility(code: &[Token<'_>], at: usize) -> bool {
    let start = at.checked_sub(2).and_then(|start| code.get(start..=at));
    start.is_some_and(|words| words.iter().map(|it| it.text).eq(["pub", "(", "in"]))
}

/// Returns whether `::` follows.
fn is_path(code: &[Token<'_>], at: usize) -> bool {
    let is_colon = |at: usize| code.get(at).is_some_and(|token| token.text == ":");
    is_colon(at + 1) && is_colon(at + 2)
}

/// Returns the names of the path that starts at `at`.
fn path(code: &[Token<'_>], at: &mut usize) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(token) = code.get(*at) {
        path.push(token.text.to_owned());
        let goes_on = is_path(code, *at);
        *at += if goes_on { 3 } else { 1 };
        if !goes_on {
            break;
        }
    }
    path
}

/// Parses a branch of a `use`: returns each name with its complete path.
fn use_tree(
    code: &[Token<'_>],
    at: &mut usize,
    before: &mut Vec<String>,
    found: &mut Vec<(String, Vec<String>)>,
) {
    let depth = before.len();
    while let Some(token) = code.get(*at) {
        match token.text {
            "{" => loop {
                *at += 1;
                if code.get(*at).is_none_or(|token| token.text == "}") {
                    *at += 1;
                    before.truncate(depth);
                    return;
                }
                use_tree(code, at, before, found);
                if code.get(*at).is_none_or(|token| token.text != ",") {
                    *at += 1;
                    before.truncate(depth);
                    return;
                }
            },
            ":" => *at += 1,
            "as" => {
                let name = code.get(*at + 1).map_or("_", |token| token.text);
                if let Some((old, _)) = found.last_mut() {
                    name.clone_into(old);
                }
                *at += 2;
            }
            "," | "}" | ";" => break,
            name => {
                before.push(name.to_owned());
                *at += 1;
                if code.get(*at).is_none_or(|token| token.text != ":") {
                    // `a::{self}` is `a`.
                    let whole = before.strip_suffix(&["self".to_owned()]).unwrap_or(before);
                    let last = whole.last().cloned().unwrap_or_default();
                    found.push((last, whole.to_vec()));
                }
            }
        }
    }
    before.truncate(depth);
}

/// Returns the modules that are declared only for tests.
fn modules_of_tests(folder: &str, files: &[&File]) -> Vec<Name> {
    let mut tests = Vec::new();
    for file in files {
        let code = code(&file.text);
        let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
        for start in 0..code.len() {
            let after = start + attribute.len();
            let Some(window) = code.get(start..after) else {
                break;
            };
            if !window.iter().map(|token| token.text).eq(attribute) {
                continue;
            }
            let declaration = code[after..].iter().take_while(|token| token.text != ";");
            let words: Vec<&str> = declaration.take(8).map(|token| token.text).collect();
            if let Some(place) = words.iter().position(|word| *word == "mod")
                && let Some(own) = words.get(place + 1)
            {
                let mut test = name(folder, file);
                test.push((*own).to_owned());
                tests.push(test);
            }
        }
    }
    tests
}

/// Returns a file's module.
fn name(folder: &str, file: &File) -> Name {
    let path = file.path.strip_prefix(folder).unwrap_or_default();
    let mut name: Name = path
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    let is_folder = |last: &String| matches!(last.as_str(), "mod" | "lib" | "main");
    if name.last().is_some_and(is_folder) {
        name.pop();
    }
    name
}

/// Returns the folders with a package's sources.
fn folders(files: &[File]) -> BTreeSet<String> {
    let packages = files
        .iter()
        .filter_map(|file| file.path.strip_suffix("Cargo.toml"));
    packages.map(|package| format!("{package}src/")).collect()
}

#[test]
fn no_circle_of_imports_is_of_more_than_two_files() {
    let files = tree();
    let mut complaints = Vec::new();
    for folder in folders(&files) {
        for circle in Crate::new(&folder, &files).circles() {
            complaints.push(Complaint {
                path: circle
                    .first()
                    .map_or(folder.as_str(), |file| file)
                    .to_owned(),
                line: 1,
                what: format!("in a circle of imports: {}", circle.join(", ")),
            });
        }
    }
    assert_none(&complaints);
}

#[test]
fn no_top_level_module_of_the_server_needs_one_that_needs_it() {
    let circles = Crate::new(SERVER, &tree()).circles_of_modules();
    assert!(circles.is_empty(), "circles of modules: {circles:?}");
}

#[test]
fn a_circle_of_modules_is_found() {
    let files = [
        ("lib.rs", "mod a; mod b; pub(crate) use a::A;"),
        ("a/mod.rs", "mod c; pub(crate) struct A;"),
        ("a/c.rs", "use crate::b::d::D;"),
        ("b/mod.rs", "mod d; mod e;"),
        ("b/d.rs", "pub(crate) struct D;"),
        ("b/e.rs", "use crate::A;"),
    ];
    let package = sample(&files);
    assert_eq!(package.circles_of_modules(), [["a", "b"]]);
    assert!(package.circles().is_empty());
    assert!(sample(&files[..5]).circles_of_modules().is_empty());
}

/// Returns the cycles of a crate that consists of files with these names and texts.
#[cfg(test)]
fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let package = sample(files);
    let circles = package.circles().into_iter();
    circles
        .map(|circle| {
            circle
                .into_iter()
                .map(|file| file["a/src/".len()..].to_owned())
                .collect()
        })
        .collect()
}

/// Returns a crate that consists of files with these names and texts.
#[cfg(test)]
fn sample(files: &[(&str, &str)]) -> Crate {
    let files = files.iter().map(|(path, text)| File {
        path: format!("a/src/{path}"),
        text: (*text).to_owned(),
    });
    Crate::new("a/src/", &files.collect::<Vec<_>>())
}

#[test]
fn a_circle_of_three_files_is_found() {
    let circle = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::{B, BOTTOM};"),
        ("b.rs", "fn f(c: super::c::C) {}"),
        ("c.rs", "use super::{a::{self, A as Other}};"),
    ];
    assert_eq!(circles_of(&circle), [["a.rs", "b.rs", "c.rs"]]);
    assert!(circles_of(&circle[..3]).is_empty());
}

#[test]
fn a_circle_of_two_files_is_none() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::a::A;"),
    ];
    assert!(circles_of(&files).is_empty());
}

#[test]
fn an_import_leads_to_the_file_that_defines_it() {
    // `a` depends on `c` through two others; `c` depends on neither.
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::C;"),
        ("b/mod.rs", "mod c; mod d; pub(crate) use c::C;"),
        ("b/c.rs", "use super::d::D;"),
        ("b/d.rs", "use crate::a::A;"),
    ];
    assert_eq!(circles_of(&files), [["a.rs", "b/c.rs", "b/d.rs"]]);
}

#[test]
fn tests_and_visibilities_make_no_circle() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; #[cfg(test)] mod sample;"),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::c::C;"),
        (
            "c.rs",
            "pub(in crate::a) fn f() {} #[cfg(test)] mod tests { use crate::a::A; }",
        ),
        ("c/tests.rs", "use crate::a::A;"),
        ("sample.rs", "use crate::a::A;"),
    ];
    assert!(circles_of(&files).is_empty());
}

#[test]
fn a_path_of_an_imported_or_own_module_is_a_dependency() {
    let files = [
        ("lib.rs", "mod a; mod c;"),
        ("a/mod.rs", "mod b; fn f() { b::g() }"),
        ("a/b.rs", "use crate::c; fn g() { c::h() }"),
        ("c.rs", "#[cfg(test)] mod tests; use crate::a::f;"),
        ("main.rs", "fn main() { a::f() }"),
    ];
    assert_eq!(circles_of(&files), [["a/b.rs", "a/mod.rs", "c.rs"]]);
}
