//! Imports packages in the sandbox, to see whether they work without their compiled modules.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;

use super::packages::Packages;
use crate::check;
use crate::engine::Engine;
use crate::printable;

/// The front of the message of an import that needs a compiled module.
const MARK: &str = "wasgi-deps:";

/// An application that imports packages. Lists those that fail for the lack of one of their
/// compiled modules. What else a package needs, its application decides.
const APPLICATION: &str = "\
import importlib
import json


def needed(error, compiled):
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        name, part = getattr(error, 'name', None), getattr(error, 'name_from', None)
        for module in (name, f'{name}.{part}'):
            if module in compiled:
                return compiled[module]
        error = error.__cause__ or error.__context__


found = {}
for package, modules, compiled in PACKAGES:
    for module in modules:
        try:
            importlib.import_module(module)
        except BaseException as error:
            if file := needed(error, compiled):
                found[package] = file
if found:
    raise LookupError('MARK' + json.dumps(list(found.items())))


def app(environ, start_response):
    start_response('204 No Content', [])
    return []
";

/// Imports the packages that have compiled modules, as an application in `folder`, which contains
/// the folder of packages. Returns those that can't be imported without them, each with the file
/// that it needs.
///
/// # Errors
///
/// Fails if the sandbox can't be started, or the import doesn't end.
pub(super) fn import(
    engine: &Engine,
    packages: &Packages,
    folder: &Path,
) -> anyhow::Result<Vec<(String, String)>> {
    let plan: Vec<_> = packages
        .with_compiled()
        .map(|package| {
            let compiled = package.compiled.iter();
            let compiled = compiled.map(|file| (module(file), json!(file)));
            let compiled: serde_json::Map<_, _> = compiled.collect();
            json!([package.name, package.modules, compiled])
        })
        .collect();
    let source = APPLICATION
        .replace("MARK", MARK)
        .replace("PACKAGES", &json!(plan).to_string());
    let file = folder.join("app.py");
    fs::write(&file, source).with_context(|| format!("{}: can't be written", file.display()))?;
    let Err(findings) = check::load(engine, "", folder) else {
        return Ok(Vec::new());
    };
    let told = findings.first().map_or("", |finding| &finding.what);
    let list = told.split_once(MARK).map(|(_, list)| list);
    let mut values = serde_json::Deserializer::from_str(list.unwrap_or_default()).into_iter();
    match values.next() {
        Some(Ok(found)) => Ok(found),
        _ => bail!(
            "the packages with compiled code can't be tried without it: {}",
            printable::one_line(told)
        ),
    }
}

/// Returns the module that a compiled file contains: `a/_b.cpython-314.so` is `a._b`.
fn module(file: &str) -> String {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let name = name.split('.').next().unwrap_or(name);
    match folder {
        "" => name.to_owned(),
        _ => format!("{}.{name}", folder.replace('/', ".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiled_file_has_the_name_of_its_module() {
        for (file, name) in [
            (
                "markupsafe/_speedups.cpython-314-x86_64-linux-gnu.so",
                "markupsafe._speedups",
            ),
            ("a/b/c.abi3.so", "a.b.c"),
            ("_backend.so", "_backend"),
        ] {
            assert_eq!(module(file), name);
        }
    }
}
