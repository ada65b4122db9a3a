//! Loads a program from a file, or explains to its author why the file does not load.

use std::path::Path;

use super::finding::Finding;
use crate::engine::{Engine, Missing, Program};
use crate::regular_file::{self, ReadError};
use crate::reload::{self, MAX_HANDLER_BYTES};

/// Reads and loads the file of the handler called `name`.
///
/// # Errors
///
/// Fails with the problems of the file, one finding for each missing import.
pub(crate) fn load(engine: &Engine, name: &str, path: &Path) -> Result<Program, Vec<Finding>> {
    let bytes = match path.is_dir() {
        true => application(path),
        false => read(path),
    };
    let bytes = bytes.map_err(|why| {
        let fix = "name a handler's file, or an application's folder: wasgi check \
                   handlers/hello.wasm";
        vec![Finding::error("load", why, fix)]
    })?;
    let error = match engine.load_path(name, path, &bytes) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    let missing = match path.is_dir() || reload::script_language(path).is_some() {
        true => Vec::new(),
        false => engine.missing(&bytes),
    };
    if missing.is_empty() {
        // The engine's message has both the problem and its fix.
        return Err(vec![Finding::error("load", error.to_string(), "")]);
    }
    Err(missing.iter().map(explain).collect())
}

fn explain(missing: &Missing) -> Finding {
    let what = format!(
        "needs {}, which this server does not offer: {}",
        missing.import, missing.meaning
    );
    Finding::error("load", what, missing.remedy)
}

fn application(path: &Path) -> Result<Vec<u8>, String> {
    if !reload::is_application(path) {
        let markers = reload::MARKERS.join(", ");
        return Err(format!(
            "is a folder, but not an application: it contains none of {markers}"
        ));
    }
    reload::manifest(path).map_err(|error| format!("{error:#}"))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    regular_file::read(path, MAX_HANDLER_BYTES).map_err(|error| match error {
        ReadError::NotRegular => "is not a regular file".to_owned(),
        ReadError::TooLarge(_) => format!("is {error}, the limit for a handler"),
        ReadError::Io(error) => format!("can't be read: {error}"),
    })
}
