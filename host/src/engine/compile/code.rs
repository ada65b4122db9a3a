//! Compiles a file's bytes and checks that the code can run: everything that parses untrusted
//! input. Runs in a compiling process.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;

use super::super::code_file::CodeFile;
use super::super::error::LoadError;
use super::super::fuse::{self, Apart, CodeKey, Linked};
use super::super::limits::line;
use super::super::lines::Line;
use super::super::pools::instances::InstancePool;
use super::super::pools::settings::{self, Effort};
use super::super::shared_code::{ProgramFiles, SharedCode};
use super::super::{bulk, componentize};
use crate::file_kind::{self, Foreign};
use wasgi_component::lines;

/// Compiled code, with its related results.
pub(super) struct Code {
    /// The content of a `CodeFile`.
    pub(super) bytes: Vec<u8>,
    /// The other parts, if this is a state.
    pub(super) shared: Option<SharedCode>,
    /// Why its instances take longer to create than those of a fused component: a line for the log.
    pub(super) unfused: Option<String>,
}

/// The parts that a component may share with others.
pub(super) enum Common {
    /// Already compiled: the code and the frame.
    Known(CodeFile, CodeFile),
    /// Not compiled: write them to these two files.
    Wanted(File, File),
}

/// Asks the server for the shared parts.
pub(super) type Ask<'a> = dyn FnMut(CodeKey) -> Result<Common, LoadError> + 'a;

/// Compiles the bytes of a `.wasm` or `.wat` file. Calls `common` at most once, for a component
/// that was made from a snapshot, whose parts are optimised whatever the effort.
///
/// # Errors
///
/// Fails if the bytes are not a component and can't be converted to one, if they don't compile, or
/// if `common` fails.
pub(super) fn compile(
    engine: &wasmtime::Engine,
    effort: Effort,
    bytes: &[u8],
    common: &mut Ask<'_>,
) -> Result<Code, LoadError> {
    let binary = binary(bytes)?;
    match Layer::from_bytes(&binary)? {
        Layer::Component => compile_fused(engine, effort, &binary, common),
        Layer::Module => {
            let component = componentize::from_module(&binary).map_err(LoadError::new)?;
            compile_fused(engine, effort, &component, common)
        }
    }
}

/// Compiles an interpreter without an application.
///
/// # Errors
///
/// Fails if the server can't use the interpreter, if it doesn't compile, or if `common` fails.
pub(super) fn runtime(
    engine: &wasmtime::Engine,
    bytes: &[u8],
    common: &mut Ask<'_>,
) -> Result<Code, LoadError> {
    let runtime = fuse::runtime(bytes).map_err(|why| no_runtime(&why))?;
    compile_parts(engine, &with_short_copies(runtime.apart)?, common)
}

/// Compiles the frame with which an interpreter loads an application.
///
/// # Errors
///
/// Fails if the server can't use the interpreter, or it doesn't compile.
pub(super) fn loader(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let runtime = fuse::runtime(bytes).map_err(|why| no_runtime(&why))?;
    let loader = engine.precompile_component(&runtime.loader);
    loader.map_err(LoadError::uncompiled)
}

fn no_runtime(refusal: &fuse::Unsupported) -> LoadError {
    LoadError::new(format!("is not a usable runtime: {refusal}"))
}

/// Runs the same steps on compiled code as the server will, except instantiation: a failure or an
/// endless loop then happens here.
///
/// # Errors
///
/// Fails if the code is of no known kind, imports functions that the host doesn't have, or violates
/// the contract.
pub(super) fn try_out(instances: &InstancePool, files: &ProgramFiles) -> Result<(), LoadError> {
    let compiled = files
        .map(&instances.engine)
        .map_err(LoadError::unprepared)?;
    let kind = compiled.kind(&instances.engine).map_err(LoadError::new)?;
    compiled.imports(&instances.engine);
    instances.link(&compiled, kind).map(drop)
}

/// Returns the lines of the source of positions in the code that [`compile`] makes of a file. Code
/// that is shared with others has none.
///
/// # Errors
///
/// Fails as [`compile`] does.
pub(super) fn lines(bytes: &[u8], positions: &[u64]) -> Result<Vec<Vec<Line>>, LoadError> {
    let binary = binary(bytes)?;
    let component = match Layer::from_bytes(&binary)? {
        Layer::Component => binary,
        Layer::Module => Cow::Owned(componentize::from_module(&binary).map_err(LoadError::new)?),
    };
    let none = || Ok(vec![Vec::new(); positions.len()]);
    if fuse::parts_of_portable(&component).is_some() {
        return none();
    }
    let copied = bulk::component(&component).map_err(LoadError::new)?;
    let compiled = match fuse::link(&copied) {
        Ok(Linked::Program(compiled) | Linked::Component(compiled)) => Cow::Owned(compiled),
        Ok(Linked::Apart(_)) => return none(),
        Err(_) => copied,
    };
    Ok(lines::find(&component, &compiled, positions))
}

/// Returns the binary for a file, which can contain the text format.
fn binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>, LoadError> {
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        text.starts_with(['(', ';']) && text.contains('(')
    });
    if !is_text {
        return Ok(Cow::Borrowed(bytes));
    }
    wat::parse_bytes(bytes).map_err(|error| LoadError::uncompiled(error.into()))
}

/// The layer of a binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// A component.
    Component,
    /// A core module.
    Module,
}

impl Layer {
    /// Determines the layer, and rejects other files with a clearer message than a compiler's.
    fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        // The preamble: magic, then version and layer (component-model, Binary.md).
        const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
        const MODULE: &[u8] = b"\0asm\x01\0\0\0";
        let wrong = if bytes.is_empty() {
            "empty".to_owned()
        } else if bytes.starts_with(COMPONENT) {
            return Ok(Self::Component);
        } else if bytes.starts_with(MODULE) {
            return Ok(Self::Module);
        } else if MODULE.starts_with(bytes) || COMPONENT.starts_with(bytes) {
            format!(
                "WebAssembly that is cut off after {} bytes: is the file whole?",
                bytes.len()
            )
        } else if bytes.starts_with(b"\0asm") {
            "WebAssembly of an unknown version: build it with a current toolchain".to_owned()
        } else if let Some(Foreign { name, advice }) = file_kind::identify(bytes) {
            format!("{name}, not WebAssembly: {advice}")
        } else {
            "neither WebAssembly nor its text (.wat): is it the file that you meant?".to_owned()
        };
        Err(LoadError::new(wrong))
    }
}

/// Compiles a component, fused if possible.
fn compile_fused(
    engine: &wasmtime::Engine,
    effort: Effort,
    bytes: &[u8],
    common: &mut Ask<'_>,
) -> Result<Code, LoadError> {
    if let Some(apart) = fuse::parts_of_portable(bytes) {
        return compile_parts(engine, &with_short_copies(apart)?, common);
    }
    let bytes = &bulk::component(bytes).map_err(LoadError::new)?;
    let fused = match fuse::link(bytes) {
        Ok(Linked::Program(module)) => settings::compiling_engine(engine, &module, effort)
            .and_then(|engine| engine.precompile_module(&module)),
        Ok(Linked::Component(fused)) => settings::compiling_engine(engine, &fused, effort)
            .and_then(|engine| engine.precompile_component(&fused)),
        Ok(Linked::Apart(apart)) => return compile_parts(engine, &apart, common),
        Err(refusal) => {
            let unfused = refusal.is_slower().then(|| refusal.to_string());
            return compile_unchanged(engine, effort, bytes, unfused);
        }
    };
    match fused {
        Ok(bytes) => Ok(Code {
            bytes,
            shared: None,
            unfused: None,
        }),
        Err(why) => compile_unchanged(engine, effort, bytes, Some(line(&why))),
    }
}

fn compile_unchanged(
    engine: &wasmtime::Engine,
    effort: Effort,
    bytes: &[u8],
    unfused: Option<String>,
) -> Result<Code, LoadError> {
    let compiled = settings::compiling_engine(engine, bytes, effort)
        .and_then(|engine| engine.precompile_component(bytes));
    let bytes = compiled.map_err(LoadError::uncompiled)?;
    Ok(Code {
        bytes,
        shared: None,
        unfused,
    })
}

/// Splits long copies in a component in parts. Its key stays that of the original, so that all
/// components with the same code share it.
fn with_short_copies(mut apart: Apart) -> Result<Apart, LoadError> {
    apart.code = bulk::core_module(&apart.code).into_owned();
    apart.frame = bulk::component(&apart.frame)
        .map_err(LoadError::new)?
        .into_owned();
    Ok(apart)
}

/// Compiles a component in parts: its state, and those of the other parts that are unknown.
fn compile_parts(
    engine: &wasmtime::Engine,
    apart: &Apart,
    common: &mut Ask<'_>,
) -> Result<Code, LoadError> {
    let (code, frame) = match common(apart.key)? {
        Common::Known(code, frame) => (code, frame),
        Common::Wanted(code, frame) => {
            let compiled = engine
                .precompile_module(&apart.code)
                .map_err(LoadError::uncompiled)?;
            let code = written(code, &compiled)?;
            let compiled = engine
                .precompile_component(&apart.frame)
                .map_err(LoadError::uncompiled)?;
            (code, written(frame, &compiled)?)
        }
    };
    let state = settings::compiling_engine(engine, &apart.state, Effort::Full)
        .and_then(|engine| engine.precompile_module(&apart.state))
        .map_err(LoadError::uncompiled)?;
    Ok(Code {
        bytes: state,
        shared: Some(SharedCode::new(code, frame)),
        unfused: None,
    })
}

fn written(mut file: File, bytes: &[u8]) -> Result<CodeFile, LoadError> {
    file.write_all(bytes)
        .map_err(|error| LoadError::of_io(format!("its code can't be written: {error}"), &error))?;
    Ok(CodeFile::written(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_apart() {
        for (bytes, layer) in [
            (&b"\0asm\x0d\0\x01\0..."[..], Ok(Layer::Component)),
            (b"\0asm\x01\0\0\0...", Ok(Layer::Module)),
            (b"(component)", Ok(Layer::Component)),
            (
                b";; (module)\n (; (module ;) (component)",
                Ok(Layer::Component),
            ),
            (b" ( module)", Ok(Layer::Module)),
            (b";; text\n(; of ;);;\n(module $m)", Ok(Layer::Module)),
            (b"", Err("empty")),
            (b"\0asm\x02\0\0\0", Err("unknown version")),
            (b"prose", Err("neither WebAssembly")),
            (b"(;", Err("does not compile")),
            (b"(component", Err("does not compile")),
            (b"\xff(", Err("neither WebAssembly")),
            (b"print(1)", Err("neither WebAssembly")),
            (b"\0as", Err("cut off after 3 bytes")),
            (b"\0asm\x0d\0", Err("cut off after 6 bytes")),
            (
                b"\x7fELF\x02",
                Err("an ELF program, not WebAssembly: build it for"),
            ),
            (
                b"PK\x03\x04",
                Err("such as a wheel, not WebAssembly: `python -m wasgi"),
            ),
            (
                b"\x1f\x8b\x08",
                Err("gzip data, not WebAssembly: unpack it"),
            ),
        ] {
            let shown = bytes.escape_ascii();
            match (
                binary(bytes).and_then(|bytes| Layer::from_bytes(&bytes)),
                layer,
            ) {
                (Ok(got), Ok(wanted)) => assert_eq!(got, wanted, "{shown}"),
                (Err(got), Err(wanted)) => {
                    assert!(got.to_string().contains(wanted), "{shown}: {got}");
                }
                (got, wanted) => panic!("{shown}: {got:?}, not {wanted:?}"),
            }
        }
    }
}
