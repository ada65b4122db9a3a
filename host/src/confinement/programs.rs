//! The files that the kernel and the dynamic linker open when this program is started again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::FileRights;

/// The file of the running program, even if it was replaced.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The list of the files that a process has mapped (proc_pid_maps(5)).
const MAPS: &str = "/proc/self/maps";

/// The cache of the dynamic linker (ld.so(8)).
const LINKER_CACHE: &str = "/etc/ld.so.cache";

/// Returns the rights that starting this program again needs. The folders of its libraries are
/// readable, because the C library also loads those that look up names.
pub(crate) fn of_this_program() -> FileRights {
    let maps = fs::read(MAPS).unwrap_or_default();
    let libraries = libraries(&maps);
    let is_linker = |path: &&PathBuf| {
        let name = path.file_name().map(OsStrExt::as_bytes);
        name.is_some_and(|name| name.starts_with(b"ld-"))
    };
    let linker = libraries.iter().find(is_linker).cloned();
    let folders: BTreeSet<&Path> = libraries.iter().filter_map(|path| path.parent()).collect();
    let folders = folders.into_iter().map(Path::to_owned);
    FileRights {
        read: folders.chain([LINKER_CACHE.into()]).collect(),
        execute: [THIS_PROGRAM.into()].into_iter().chain(linker).collect(),
        ..FileRights::default()
    }
}

/// Returns the libraries in a list of mapped files.
fn libraries(maps: &[u8]) -> BTreeSet<PathBuf> {
    let lines = maps.split(|byte| *byte == b'\n');
    let paths = lines.filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'/')?;
        Some(Path::new(std::ffi::OsStr::from_bytes(line.get(at..)?)))
    });
    let is_library = |path: &&Path| {
        let name = path.file_name().map(OsStrExt::as_bytes);
        name.is_some_and(|name| {
            let is_versioned = memchr::memmem::find(name, b".so.").is_some();
            is_versioned || name.ends_with(b".so")
        })
    };
    paths.filter(is_library).map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_among_mapped_files() {
        let maps = b"55d0-55d1 r--p 00000000 fd:00 1  /usr/bin/wasgi\n\
            7f01-7f02 r-xp 00001000 fd:00 2  /usr/lib/x86_64-linux-gnu/libc.so.6\n\
            7f03-7f04 r-xp 00001000 fd:00 2  /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\n\
            7f05-7f06 rw-p 00000000 00:00 0  [stack]\n\
            7f07-7f08 rw-s 00000000 00:01 9  /memfd:code (deleted)\n";
        let found: Vec<PathBuf> = libraries(maps).into_iter().collect();
        let folder = Path::new("/usr/lib/x86_64-linux-gnu");
        let expected = ["ld-linux-x86-64.so.2", "libc.so.6"];
        assert_eq!(found, expected.map(|name| folder.join(name)));
    }
}
