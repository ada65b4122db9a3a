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
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, ErrorCode, Host as _, HostDescriptor as _, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::{FsPerms, OpenMode};

use super::super::refused::{VERSION, refuse_files};
use crate::engine::call::state::State;
use crate::printable;

/// The maximum length of a path in a log line, in bytes: more than usual paths have.
const PATH_BYTES: usize = 255;

/// The name of the empty folder in the sandbox.
const NAME: &str = "/";

type Folder = Resource<Descriptor>;

/// The result of a function, as the guest gets it.
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

/// Replaces the bindings' functions that request folders and paths.
pub(in crate::engine) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance(&format!("wasi:filesystem/preopens@{VERSION}"))?
        .func_wrap("get-directories", |mut store, (): ()| {
            Ok((folders(store.data_mut())?,))
        })?;
    let mut types = linker.instance(&format!("wasi:filesystem/types@{VERSION}"))?;
    types.func_wrap_async("[method]descriptor.open-at", |store, arguments| {
        Box::new(open(store, arguments))
    })?;
    types.func_wrap_async("[method]descriptor.stat-at", |store, arguments| {
        Box::new(stat(store, arguments))
    })?;
    types.func_wrap_async(
        "[method]descriptor.create-directory-at",
        |store, arguments| Box::new(create_directory(store, arguments)),
    )?;
    types.func_wrap_async("[method]descriptor.readlink-at", |store, arguments| {
        Box::new(read_link(store, arguments))
    })?;
    types.func_wrap_async(
        "[method]descriptor.remove-directory-at",
        |store, arguments| Box::new(remove_directory(store, arguments)),
    )?;
    types.func_wrap_async("[method]descriptor.unlink-file-at", |store, arguments| {
        Box::new(unlink_file(store, arguments))
    })?;
    types.func_wrap_async("[method]descriptor.rename-at", |store, arguments| {
        Box::new(rename(store, arguments))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Returns the folders of a command: those that it has, or the empty one.
fn folders(state: &mut State) -> wasmtime::Result<Vec<(Folder, String)>> {
    let mut folders = state.filesystem().get_directories()?;
    if !state.has_folders()
        && let Some(empty) = empty()
    {
        let table = state.filesystem().table;
        folders.push((table.push(Descriptor::Dir(empty))?, NAME.to_owned()));
    }
    Ok(folders)
}

async fn open(
    mut store: StoreContextMut<'_, State>,
    arguments: (Folder, PathFlags, String, OpenFlags, DescriptorFlags),
) -> Answer<Folder> {
    let (folder, flags, path, how, access) = arguments;
    if let Some(denied) = denied(store.data_mut(), &path) {
        return Ok((Err(denied),));
    }
    let mut files = store.data_mut().filesystem();
    let result = files.open_at(folder, flags, path, how, access).await;
    answer(&mut files, result)
}

async fn stat(
    mut store: StoreContextMut<'_, State>,
    (folder, flags, path): (Folder, PathFlags, String),
) -> Answer<DescriptorStat> {
    if let Some(denied) = denied(store.data_mut(), &path) {
        return Ok((Err(denied),));
    }
    let mut files = store.data_mut().filesystem();
    let result = files.stat_at(folder, flags, path).await;
    answer(&mut files, result)
}

async fn create_directory(
    mut store: StoreContextMut<'_, State>,
    (folder, path): (Folder, String),
) -> Answer<()> {
    if let Some(denied) = denied(store.data_mut(), &path) {
        return Ok((Err(denied),));
    }
    let mut files = store.data_mut().filesystem();
    let result = files.create_directory_at(folder, path).await;
    answer(&mut files, result)
}

async fn read_link(
    mut store: StoreContextMut<'_, State>,
    (folder, path): (Folder, String),
) -> Answer<String> {
    if let Some(denied) = denied(store.data_mut(), &path) {
        return Ok((Err(denied),));
    }
    let mut files = store.data_mut().filesystem();
    let result = files.readlink_at(folder, path).await;
    answer(&mut files, result)
}

async fn remove_directory(
    mut store: StoreContextMut<'_, State>,
    (folder, path): (Folder, String),
) -> Answer<()> {
    if let Some(denied) = denied(store.data_mut(), &path) {
        return Ok((Err(denied),));
    }
    let mut files = store.data_mut().filesystem();
    let result = files.remove_directory_at(folder, path).await;
    answer(&mut files, result)
}

async fn unlink_file(
    mut store: StoreContextMut<'_, State>,
    (folder, path): (Folder, String),
) -> Answer<()> {
    if let Some(denied) = denied(store.data_mut(), &path) {
        return Ok((Err(denied),));
    }
    let mut files = store.data_mut().filesystem();
    let result = files.unlink_file_at(folder, path).await;
    answer(&mut files, result)
}

async fn rename(
    mut store: StoreContextMut<'_, State>,
    (from, old, to, new): (Folder, String, Folder, String),
) -> Answer<()> {
    if let Some(denied) = denied(store.data_mut(), &old) {
        return Ok((Err(denied),));
    }
    let mut files = store.data_mut().filesystem();
    let result = files.rename_at(from, old, to, new).await;
    answer(&mut files, result)
}

/// Logs a path that a command without folders asks for, and returns the error for it.
fn denied(state: &mut State, path: &str) -> Option<ErrorCode> {
    if state.has_folders() {
        return None;
    }
    // Relative to the folder, which is `.` in it.
    let path = match path {
        "." => NAME.to_owned(),
        path => format!("{NAME}{}", printable::front(path, PATH_BYTES)),
    };
    refuse_files(state, &format!("the file {path:?} and has no files"));
    Some(ErrorCode::NoEntry)
}

fn answer<T>(files: &mut WasiFilesystemCtxView<'_>, result: FsResult<T>) -> Answer<T> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(files.convert_error_code(error)?),
    },))
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
        // Somebody has replaced it.
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
