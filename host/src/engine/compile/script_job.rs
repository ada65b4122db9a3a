//! A script to load in a compiling process, and the result.

use std::path::PathBuf;

use super::super::code_file::CodeFile;

/// A script for an interpreter to load.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct ScriptJob<'a> {
    /// JSON for the interpreter.
    pub(in crate::engine) plan: &'a [u8],
    /// The interpreter's code, its loader, and its initial state.
    pub(in crate::engine) parts: [&'a CodeFile; 3],
    /// The name of the code that the new state is for.
    pub(in crate::engine) mark: &'a str,
    /// The folders that the interpreter can read, each with its name in the sandbox.
    pub(in crate::engine) folders: &'a [(PathBuf, &'static str)],
}

/// A portable component from a script.
#[derive(Debug)]
pub(in crate::engine) struct BuiltScript {
    pub(in crate::engine) component: Vec<u8>,
    /// The application's standard output and error.
    pub(in crate::engine) said: String,
}

/// The result of loading a script.
#[derive(Debug)]
pub(in crate::engine) struct LoadedScript {
    pub(in crate::engine) state: CodeFile,
    /// The application's standard output and error.
    pub(in crate::engine) said: String,
    /// The modules that a layer of its packages should have, in the order of their imports. Empty
    /// if no layer is needed.
    pub(in crate::engine) modules: Vec<String>,
}
