//! Finds the modules of npm packages in `node_modules`, by the rules that Node.js has for `import`.

use serde_json::Value;

use crate::modules::{Folder, within};

/// The conditions of conditional exports that apply here: those of a web server in a sandbox.
const CONDITIONS: [&str; 6] = [
    "workerd", "worker", "browser", "import", "module", "default",
];

/// The maximum nesting of conditions in a package's exports.
const MAX_NESTING: usize = 10;

/// Returns the path of the module with a bare name, such as `hono` or `@scope/name/part`.
///
/// # Errors
///
/// Fails with the reason.
pub(crate) fn resolve(folder: &Folder, base: &str, name: &str) -> Result<String, String> {
    let (package, inside) = split(name);
    let mut parent = base.rsplit_once('/').map_or("", |(parent, _)| parent);
    loop {
        let path = within(parent, &format!("node_modules/{package}"));
        if let Some(path) = path.filter(|path| folder.is_folder(path)) {
            return in_package(folder, &path, package, inside);
        }
        if parent.is_empty() {
            return Err(format!("there is no package {package} in node_modules"));
        }
        parent = parent.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
}

/// Splits a bare name into the package's name and the path in it.
fn split(name: &str) -> (&str, &str) {
    let slashes = usize::from(name.starts_with('@'));
    match name.match_indices('/').nth(slashes) {
        Some((at, _)) => (&name[..at], &name[at + 1..]),
        None => (name, ""),
    }
}

fn in_package(folder: &Folder, path: &str, package: &str, inside: &str) -> Result<String, String> {
    let described = folder.read(&format!("{path}/package.json"));
    let described = described
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
        .unwrap_or_default();
    let target = match described.get("exports") {
        Some(exports) => exported(exports, inside)
            .ok_or_else(|| format!("the package {package} exports no such module for import"))?,
        None if inside.is_empty() => main(&described),
        None => inside.to_owned(),
    };
    let found = within("", &format!("{path}/{target}"));
    let found = found.filter(|found| found.starts_with(path));
    let found =
        found.ok_or_else(|| format!("the package {package} names a path outside itself"))?;
    let suffixes = ["", ".js", ".mjs", "/index.js"];
    // Packages without `exports` are older than the rule that names are complete.
    let there = suffixes
        .iter()
        .find(|suffix| folder.is_file(&format!("{found}{suffix}")));
    match there {
        Some(suffix) => Ok(format!("{found}{suffix}")),
        None => Err(format!("there is no file {found}")),
    }
}

fn main(described: &Value) -> String {
    let named = ["module", "main"]
        .iter()
        .find_map(|key| described.get(*key)?.as_str());
    named.unwrap_or("index.js").to_owned()
}

/// Finds a module in a package's `exports`.
fn exported(exports: &Value, inside: &str) -> Option<String> {
    let wanted = match inside {
        "" => ".".to_owned(),
        inside => format!("./{inside}"),
    };
    let is_table = exports
        .as_object()
        .is_some_and(|object| object.keys().any(|key| key.starts_with('.')));
    if !is_table {
        return (wanted == ".").then(|| target(exports, 0)).flatten();
    }
    let table = exports.as_object()?;
    if let Some(value) = table.get(&wanted) {
        return target(value, 0);
    }
    let mut best: Option<(&str, &str, &Value)> = None;
    for (key, value) in table {
        if let Some((front, back)) = key.split_once('*')
            && wanted.len() >= front.len() + back.len()
            && wanted.starts_with(front)
            && wanted.ends_with(back)
            && best.is_none_or(|(known, _, _)| known.len() < front.len())
        {
            best = Some((front, back, value));
        }
    }
    let (front, back, value) = best?;
    let middle = &wanted[front.len()..wanted.len() - back.len()];
    Some(target(value, 0)?.replace('*', middle))
}

/// Returns the path for the conditions that apply.
fn target(value: &Value, nesting: usize) -> Option<String> {
    if nesting > MAX_NESTING {
        return None;
    }
    match value {
        Value::String(path) => Some(path.clone()),
        Value::Array(values) => values.iter().find_map(|value| target(value, nesting + 1)),
        Value::Object(conditions) => conditions
            .iter()
            .filter(|(condition, _)| CONDITIONS.contains(&condition.as_str()))
            .find_map(|(_, value)| target(value, nesting + 1)),
        _ => None,
    }
}

/// Returns whether a module is written for `require` and not for `import`.
pub(crate) fn is_common_js(name: &str, source: &str) -> bool {
    if name.ends_with(".cjs") {
        return true;
    }
    let is_module = |line: &str| {
        let line = line.trim_start();
        line.starts_with("import ")
            || line.starts_with("import{")
            || line.starts_with("export ")
            || line.starts_with("export{")
            || line.contains(";export{")
            || line.contains(";import")
            || line.starts_with("export*")
            || line.starts_with("import*")
    };
    let is_common = |line: &str| line.contains("module.exports") || line.contains("exports.");
    !name.ends_with(".mjs") && source.lines().any(is_common) && !source.lines().any(is_module)
}
