//! Denied requests of guests: files and variables. Each is logged once per version of a
//! handler, because the guest's own error may say little or nothing.
//!
//! A command has variables: those of its request. The adapter that turns a command into a component
//! always requests folders, so for commands the files themselves are logged (`command/files.rs`).
//! The code that componentize-py adds to an interpreter always requests variables, once in each
//! instance.

use wasmtime::component::{Linker, Resource};
use wasmtime::{StoreContext, WasmBacktrace};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use crate::engine::call::refusals::Thing;
use crate::engine::call::state::HostState;
use crate::grants;
use crate::printable;

/// The version of the interfaces in `wasmtime-wasi`: another name would add a second definition.
pub(super) const VERSION: &str = "0.2.12";

/// The name of the empty folder that a command without folders has.
pub(super) const EMPTY_FOLDER: &str = "/";

/// The maximum length of a path in a log line, in bytes: more than usual paths have.
const PATH_BYTES: usize = 255;

/// A part of the names, mangled or not, of functions that componentize-py adds to an interpreter.
const PYTHON_RUNTIME: &str = "componentize_py_runtime";

/// Replaces the bindings' functions that request variables and folders: returns those that are
/// granted, and logs how to grant some.
pub(in crate::engine) fn add_files_and_variables_to_linker(
    linker: &mut Linker<HostState>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance(&format!("wasi:cli/environment@{VERSION}"))?
        .func_wrap("get-environment", |mut store, (): ()| {
            let state: &mut HostState = store.data_mut();
            let granted = state.grants().map(|grants| grants.variables().to_vec());
            let granted = granted.unwrap_or_default();
            if granted.is_empty()
                && state.is_news(Thing::Variables)
                && !is_asked_by_python_runtime(&store)
            {
                let state: &mut HostState = store.data_mut();
                let example = "environment = { NAME = \"value\" }";
                let text = ungranted(state, "environment variables and has none", example);
                state.deny(&text);
            }
            Ok((granted,))
        })?;
    linker
        .instance(&format!("wasi:filesystem/preopens@{VERSION}"))?
        .func_wrap("get-directories", |mut store, (): ()| {
            let state: &mut HostState = store.data_mut();
            let folders: Vec<(Resource<Descriptor>, String)> =
                state.filesystem().get_directories()?;
            if folders.is_empty() {
                refuse_files(state, "files and has none");
            }
            Ok((folders,))
        })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Logs how to grant files, once per version of a handler. `what` says what it asked for and that
/// it has none.
fn refuse_files(state: &mut HostState, what: &str) {
    let example = "files = [{ source = \"data\", destination = \"/data\" }]";
    let text = ungranted(state, what, example);
    state.refuse(Thing::Files, &text);
}

/// Logs a path that a command without folders asks for, and returns the error for it. `None` for a
/// handler with folders. Handlers of other kinds have no folder to ask for a path in.
pub(super) fn refuse_path(state: &mut HostState, path: &str) -> Option<ErrorCode> {
    if state.has_folders() {
        return None;
    }
    // Relative to the folder, which is `.` in it.
    let path = match path {
        "." => EMPTY_FOLDER.to_owned(),
        path => format!("{EMPTY_FOLDER}{}", printable::front(path, PATH_BYTES)),
    };
    refuse_files(state, &format!("the file {path:?} and has no files"));
    Some(ErrorCode::NoEntry)
}

/// Returns the log line for something that a handler has asked for and that is not granted to it.
pub(super) fn ungranted(state: &HostState, what: &str, example: &str) -> String {
    let table = grants::table_header(state.handler());
    format!("asked for {what}; to grant some, add to wasgi.toml: {table} {example}")
}

/// Returns whether the request comes from the code that componentize-py adds to an interpreter, not
/// from the program.
fn is_asked_by_python_runtime<'a>(store: impl Into<StoreContext<'a, HostState>>) -> bool {
    let stack = WasmBacktrace::force_capture(store.into());
    let mut names = stack.frames().iter().filter_map(|frame| frame.func_name());
    names.any(|name| name.contains(PYTHON_RUNTIME))
}
