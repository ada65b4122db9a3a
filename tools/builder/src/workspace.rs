//! The workspace as cargo describes it: its location, and which of its packages are handlers.
//!
//! Reads manifests with `cargo metadata`; builds nothing.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The folder of the handlers: their sources and the built files.
pub(crate) const HANDLERS: &str = "handlers";

/// The folder of the package whose examples are the tests' handlers.
const TEST_GUESTS: &str = "tests/guests";

/// The folder of the tests' handlers that are a separate workspace.
const OTHER_GUESTS: &str = "tests/other-guests";

/// The folders of packages that are separate workspaces, because they have many dependencies that
/// nothing else needs.
const SEPARATE_PACKAGES: [&str; 2] = ["benches", "fuzz"];

/// The workspace of this repository.
#[derive(Debug)]
pub struct Workspace {
    /// The repository's root.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    packages: Vec<Package>,
}

/// A Rust handler of the site.
#[derive(Debug, PartialEq)]
pub(crate) struct Demo {
    /// The name of its package.
    pub(crate) package: String,
    /// The manifest of the package, with which cargo identifies the built file.
    pub(crate) manifest: PathBuf,
    /// The path of the route without the leading slash: `hello`, `users/[id]`.
    pub(crate) route: String,
    /// Whether the package is a member of the workspace. Otherwise it has its own lock file.
    pub(crate) is_member: bool,
}

/// The Rust handlers, and one line for each package in `handlers/` that can't be built as one.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Demos {
    /// Sorted by route.
    pub(crate) demos: Vec<Demo>,
    /// The problem of each such package, and what to do about it.
    pub(crate) problems: Vec<String>,
}

impl Demo {
    /// Returns the folder of its package.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest.parent().unwrap_or(Path::new(""))
    }

    /// Returns whether a cargo command of its own must build it, because it disables features of a
    /// dependency: cargo enables a feature for all packages of a command if one of them uses it.
    pub(crate) fn disables_features(&self) -> bool {
        let manifest = fs::read_to_string(&self.manifest);
        manifest.is_ok_and(|text| text.contains("default-features = false"))
    }
}

/// The package of the tests' handlers.
#[derive(Debug, PartialEq)]
pub(crate) struct TestGuests {
    /// The name of the package.
    pub(crate) package: String,
}

impl Workspace {
    /// Queries cargo about the workspace that this program belongs to.
    ///
    /// # Errors
    ///
    /// Fails if cargo fails, for example for an invalid manifest.
    pub fn load() -> Result<Self> {
        // Read at run time: two clones that share a target folder also share this program, so the
        // compiled-in path may be that of the other clone.
        let package = env::var_os("CARGO_MANIFEST_DIR");
        let package = package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Self::load_from(Path::new(&package))
    }

    /// Queries cargo about the workspace that a folder belongs to.
    ///
    /// # Errors
    ///
    /// Fails if cargo fails, for example for an invalid manifest.
    pub(crate) fn load_from(folder: &Path) -> Result<Self> {
        let mut metadata = Command::new(cargo());
        metadata
            .args(["metadata", "--format-version=1", "--no-deps"])
            .current_dir(folder);
        Self::parse(&processes::text_of(&mut metadata)?).context("can't read cargo's metadata")
    }

    fn parse(metadata: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(metadata)?;
        let packages = metadata["packages"]
            .as_array()
            .context("it has no packages")?;
        Ok(Self {
            root: text(&metadata, "workspace_root")?.into(),
            target: text(&metadata, "target_directory")?.into(),
            packages: packages.iter().map(Package::parse).collect::<Result<_>>()?,
        })
    }

    /// Creates a workspace without packages.
    #[cfg(test)]
    pub(crate) fn at(root: &Path, target: &Path) -> Self {
        Self {
            root: root.to_owned(),
            target: target.to_owned(),
            packages: Vec::new(),
        }
    }

    /// Returns the site's Rust handlers: members of the workspace in `handlers/`, and independent
    /// packages there. A problem with one of them doesn't prevent the others from being built.
    pub(crate) fn demos(&self) -> Demos {
        let folder = self.root.join(HANDLERS);
        let members = self.packages.iter();
        let members = members.filter(|package| package.is_below(&folder));
        let mut demos = Demos::default();
        let mut by_route = BTreeMap::new();
        for package in members {
            self.add(package, true, &mut by_route, &mut demos.problems);
        }
        for manifest in self.own_manifests() {
            match Package::load(&manifest) {
                Ok(package) => self.add(&package, false, &mut by_route, &mut demos.problems),
                Err(error) => {
                    let shown = self.shown(&manifest);
                    demos.problems.push(format!("{shown}: {error:#}"));
                }
            }
        }
        demos.demos = by_route.into_values().collect();
        demos
    }

    /// Adds a package's handler, or a line about its problem.
    fn add(
        &self,
        package: &Package,
        is_member: bool,
        by_route: &mut BTreeMap<String, Demo>,
        problems: &mut Vec<String>,
    ) {
        let shown = self.shown(&package.manifest);
        let name = &package.name;
        if !package.is_cdylib {
            problems.push(format!(
                "{shown}: package {name} builds no component: add `[lib]` with \
                 `crate-type = [\"cdylib\"]`"
            ));
            return;
        }
        let route = package.route.as_ref().unwrap_or(name);
        if let Err(error) = check_route(route) {
            problems.push(format!(
                "{shown}: package {name}: invalid route `{route}`: {error}"
            ));
            return;
        }
        if let Some(other) = by_route.get(route) {
            let other = &other.package;
            problems.push(format!(
                "{shown}: packages {other} and {name} have the same route `{route}`: set \
                 `package.metadata.wasgi.route` of one"
            ));
            return;
        }
        let demo = Demo {
            package: name.clone(),
            manifest: package.manifest.clone(),
            route: route.clone(),
            is_member,
        };
        by_route.insert(route.clone(), demo);
    }

    /// Returns a path relative to the repository's root, if it is below it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        below.display().to_string()
    }

    /// Returns the manifests of the packages in `handlers/` that are not members of the workspace,
    /// sorted.
    fn own_manifests(&self) -> Vec<PathBuf> {
        let Ok(entries) = self.root.join(HANDLERS).read_dir() else {
            return Vec::new();
        };
        let manifests = entries
            .flatten()
            .map(|entry| entry.path().join("Cargo.toml"));
        let mut own: Vec<_> = manifests
            .filter(|manifest| {
                let mut members = self.packages.iter();
                manifest.is_file() && members.all(|package| package.manifest != *manifest)
            })
            .collect();
        own.sort();
        own
    }

    /// Returns the tests' handlers, or none if the workspace has no such package.
    pub(crate) fn test_guests(&self) -> Option<TestGuests> {
        let folder = self.root.join(TEST_GUESTS);
        let package = self
            .packages
            .iter()
            .find(|package| package.is_below(&folder))?;
        Some(TestGuests {
            package: package.name.clone(),
        })
    }

    /// Returns the manifest of the tests' handlers that are a separate workspace, if it exists.
    pub fn other_guests(&self) -> Option<PathBuf> {
        let manifest = self.root.join(OTHER_GUESTS).join("Cargo.toml");
        manifest.is_file().then_some(manifest)
    }

    /// Returns the demo site's handlers in C: the name, which is the route, and the source,
    /// `handlers/<name>/<name>.c`.
    pub(crate) fn c_demos(&self) -> Vec<(String, PathBuf)> {
        self.demos_with(|name| format!("{name}.c"))
    }

    /// Returns the demo site's handlers in Go: the name, which is the route, and the manifest,
    /// `handlers/<name>/go.mod`.
    pub(crate) fn go_demos(&self) -> Vec<(String, PathBuf)> {
        self.demos_with(|_| "go.mod".to_owned())
    }

    /// Returns the names of the handlers' folders that contain a certain file, with that file.
    fn demos_with(&self, file: impl Fn(&str) -> String) -> Vec<(String, PathBuf)> {
        let Ok(entries) = self.root.join(HANDLERS).read_dir() else {
            return Vec::new();
        };
        let mut demos: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let source = entry.path().join(file(&name));
                source.is_file().then_some((name, source))
            })
            .collect();
        demos.sort();
        demos
    }

    /// Returns the manifests of the packages that are separate workspaces, relative to the
    /// repository's root.
    pub fn separate_packages(&self) -> Vec<PathBuf> {
        let manifests = SEPARATE_PACKAGES
            .iter()
            .map(|folder| Path::new(folder).join("Cargo.toml"));
        manifests
            .filter(|manifest| self.root.join(manifest).is_file())
            .collect()
    }

    /// Returns whether the workspace has a package of this name.
    pub(crate) fn has_package(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name == name)
    }

    /// Returns a cargo command in the workspace.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(cargo());
        command.arg(subcommand).current_dir(&self.root);
        command
    }
}

/// Returns the cargo that runs this program, or the one in the path.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The parts of a manifest that this program uses.
#[derive(Debug)]
struct Package {
    name: String,
    manifest: PathBuf,
    is_cdylib: bool,
    /// The value of `package.metadata.wasgi.route`.
    route: Option<String>,
}

impl Package {
    /// Queries cargo about one package.
    fn load(manifest: &Path) -> Result<Self> {
        let mut metadata = Command::new(cargo());
        metadata
            .args([
                "metadata",
                "--format-version=1",
                "--no-deps",
                "--manifest-path",
            ])
            .arg(manifest);
        let output = metadata.output().context("can't start cargo")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = said
                .lines()
                .map(str::trim)
                .filter(|l| !l.is_empty())
                .collect();
            bail!("{}", lines.join("; "));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let packages = metadata["packages"].as_array();
        let packages = packages.context("cargo lists no packages")?;
        let is_it =
            |package: &&Value| package["manifest_path"].as_str().map(Path::new) == Some(manifest);
        let package = packages.iter().find(is_it);
        Self::parse(package.context("the manifest has no package")?)
    }

    fn parse(package: &Value) -> Result<Self> {
        let name = text(package, "name")?.to_owned();
        let targets = package["targets"]
            .as_array()
            .context("a package has no targets")?;
        let is_cdylib = |target: &Value| {
            target["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"))
        };
        let route = match &package["metadata"]["wasgi"]["route"] {
            Value::Null => None,
            Value::String(route) => Some(route.clone()),
            other => bail!(
                "package {name}: `package.metadata.wasgi.route` must be a string, not {other}"
            ),
        };
        Ok(Self {
            manifest: text(package, "manifest_path")?.into(),
            is_cdylib: targets.iter().any(is_cdylib),
            route,
            name,
        })
    }

    fn is_below(&self, folder: &Path) -> bool {
        self.manifest.starts_with(folder)
    }
}

/// Rejects a route that can't be the path of a file in `handlers/`, or would not be served.
fn check_route(route: &str) -> Result<()> {
    ensure!(
        !route.contains('\\') && !route.contains('\0'),
        "it contains a backslash or a NUL"
    );
    for segment in route.split('/') {
        ensure!(!segment.is_empty(), "it has an empty segment");
        ensure!(
            !segment.starts_with(['.', '_']),
            "a segment starts with `.` or `_`, so it is never served"
        );
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key]
        .as_str()
        .with_context(|| format!("it has no {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the metadata of a package at `/w/<folder>`.
    fn package(name: &str, folder: &str, kind: &str, metadata: &str) -> String {
        format!(
            r#"{{"name":"{name}","manifest_path":"/w/{folder}/Cargo.toml",
                "targets":[{{"kind":["{kind}"]}}],"metadata":{metadata}}}"#
        )
    }

    fn workspace(packages: &[String]) -> Workspace {
        let packages = packages.join(",");
        let metadata = format!(
            r#"{{"workspace_root":"/w","target_directory":"/w/target","packages":[{packages}]}}"#
        );
        Workspace::parse(&metadata).expect("it is metadata")
    }

    #[test]
    fn a_route_is_the_packages_name_or_what_its_metadata_says() {
        let workspace = workspace(&[
            package("wasgi", "host", "lib", "null"),
            package(
                "user",
                "handlers/user",
                "cdylib",
                r#"{"wasgi":{"route":"users/[id]"}}"#,
            ),
            package("hello", "handlers/hello", "cdylib", "null"),
        ]);
        let demos = workspace.demos();
        assert_eq!(demos.problems, [""; 0]);
        let routes: Vec<_> = demos
            .demos
            .iter()
            .map(|d| (d.package.as_str(), d.route.as_str()))
            .collect();
        assert_eq!(routes, [("hello", "hello"), ("user", "users/[id]")]);
    }

    #[test]
    fn a_package_beside_handlers_is_no_handler() {
        let workspace = workspace(&[package("x", "handlers-old/x", "cdylib", "null")]);
        assert_eq!(workspace.demos(), Demos::default());
    }

    #[test]
    fn two_packages_of_one_route_are_refused() {
        let route = r#"{"wasgi":{"route":"a"}}"#;
        let demos = workspace(&[
            package("a", "handlers/a", "cdylib", "null"),
            package("b", "handlers/b", "cdylib", route),
            package("c", "handlers/c", "cdylib", "null"),
        ])
        .demos();
        let [problem] = &demos.problems[..] else {
            panic!("{demos:?}");
        };
        assert!(problem.contains("packages a and b"), "{problem}");
        assert_eq!(demos.demos.len(), 2, "the others are built");
    }

    #[test]
    fn routes_outside_of_handlers_are_refused() {
        for route in [
            "", "/a", "a/", "a//b", "../a", ".a", "_a", "a/_b", "a/..", "a\\b",
        ] {
            assert!(check_route(route).is_err(), "{route:?}");
        }
        for route in [
            "a",
            "a/b",
            "users/[id]",
            "files/[...rest]",
            "index",
            "a/index",
        ] {
            assert!(check_route(route).is_ok(), "{route:?}");
        }
    }

    #[test]
    fn a_handler_that_builds_no_component_is_refused() {
        let demos = workspace(&[
            package("a", "handlers/a", "lib", "null"),
            package("b", "handlers/b", "cdylib", "null"),
        ])
        .demos();
        let [problem] = &demos.problems[..] else {
            panic!("{demos:?}");
        };
        assert!(
            problem.contains("handlers/a/Cargo.toml: package a"),
            "{problem}"
        );
        assert!(problem.contains("crate-type = [\"cdylib\"]"), "{problem}");
        assert_eq!(demos.demos.len(), 1, "the other is built");
    }

    #[test]
    fn the_tests_handlers_are_found_by_their_folder() {
        let with = workspace(&[package("cases", "tests/guests", "lib", "null")]);
        assert_eq!(
            with.test_guests(),
            Some(TestGuests {
                package: "cases".into()
            })
        );
        assert_eq!(workspace(&[]).test_guests(), None);
    }

    #[test]
    fn a_package_that_is_no_member_is_built_by_itself() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |name: &str, manifest: &str| {
            let folder = root.path().join(HANDLERS).join(name);
            fs::create_dir_all(folder.join("src")).expect("made");
            fs::write(folder.join("src/lib.rs"), "").expect("written");
            if !manifest.is_empty() {
                fs::write(folder.join("Cargo.toml"), manifest).expect("written");
            }
        };
        write("member", "[package]\nname = \"member\"\n");
        write(
            "own",
            "[package]\nname = \"own\"\n[lib]\ncrate-type = [\"cdylib\"]\n",
        );
        write("broken", "[package\n");
        write("no-package", "");
        let mut workspace = workspace(&[package("member", "handlers/member", "cdylib", "null")]);
        workspace.root = root.path().to_owned();
        workspace.packages[0].manifest = root.path().join("handlers/member/Cargo.toml");
        let demos = workspace.demos();
        let found: Vec<_> = demos
            .demos
            .iter()
            .map(|d| (&*d.package, d.is_member))
            .collect();
        assert_eq!(found, [("member", true), ("own", false)]);
        let [problem] = &demos.problems[..] else {
            panic!("{demos:?}");
        };
        assert!(
            problem.starts_with("handlers/broken/Cargo.toml: "),
            "{problem}"
        );
    }

    #[test]
    fn a_handler_in_c_or_go_has_its_folders_name() {
        let root = tempfile::tempdir().expect("a folder");
        for file in [
            "cgi/cgi.c",
            "cgi/other.c",
            "rust/src.c",
            "plain.c",
            "x/go.mod",
        ] {
            let file = root.path().join(HANDLERS).join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, "").expect("written");
        }
        let mut workspace = workspace(&[]);
        workspace.root = root.path().to_owned();
        let source = root.path().join(HANDLERS).join("cgi/cgi.c");
        assert_eq!(workspace.c_demos(), [("cgi".to_owned(), source)]);
        let source = root.path().join(HANDLERS).join("x/go.mod");
        assert_eq!(workspace.go_demos(), [("x".to_owned(), source)]);
    }

    #[test]
    fn this_workspace_is_understood() {
        let workspace = Workspace::load().expect("cargo describes it");
        assert!(workspace.has_package("wasgi"));
        assert!(!workspace.has_package("wasgi-not"));
        assert!(workspace.root.join("Cargo.lock").is_file());
        assert!(
            workspace
                .separate_packages()
                .contains(&"fuzz/Cargo.toml".into())
        );
        let demos = workspace.demos();
        let members = demos.demos.iter().filter(|demo| demo.is_member);
        assert!(members.count() >= 8, "{demos:?}");
    }
}
