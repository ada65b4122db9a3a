//! Opening files: within the numbers that a handler, and all handlers, may have open.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, Host as _, HostDescriptor as _, OpenFlags, PathFlags,
};

use super::refused::{VERSION, refuse_path};
use crate::descriptor_limits::DescriptorLimits;
use crate::engine::call::refusals::Thing;
use crate::engine::call::state::HostState;

pub(super) type Folder = Resource<Descriptor>;

/// The result of a function, as the guest gets it.
pub(super) type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

/// How a guest opens a file.
type How = (PathFlags, String, OpenFlags, DescriptorFlags);

/// Replaces the bindings' function that opens a file.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance(&format!("wasi:filesystem/types@{VERSION}"))?
        .func_wrap_async(
            "[method]descriptor.open-at",
            |mut store: StoreContextMut<'_, HostState>,
             (folder, flags, path, how, access): (
                Folder,
                PathFlags,
                String,
                OpenFlags,
                DescriptorFlags,
            )| {
                Box::new(async move {
                    let state = store.data_mut();
                    if let Some(denied) = refuse_path(state, &path) {
                        return Ok((Err(denied),));
                    }
                    open_at(state, folder, (flags, path, how, access)).await
                })
            },
        )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Opens a file of a folder, unless the handler has too many.
async fn open_at(
    state: &mut HostState,
    folder: Folder,
    (flags, path, how, access): How,
) -> Answer<Folder> {
    let limits = DescriptorLimits::current();
    let Some(permit) = state.try_take_file(limits) else {
        state.refuse(Thing::OpenFiles, &format!("can't open a file: {limits}"));
        return Ok((Err(ErrorCode::Quota),));
    };
    let mut files = state.filesystem();
    let opened = files.open_at(folder, flags, path, how, access).await;
    let opened = match opened {
        Ok(opened) => {
            let file = match files.table.get(&opened)? {
                Descriptor::File(file) => Arc::clone(&file.file),
                Descriptor::Dir(folder) => Arc::clone(&folder.dir),
            };
            state.open_files.add(&file, permit);
            return Ok((Ok(opened),));
        }
        Err(error) => Err(error),
    };
    answer(&mut files, opened)
}

/// Converts a result to what the guest gets.
pub(super) fn answer<T>(files: &mut WasiFilesystemCtxView<'_>, result: FsResult<T>) -> Answer<T> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(files.convert_error_code(error)?),
    },))
}
