//! The toolchain of handlers in C: clang and `wasi-libc`, as Debian's packages install them.
//!
//! The linker is that of rustup's toolchain, if there is one, because `wasi-libc` may be too new
//! for the release's `wasm-ld`.
//!
//! It builds core modules for WASI preview 1, which the server runs as CGI. Nothing else depends on
//! it: if it can't be installed, handlers in C are skipped.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use processes::step;

use super::{Rustc, debian};

/// The compiler's program.
const CLANG: &str = "clang";

/// The time limit to compile a file, which normally takes a fraction of a second.
const COMPILE_TIME_LIMIT: Duration = Duration::from_secs(120);

/// The target and its libraries, and options for a small program: a small stack, and no debug
/// information.
const FLAGS: [&str; 8] = [
    "--target=wasm32-wasi",
    "--sysroot=/usr",
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Os",
    "-Wl,--strip-all",
    "-Wl,-z,stack-size=30720",
];

/// A C compiler that has successfully built a command.
#[derive(Debug)]
pub(super) struct CToolchain {
    /// The linker, if it is not the compiler's own.
    linker: Option<PathBuf>,
}

impl CToolchain {
    /// Finds the toolchain, by building a minimal program.
    ///
    /// # Errors
    ///
    /// Names the missing part.
    pub(super) fn find(root: &Path) -> Result<Self> {
        let folder = tempfile::tempdir().context("can't create a temporary folder")?;
        let source = folder.path().join("empty.c");
        std::fs::write(&source, "int main(void) { return 0; }\n")
            .with_context(|| format!("can't write {}", source.display()))?;
        let linker = Rustc::query(root)?.linkers().join("gcc-ld/wasm-ld");
        let toolchain = Self {
            linker: linker.is_file().then_some(linker),
        };
        toolchain.compile(&source, &folder.path().join("empty.wasm"))?;
        Ok(toolchain)
    }

    /// Finds the toolchain, and installs it if necessary and possible.
    ///
    /// # Errors
    ///
    /// Fails if it can't be installed.
    pub(super) fn ensure(root: &Path) -> Result<Self> {
        Self::find(root).or_else(|missing| {
            step(format!(
                "no compiler for handlers in C ({missing:#}): running {} c, which installs clang \
                 and wasi-libc",
                debian::SCRIPT
            ));
            debian::install(root, "c")?;
            Self::find(root)
                .context("Debian's packages are installed, and handlers in C still don't build")
        })
    }

    /// Compiles a file to a command for WASI preview 1.
    ///
    /// # Errors
    ///
    /// Fails if it does not compile, with the compiler's first error.
    pub(super) fn compile(&self, source: &Path, output: &Path) -> Result<()> {
        let mut clang = Command::new(CLANG);
        clang.args(FLAGS).arg("-o").arg(output).arg(source);
        if let Some(linker) = &self.linker {
            let mut flag = OsString::from("-fuse-ld=");
            flag.push(linker);
            clang.arg(flag);
        }
        processes::run_quietly(&mut clang, COMPILE_TIME_LIMIT)
            .with_context(|| format!("can't compile {}", source.display()))
    }
}
