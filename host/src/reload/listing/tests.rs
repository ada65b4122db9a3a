//! Tests of the listing on real folders.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;

struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[&str]) -> Tree {
        let tree = Tree(tempfile::tempdir().expect("a folder"));
        for file in files {
            tree.write(file);
        }
        tree
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, "").expect("a file");
    }

    fn list(&self) -> Listing {
        let folder = Folder {
            path: self.0.path(),
            given: Path::new("handlers"),
            builds: None,
            external: &[],
        };
        list(folder, &mut |_| {})
    }
}

impl Listing {
    fn files(&self) -> Vec<&str> {
        self.handlers
            .iter()
            .map(|found| found.file.as_str())
            .collect()
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.problems.iter().map(|(_, problem)| problem.to_string());
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        lines
    }
}

#[test]
fn what_is_a_handler_and_what_is_not_said() {
    let tree = Tree::new(&[
        "hello.wasm",
        "text.wat",
        "api/users.wasm",
        "users/[id].wasm",
        "index.wasm",
        "js/package.json",
        "js/lib/text.js",
        // Hidden, disabled, or temporary.
        ".hidden.wasm",
        "_off.wasm",
        "_drafts/x.wasm",
        ".git/x.wasm",
        "hello.wasm~",
        ".hello.wasm.swp",
        "4913",
        "#hello.wat#",
        "hello.wasm.part",
        // Sources.
        "rust/Cargo.toml",
        "rust/src/lib.rs",
        "rust/built.wasm",
        "rust/package.json",
        "python/pyproject.toml",
        "flask/requirements.txt",
        "flask/flaskr/views.py",
        "go/go.mod",
        "c/Makefile",
        // A common build.
        "Cargo.toml",
        "Cargo.lock",
        "Makefile",
    ]);
    let listing = tree.list();
    assert_eq!(
        listing.files(),
        [
            "api/users.wasm",
            "hello.wasm",
            "index.wasm",
            "js",
            "text.wat",
            "users/[id].wasm"
        ]
    );
    assert_eq!(listing.lines(), [""; 0]);
    assert_eq!(listing.handlers[5].name, "users/[id]");
}

#[test]
fn everything_else_is_a_problem() {
    let tree = Tree::new(&[
        "notes.txt",
        "a/Cargo.lock",
        "x.WASM",
        "a/[b.wasm",
        "dir.wasm/y.wasm",
    ]);
    symlink("nowhere", tree.path("lost.wasm")).expect("a link");
    symlink(".", tree.path("loop")).expect("a link");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.path("fifo.wasm"), mode).expect("a FIFO");
    let not_utf8 = Path::new(std::ffi::OsStr::from_bytes(b"\xff.wasm"));
    fs::write(tree.0.path().join(not_utf8), "").expect("a file");
    let listing = tree.list();
    assert_eq!(listing.files(), ["dir.wasm/y.wasm"]);
    assert_eq!(
        listing.lines(),
        [
            "handlers/a/Cargo.lock: not a handler (.wasm, .wat, .py or .js): move it out or start its \
             name with '_'",
            "handlers/a/[b.wasm: '[b' is not a valid route: brackets must enclose a whole name, \
             as in [id] or [...rest]",
            "handlers/fifo.wasm: not a regular file: not served",
            "handlers/loop: a symbolic link to a parent folder: not served",
            "handlers/lost.wasm: a broken symbolic link: not served",
            "handlers/notes.txt: not a handler (.wasm, .wat, .py or .js): move it out or start its \
             name with '_'",
            "handlers/x.WASM: not a handler: write the extension in lower case",
            "handlers/\u{fffd}.wasm: the name is not UTF-8, so it has no route: rename it",
        ]
    );
}

#[test]
fn scripts_and_folders_of_applications_are_handlers() {
    let tree = Tree::new(&[
        "app.py",
        "hello.py",
        "[id].py",
        "shop/app.py",
        "shop/requirements.txt",
        "shop/lib/app.py",
        "shop/lib/x.wasm",
        "blog/manage.py",
        "blog/blog/wsgi.py",
        "api/v1/wsgi.py",
        "api/users.py",
        "_off/app.py",
    ]);
    let listing = tree.list();
    assert_eq!(
        listing.files(),
        [
            "[id].py",
            "api/users.py",
            "api/v1",
            "app.py",
            "blog",
            "hello.py",
            "shop"
        ]
    );
    assert_eq!(listing.lines(), [""; 0]);
    let folders = listing.handlers.iter().filter(|found| found.is_folder());
    assert_eq!(folders.count(), 3);
}

#[test]
fn of_a_built_handler_and_its_sources_the_built_one_is_served() {
    let tree = Tree::new(&["shop.py", "shop/app.py", "shop.wasm"]);
    let listing = tree.list();
    assert_eq!(listing.files(), ["shop.wasm"]);
    assert_eq!(listing.lines().len(), 2);
    let listing = Tree::new(&["shop.py", "shop/app.py"]).list();
    assert_eq!(listing.files(), ["shop.py"]);
}

#[test]
fn a_source_is_told_with_the_command_that_builds_it() {
    for (file, said) in [
        ("hello.rs", "cargo xtask build hello"),
        (
            "hello.go",
            "GOOS=wasip1 GOARCH=wasm go build -o hello.wasm hello.go",
        ),
        (
            "hello.c",
            "clang --target=wasm32-wasi -Os -o hello.wasm hello.c",
        ),
        ("hello.cpp", "clang++ --target=wasm32-wasi"),
        (
            "hello.ts",
            "esbuild hello.ts --bundle --format=esm --outfile=hello.js",
        ),
        (
            "index.html",
            "pages and what they load go into the folder of pages",
        ),
    ] {
        let listing = Tree::new(&[file]).list();
        let [line] = &listing.lines()[..] else {
            panic!("{:?}", listing.lines());
        };
        assert!(line.contains(said), "{line}");
    }
}

#[test]
fn of_several_files_with_one_route_one_is_served() {
    let tree = Tree::new(&[
        "hello.wat",
        "hello.wasm",
        "[name].wasm",
        "[id].wasm",
        "api/index.wasm",
        "api/index.wat",
        "api.wat",
        "[id]/x.wasm",
        "[name]/y.wasm",
    ]);
    let listing = tree.list();
    assert_eq!(
        listing.files(),
        [
            "[id].wasm",
            "[id]/x.wasm",
            "[name]/y.wasm",
            "api.wat",
            "hello.wasm"
        ]
    );
    assert_eq!(
        listing.lines(),
        [
            "handlers/[name].wasm: handlers/[id].wasm already serves /[name]: rename or remove \
             one of the two",
            "handlers/api/index.wasm: handlers/api.wat already serves /api: rename or remove one \
             of the two",
            "handlers/api/index.wat: handlers/api.wat already serves /api: rename or remove one \
             of the two",
            "handlers/hello.wat: handlers/hello.wasm already serves /hello: rename or remove one \
             of the two",
        ]
    );
}

#[test]
fn a_link_to_a_file_is_a_file() {
    let elsewhere = Tree::new(&["built.wasm"]);
    let tree = Tree::new(&[]);
    symlink(elsewhere.path("built.wasm"), tree.path("hello.wasm")).expect("a link");
    let before = tree.list();
    assert_eq!(before.files(), ["hello.wasm"]);
    assert_eq!(before.lines(), [""; 0]);
    fs::write(elsewhere.path("built.wasm"), "longer").expect("written");
    assert_ne!(tree.list().handlers[0].stamp, before.handlers[0].stamp);
}

/// A ConfigMap with `items` as mounted by Kubernetes: one link for each first component of a path.
#[test]
fn a_link_to_a_folder_within_is_a_folder() {
    let tree = Tree::new(&[
        "..2026_01_01/hello.wasm",
        "..2026_01_01/sub/hello.wasm",
        "..2026_01_01/sub/deep/[id].wasm",
        "real/x.wasm",
    ]);
    for (name, target) in [
        ("..data", "..2026_01_01"),
        ("hello.wasm", "..data/hello.wasm"),
        ("sub", "..data/sub"),
        ("real/here", "../sub"),
    ] {
        symlink(target, tree.path(name)).expect("a link");
    }
    symlink(tree.path("sub/deep"), tree.path("absolute")).expect("a link");
    let listing = tree.list();
    assert_eq!(
        listing.files(),
        [
            "absolute/[id].wasm",
            "hello.wasm",
            "real/here/deep/[id].wasm",
            "real/here/hello.wasm",
            "real/x.wasm",
            "sub/deep/[id].wasm",
            "sub/hello.wasm",
        ]
    );
    assert_eq!(listing.lines(), [""; 0]);
}

#[test]
fn a_link_to_a_folder_is_not_followed_out_or_in_circles() {
    let elsewhere = Tree::new(&["x.wasm"]);
    let tree = Tree::new(&["a/x.wasm", "b/y.wasm", "c/d/z.wasm"]);
    // A sibling folder whose path has the same prefix.
    let beside = format!("{}-beside", tree.0.path().display());
    fs::create_dir(&beside).expect("a folder");
    for (name, target) in [
        ("out", elsewhere.path("")),
        ("up", "..".into()),
        ("beside", (&beside).into()),
        ("dots", "../../../..".into()),
        ("self", ".".into()),
        ("a/self", ".".into()),
        ("a/to-b", "../b".into()),
        ("b/to-a", "../a".into()),
        ("c/d/up", "..".into()),
        ("through", "out".into()),
    ] {
        symlink(target, tree.path(name)).expect("a link");
    }
    let listing = tree.list();
    assert_eq!(
        listing.files(),
        [
            "a/to-b/y.wasm",
            "a/x.wasm",
            "b/to-a/x.wasm",
            "b/y.wasm",
            "c/d/z.wasm"
        ]
    );
    let lines = listing.lines();
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(
        count("a symbolic link to a folder outside of this one"),
        5,
        "{lines:?}"
    );
    // One for each folder, at each path that leads to it.
    assert_eq!(count("a symbolic link to a parent folder"), 6, "{lines:?}");
    assert_eq!(lines.len(), 11, "{lines:?}");
    fs::remove_dir(beside).expect("removed");
}

#[test]
fn a_missing_folder_is_empty_and_one_that_cant_be_read_is_unknown() {
    let tree = Tree::new(&["a/x.wasm", "b/y.wasm"]);
    let visit = &mut |_: &Path| {};
    let missing = Folder {
        path: &tree.path("missing"),
        given: Path::new("missing"),
        builds: None,
        external: &[],
    };
    let listing = list(missing, visit);
    assert_eq!(
        listing.lines(),
        ["missing/: no such folder: its handlers are served once it exists"]
    );
    assert!(!listing.is_unseen("x.wasm"));

    let file = Folder {
        path: &tree.path("a/x.wasm"),
        given: Path::new("x.wasm"),
        builds: None,
        external: &[],
    };
    let listing = list(file, visit);
    assert!(listing.is_unseen("any/thing.wasm"));
    assert!(listing.lines()[0].starts_with("x.wasm/: can't be read"));
}

#[test]
fn what_is_unseen_is_a_file_or_all_of_a_folder() {
    let mut listing = Listing::default();
    listing.unseen.push("a/b".to_owned());
    for (file, unseen) in [
        ("a/b", true),
        ("a/b/c.wasm", true),
        ("a/bc.wasm", false),
        ("a", false),
    ] {
        assert_eq!(listing.is_unseen(file), unseen, "{file}");
    }
}

#[test]
fn every_folder_is_visited_before_it_is_read_and_sources_are_not_entered() {
    let tree = Tree::new(&[
        "a/b/x.wasm",
        "src/Cargo.toml",
        "src/deep/y.wasm",
        "_off/z.wasm",
    ]);
    let folder = Folder {
        path: tree.0.path(),
        given: tree.0.path(),
        builds: None,
        external: &[],
    };
    let mut visited = Vec::new();
    list(folder, &mut |path| visited.push(path.to_owned()));
    assert_eq!(
        visited,
        ["", "a", "a/b", "src"].map(|below| tree.path(below))
    );
}

#[test]
fn strays_beyond_the_limit_are_counted() {
    let tree = Tree::new(&["a.wasm"]);
    for number in 0..MAX_STRAYS + 5 {
        tree.write(&format!("{number}.txt"));
    }
    let listing = tree.list();
    assert_eq!(listing.problems.len(), MAX_STRAYS + 1);
    assert!(
        listing
            .lines()
            .contains(&"handlers/: 5 more files that are not handlers".into())
    );
    assert_eq!(listing.files(), ["a.wasm"]);
}

#[test]
fn folders_are_entered_to_a_limit() {
    let tree = Tree::new(&[&("d/".repeat(MAX_SEGMENTS + 1) + "x.wasm")]);
    let listing = tree.list();
    assert_eq!(listing.files(), [""; 0]);
    assert!(listing.lines()[0].ends_with("folders deep: ignored"));
}
