//! Files of commands without a granted folder.
//!
//! A command's C library looks for a folder that it was given before it asks the host for a file.
//! Without one the host would never see the path, and the program would fail without a log line. So
//! a command gets an empty folder as `/`: each path in it does not exist, and the first one that
//! the program asks for is logged.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{HostDescriptor as _, PathFlags};
use wasmtime_wasi::{FsPerms, OpenMode};

use super::super::open_files::{Folder, answer};
use super::super::refused::{EMPTY_FOLDER, VERSION, refuse_path};
use crate::engine::call::state::HostState;

/// Replaces methods of a folder: each denies the path if the command has no folders, and is the
/// method of WASI's implementation otherwise.
macro_rules! replace {
    ($types:ident, $($name:literal => $method:ident($($argument:ident: $type:ty),*), $path:ident;)*) => {$(
        $types.func_wrap_async(
            concat!("[method]descriptor.", $name),
            |mut store: StoreContextMut<'_, HostState>, (folder, $($argument),*): (Folder, $($type),*)| {
                Box::new(async move {
                    if let Some(denied) = refuse_path(store.data_mut(), &$path) {
                        return Ok((Err(denied),));
                    }
                    let mut files = store.data_mut().filesystem();
                    let result = files.$method(folder, $($argument),*).await;
                    answer(&mut files, result)
                })
            },
        )?;
    )*};
}

/// Replaces the bindings' functions that request folders and paths, except the one that opens a
/// file: `open_files` has it for all kinds of handlers.
pub(in crate::engine) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance(&format!("wasi:filesystem/preopens@{VERSION}"))?
        .func_wrap("get-directories", |mut store, (): ()| {
            Ok((folders(store.data_mut())?,))
        })?;
    let mut types = linker.instance(&format!("wasi:filesystem/types@{VERSION}"))?;
    replace!(types,
        "stat-at" => stat_at(flags: PathFlags, path: String), path;
        "create-directory-at" => create_directory_at(path: String), path;
        "readlink-at" => readlink_at(path: String), path;
        "remove-directory-at" => remove_directory_at(path: String), path;
        "unlink-file-at" => unlink_file_at(path: String), path;
        "rename-at" => rename_at(from: String, to: Folder, new: String), from;
    );
    linker.allow_shadowing(false);
    Ok(())
}

/// Returns the folders of a command: those that it has, or the empty one.
fn folders(state: &mut HostState) -> wasmtime::Result<Vec<(Folder, String)>> {
    let mut folders = state.filesystem().get_directories()?;
    if !state.has_folders()
        && let Some(empty) = empty()
    {
        let table = state.filesystem().table;
        folders.push((table.push(Descriptor::Dir(empty))?, EMPTY_FOLDER.to_owned()));
    }
    Ok(folders)
}

/// Returns the empty folder. `None` if none can be created: then a denied file is not logged.
fn empty() -> Option<Dir> {
    static EMPTY: OnceLock<Option<Dir>> = OnceLock::new();
    let create = || {
        let folder = create_empty().ok()?;
        Some(Dir::new(folder, FsPerms::ReadOnly, OpenMode::READ, true))
    };
    EMPTY.get_or_init(create).clone()
}

/// Opens a folder that has been removed: it has no path, and nothing can be created in it.
fn create_empty() -> io::Result<File> {
    let name = format!("wasgi-empty-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(&path, flags, Mode::empty()).map(File::from);
    fs::remove_dir(&path)?;
    let folder = folder?;
    match folder.metadata()?.nlink() {
        0 => Ok(folder),
        // Another process has replaced it.
        _ => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_folder_has_no_names_and_takes_none() {
        use rustix::fs::openat;

        let folder = create_empty().expect("created");
        let create = OFlags::CREATE | OFlags::WRONLY;
        let created = openat(&folder, "name", create, Mode::RWXU);
        assert_eq!(created.err(), Some(rustix::io::Errno::NOENT));
        let above = openat(&folder, "name/..", OFlags::RDONLY, Mode::empty());
        assert_eq!(above.err(), Some(rustix::io::Errno::NOENT));
    }
}
