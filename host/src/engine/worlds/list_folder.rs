//! Listing folders: in parts, so that the host's memory for a list doesn't depend on the number of
//! files. The bindings' implementation reads a whole folder before the guest gets its first entry.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, statat};
use tokio::task::spawn_blocking;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

use super::open_files::{Answer, Folder, answer};
use super::refused::VERSION;
use crate::descriptor_limits::{DescriptorLimits, DescriptorPermit};
use crate::engine::call::refusals::Thing;
use crate::engine::call::state::HostState;

/// The number of entries that are read at a time. With the longest names (255 bytes), they have 64
/// KiB; the kernel's part has 32 KiB (getdents64).
const ENTRIES_PER_READ: usize = 256;

/// A folder that a guest lists: WASI's `directory-entry-stream`.
pub(super) struct EntryStream {
    reader: Arc<Mutex<Reader>>,
    /// The entries that were read and that the guest has not asked for.
    entries: VecDeque<io::Result<DirectoryEntry>>,
    is_at_end: bool,
}

/// Reads a folder. An operation that the system executes keeps it, also when its guest has ended.
struct Reader {
    dir: Dir,
    _folder: Arc<File>,
    _permit: DescriptorPermit,
}

/// Replaces the bindings' functions that list a folder.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(&format!("wasi:filesystem/types@{VERSION}"))?;
    types.resource(
        "directory-entry-stream",
        ResourceType::host::<EntryStream>(),
        |mut store: StoreContextMut<'_, HostState>, index| {
            let stream = Resource::<EntryStream>::new_own(index);
            store.data_mut().filesystem().table.delete(stream)?;
            Ok(())
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut store: StoreContextMut<'_, HostState>, (folder,): (Folder,)| {
            Box::new(async move { read_directory(store.data_mut(), &folder).await })
        },
    )?;
    types.func_wrap_async(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store: StoreContextMut<'_, HostState>, (stream,): (Resource<EntryStream>,)| {
            Box::new(async move { read_entry(store.data_mut(), &stream).await })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Opens a list of a folder, unless the handler has too many descriptors.
async fn read_directory(state: &mut HostState, folder: &Folder) -> Answer<Resource<EntryStream>> {
    let folder = match state.filesystem().table.get(folder)? {
        Descriptor::Dir(folder) => Arc::clone(&folder.dir),
        Descriptor::File(_) => return Ok((Err(ErrorCode::NotDirectory),)),
    };
    let limits = DescriptorLimits::current();
    let Some(permit) = state.try_take_file(limits) else {
        state.refuse(Thing::OpenFiles, &format!("can't list a folder: {limits}"));
        return Ok((Err(ErrorCode::Quota),));
    };
    let open = move || -> io::Result<Reader> {
        Ok(Reader {
            dir: Dir::read_from(&*folder)?,
            _folder: folder,
            _permit: permit,
        })
    };
    let opened = match spawn_blocking(open).await? {
        Ok(reader) => {
            let stream = EntryStream {
                reader: Arc::new(Mutex::new(reader)),
                entries: VecDeque::new(),
                is_at_end: false,
            };
            return Ok((Ok(state.filesystem().table.push(stream)?),));
        }
        Err(error) => Err(FsError::from(error)),
    };
    answer(&mut state.filesystem(), opened)
}

/// Returns the next entry of a list. `None` at its end.
async fn read_entry(
    state: &mut HostState,
    stream: &Resource<EntryStream>,
) -> Answer<Option<DirectoryEntry>> {
    let mut files = state.filesystem();
    let list = files.table.get_mut(stream)?;
    if list.entries.is_empty() && !list.is_at_end {
        let reader = list.reader.clone();
        let read = spawn_blocking(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            reader.read()
        });
        list.entries = read.await?;
        list.is_at_end = list.entries.is_empty();
    }
    let next = list.entries.pop_front().transpose();
    answer(&mut files, next.map_err(FsError::from))
}

impl Reader {
    /// Reads the next entries. Returns none at the end.
    fn read(&mut self) -> VecDeque<io::Result<DirectoryEntry>> {
        let mut entries = VecDeque::new();
        while entries.len() < ENTRIES_PER_READ {
            match self.next() {
                Some(entry) => entries.push_back(entry),
                None => break,
            }
        }
        entries
    }

    fn next(&mut self) -> Option<io::Result<DirectoryEntry>> {
        loop {
            let entry = match self.dir.read()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let type_ = match entry.file_type() {
                FileType::Unknown => self.look_up(name),
                known => known,
            };
            let name = name.to_str().map(str::to_owned);
            return Some(match name {
                Ok(name) => Ok(DirectoryEntry {
                    type_: descriptor_type(type_),
                    name,
                }),
                // WASI's names are text.
                Err(_) => Err(rustix::io::Errno::ILSEQ.into()),
            });
        }
    }

    /// Returns the type of a file, for file systems that don't list it.
    fn look_up(&self, name: &std::ffi::CStr) -> FileType {
        let folder = self.dir.fd();
        let found = folder.and_then(|folder| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW));
        // Otherwise it has been removed.
        found.map_or(FileType::Unknown, |found| {
            FileType::from_raw_mode(found.st_mode)
        })
    }
}

fn descriptor_type(file_type: FileType) -> DescriptorType {
    match file_type {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        _ => DescriptorType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use super::*;
    use crate::descriptor_limits::Descriptors;

    fn reader(folder: &Path) -> Reader {
        let limits = DescriptorLimits::new(1, usize::MAX);
        let name = folder.to_str().expect("text");
        let permit = Descriptors::for_handler(name).try_take(limits);
        let folder = Arc::new(File::open(folder).expect("a folder"));
        Reader {
            dir: Dir::read_from(&*folder).expect("a folder"),
            _folder: folder,
            _permit: permit.expect("the first"),
        }
    }

    #[test]
    fn a_large_folder_is_read_in_parts_and_each_entry_once() {
        const COUNT: usize = 3 * ENTRIES_PER_READ + 1;
        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..COUNT {
            fs::write(folder.path().join(format!("{number:0200}")), "").expect("written");
        }
        let mut reader = reader(folder.path());
        let mut parts = std::iter::from_fn(|| Some(reader.read()).filter(|part| !part.is_empty()));
        let mut names = BTreeSet::new();
        let mut part_count = 0;
        for part in parts.by_ref() {
            assert!(part.len() <= ENTRIES_PER_READ);
            part_count += 1;
            names.extend(part.into_iter().map(|entry| entry.expect("an entry").name));
        }
        assert_eq!((names.len(), part_count), (COUNT, 4));
        assert!(reader.read().is_empty(), "it stays at its end");
    }

    #[test]
    fn entries_have_their_own_type_and_a_name_that_is_no_text_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").expect("written");
        fs::create_dir(at("folder")).expect("a folder");
        std::os::unix::fs::symlink("folder", at("link")).expect("a link");
        let odd = folder.path().join(OsStr::from_bytes(b"\xff"));
        fs::write(odd, "").expect("written");
        let mut reader = reader(folder.path());
        let (found, failed): (Vec<_>, Vec<_>) = reader.read().into_iter().partition(Result::is_ok);
        let mut found: Vec<_> = found.into_iter().flatten().collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.name.as_str(), it.type_))
            .collect();
        assert_eq!(
            found,
            [
                ("file", DescriptorType::RegularFile),
                ("folder", DescriptorType::Directory),
                ("link", DescriptorType::SymbolicLink),
            ]
        );
        let failed: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].raw_os_error(), Some(libc::EILSEQ));
        let looked_up = ["file", "folder", "link", "missing"].map(|name| {
            let name = std::ffi::CString::new(name).expect("no zero byte");
            reader.look_up(&name)
        });
        assert_eq!(
            looked_up,
            [
                FileType::RegularFile,
                FileType::Directory,
                FileType::Symlink,
                FileType::Unknown
            ]
        );
    }
}
