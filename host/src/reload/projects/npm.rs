//! What is particular to npm: the folders that a package depends on by path.

use std::path::{Path, PathBuf};

use super::kind;

/// The fields of a `package.json` with dependencies.
const DEPENDENCIES: [&str; 3] = ["dependencies", "devDependencies", "optionalDependencies"];

/// The prefixes of a dependency by path.
const PATHS: [&str; 2] = ["file:", "link:"];

/// The maximum number of folders that a package depends on, directly or through others.
const MAX_FOLDERS: usize = 100;

/// Returns the folders that the package in a folder depends on by path, directly or through others.
pub(super) fn path_dependencies(package: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut next = vec![package.to_owned()];
    while let Some(folder) = next.pop() {
        for dependency in direct(&folder) {
            if found.len() < MAX_FOLDERS && dependency != package && !found.contains(&dependency) {
                found.push(dependency.clone());
                next.push(dependency);
            }
        }
    }
    found
}

fn direct(folder: &Path) -> Vec<PathBuf> {
    let Some(package) = kind::package(folder) else {
        return Vec::new();
    };
    let all = DEPENDENCIES
        .iter()
        .filter_map(|name| package.get(name)?.as_object());
    let paths = all.flat_map(|all| all.values()).filter_map(|version| {
        let version = version.as_str()?;
        PATHS.iter().find_map(|prefix| version.strip_prefix(prefix))
    });
    // An archive is not followed, and neither is a folder that does not exist.
    let folders = paths.filter_map(|path| folder.join(path).canonicalize().ok());
    folders.filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn folders_are_followed_through_others_and_each_once() {
        let site = tempfile::tempdir().expect("a folder");
        let site = site.path().canonicalize().expect("its path");
        let write = |name: &str, dependencies: &str| {
            fs::create_dir_all(site.join(name)).expect("created");
            fs::write(site.join(name).join("package.json"), dependencies).expect("written");
        };
        write(
            "a",
            r#"{"dependencies": {"b": "file:../b", "x": "^1.0.0", "y": "file:missing", "z": 7},
                "devDependencies": {"c": "link:../c"}}"#,
        );
        write(
            "b",
            r#"{"dependencies": {"d": "file:../d", "a": "file:../a"}}"#,
        );
        write("c", "not JSON");
        write("d", r#"{"dependencies": {"b": "file:../b"}}"#);
        let mut found = path_dependencies(&site.join("a"));
        found.sort();
        assert_eq!(found, ["b", "c", "d"].map(|name| site.join(name)));
        assert!(path_dependencies(&site.join("none")).is_empty());
    }
}
