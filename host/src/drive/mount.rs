//! The route of a handler outside a site, derived from its file's name.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::host_name::full_name;
use crate::router::{RequestPath, Route, Segment, Table};

/// The name of a site's handlers folder. The path below it is part of the route.
const HANDLERS: &str = "handlers";

/// The Host field of requests to a site that is not served.
const AUTHORITY: &str = "localhost:8000";

/// The value of a bracketed segment in an example path.
const EXAMPLE: &str = "1";

/// The bytes to percent-encode: all but the unreserved characters of RFC 3986 section 2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The route of a single handler.
#[derive(Debug)]
pub(crate) struct Mount {
    table: Table<()>,
    example: String,
    name: String,
    authority: String,
}

/// A request's path, divided as in [`crate::gateway::Environ`].
#[derive(Debug)]
pub(super) struct Share {
    pub(super) script_name: Vec<u8>,
    pub(super) path_info: Vec<u8>,
    pub(super) args: Vec<(String, Vec<u8>)>,
}

impl Mount {
    /// Creates the mount of the handler in `file`, as in the site whose handlers are in `folder`:
    /// `users/[id].wasm` in that folder serves `/users/1`. A file outside the folder gets the route
    /// that it would have in a site, and a name that is not a valid route is mounted at the root.
    ///
    /// An application's folder is a handler like a file.
    pub(crate) fn for_file(file: &Path, folder: &Path) -> Self {
        let named = match file.file_name() {
            // `.` and `..` name a folder as well.
            None => file.canonicalize().unwrap_or_else(|_| file.to_owned()),
            Some(_) => file.to_owned(),
        };
        let name = name_in(folder, &named).unwrap_or_else(|| name(&named));
        let route = Route::parse(&name).or_else(|_| Route::parse("index"));
        let mut table = Table::new();
        let mut example = String::from("/");
        if let Ok(route) = route {
            example = example_of(&route);
            // The table is empty, so the route cannot conflict.
            let _ = table.insert(route, ());
        }
        Self {
            table,
            example,
            name,
            authority: AUTHORITY.to_owned(),
        }
    }

    /// Makes it a handler of the virtual host `name`, which requests reach by `authority`.
    pub(crate) fn of_host(mut self, name: &str, authority: &str) -> Self {
        self.name = full_name(Some(name), &self.name);
        self.authority = authority.to_owned();
        self
    }

    /// Returns the Host field of requests that have no other.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the handler's name in the log: `users/[id]`, or `//example.com/users/[id]`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns an example of a path that the handler serves, percent-encoded.
    pub(crate) fn example(&self) -> &str {
        &self.example
    }

    /// Divides a path for the handler. A path that does not match the route is divided as if the
    /// handler were mounted at the root.
    pub(super) fn share(&self, path: &RequestPath) -> Share {
        match self.table.find(path) {
            Some(found) => {
                let (script_name, path_info) = path.split_after(found.taken);
                Share {
                    script_name: script_name.to_vec(),
                    path_info: path_info.to_vec(),
                    args: found.args(path),
                }
            }
            None => Share {
                script_name: Vec::new(),
                path_info: path.decoded().to_vec(),
                args: Vec::new(),
            },
        }
    }
}

/// Returns the name of a handler in a handlers folder: its file's path relative to the folder,
/// without extension. None if the file is not below the folder.
fn name_in(folder: &Path, file: &Path) -> Option<String> {
    let as_given = below(folder, file);
    as_given.or_else(|| {
        // The two paths may spell the same folder differently. Only the file's folder is resolved,
        // so that a handler that is a symbolic link keeps its name.
        let around = match file.parent()? {
            here if here.as_os_str().is_empty() => Path::new("."),
            around => around,
        };
        let file = around.canonicalize().ok()?.join(file.file_name()?);
        below(&folder.canonicalize().ok()?, &file)
    })
}

fn below(folder: &Path, file: &Path) -> Option<String> {
    let rest = without_extension(file.strip_prefix(folder).ok()?, file);
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let is_below = rest.components().all(is_plain) && !rest.as_os_str().is_empty();
    is_below.then(|| normal_parts(&rest).join("/"))
}

/// Returns `path` without the extension of `file`. A folder has none, whatever its name.
fn without_extension(path: &Path, file: &Path) -> PathBuf {
    match file.is_dir() {
        true => path.to_owned(),
        false => path.with_extension(""),
    }
}

fn normal_parts(path: &Path) -> Vec<Cow<'_, str>> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(part) => Some(part.to_string_lossy()),
            _ => None,
        })
        .collect()
}

/// Returns the name of a handler in any folder: its file's path below the innermost folder called
/// `handlers`, without extension.
fn name(file: &Path) -> String {
    let stem = without_extension(file, file);
    let parts = normal_parts(&stem);
    let folder = parts.iter().rposition(|part| part == HANDLERS);
    let first = match folder {
        Some(folder) if folder + 1 < parts.len() => folder + 1,
        _ => parts.len().saturating_sub(1),
    };
    parts.get(first..).unwrap_or_default().join("/")
}

fn example_of(route: &Route) -> String {
    let mut example = String::new();
    for segment in route.segments() {
        example.push('/');
        match segment {
            Segment::Literal(text) => example.extend(utf8_percent_encode(text, ENCODED)),
            Segment::One(_) | Segment::Rest(_) => example.push_str(EXAMPLE),
        }
    }
    if route.is_index() {
        example.push('/');
    }
    example
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_outside_a_site_has_the_route_of_a_site() {
        for (file, name, example) in [
            ("hello.wasm", "hello", "/hello"),
            ("/a/b/hello.wat", "hello", "/hello"),
            ("x/handlers/users/[id].wasm", "users/[id]", "/users/1"),
            (
                "handlers/files/[...rest].wasm",
                "files/[...rest]",
                "/files/1",
            ),
            ("handlers/api/index.wasm", "api/index", "/api/"),
            ("index.wasm", "index", "/"),
            ("handlers/a b.wasm", "a b", "/a%20b"),
            ("handlers/a[.wasm", "a[", "/"),
            ("target/handlers", "handlers", "/handlers"),
        ] {
            let mount = Mount::for_file(Path::new(file), Path::new("/no/such/folder"));
            assert_eq!((mount.name(), mount.example()), (name, example), "{file}");
        }
    }

    #[test]
    fn a_file_of_the_site_has_its_name_in_the_site() {
        let site = tempfile::tempdir().expect("a folder");
        let folder = site.path().join("apps");
        std::fs::create_dir_all(folder.join("handlers/users")).expect("folders");
        for (file, name) in [
            ("apps/hello.wasm", "hello"),
            ("apps/handlers/users/[id].wasm", "handlers/users/[id]"),
            ("apps/handlers/../hello.wasm", "hello"),
            ("apps/../hello.wasm", "hello"),
            ("apps/../handlers/a/b.wasm", "a/b"),
            ("appsandmore/a/b.wasm", "b"),
        ] {
            let mount = Mount::for_file(&site.path().join(file), &folder);
            assert_eq!(mount.name(), name, "{file}");
        }
    }

    #[test]
    fn an_application_has_the_name_of_its_folder() {
        let site = tempfile::tempdir().expect("a folder");
        let handlers = site.path().join("handlers");
        std::fs::create_dir_all(handlers.join("api/shop.v2")).expect("folders");
        for file in ["api/shop.v2", "api/shop.v2/."] {
            let file = handlers.join(file);
            for folder in [&*handlers, Path::new("/no/such/folder")] {
                let mount = Mount::for_file(&file, folder);
                assert_eq!(mount.example(), "/api/shop.v2", "{}", file.display());
            }
        }
        let parent = Mount::for_file(&handlers.join("api/shop.v2/.."), &handlers);
        assert_eq!(parent.name(), "api");
    }

    #[test]
    fn a_path_is_divided_and_a_foreign_one_is_all_path_info() {
        let mount = Mount::for_file(Path::new("users/[id].wasm"), Path::new(""));
        let share = |path: &str| mount.share(&RequestPath::parse(path.as_bytes()).expect("a path"));
        let found = share("/users/7/posts");
        assert_eq!(found.script_name, b"/users/7");
        assert_eq!(found.path_info, b"/posts");
        assert_eq!(found.args, [("id".to_owned(), b"7".to_vec())]);
        let foreign = share("/other");
        assert_eq!(foreign.script_name, b"");
        assert_eq!(foreign.path_info, b"/other");
        assert!(foreign.args.is_empty());
    }
}
