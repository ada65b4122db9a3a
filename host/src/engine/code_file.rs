//! Compiled code in an open, immutable file that can be mapped into an engine.
//!
//! Compiled code runs outside any sandbox. A serving process therefore creates a [`CodeFile`] in
//! two ways only: from a memory file (`memfd`) that the kernel has sealed against writing, which
//! can be a copy of another process's output, and from an entry of the code cache whose checksum
//! was verified through the same descriptor.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::compiled::Compiled;

/// The seals that make a memory file permanently immutable for all processes.
const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// The seals of a file that only this process has ever had open, and that is not mapped: without
/// other writers, the kernel need not wait. To seal against possible writers, the kernel waits
/// until no processor holds one of the file's pages, for up to a second if processors are busy.
const SEALS_OF_OWN: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::FUTURE_WRITE);

/// The maximum size of code that is copied instead of sealed in place, in bytes: copying it takes
/// 10 ms.
const COPY_MAX_BYTES: u64 = 32 << 20;

/// The number of bytes to copy at a time: fits into a processor's second-level cache.
const COPY_BYTES: usize = 128 << 10;

/// Compiled code in an open file. Clones refer to the same file.
#[derive(Clone, Debug)]
pub(super) struct CodeFile(Arc<File>);

/// Compiled code, mapped into an engine.
pub(super) enum Mapped {
    Component(Component),
    Module(Module),
}

impl CodeFile {
    /// Copies compiled code into a sealed memory file.
    ///
    /// # Errors
    ///
    /// Fails if there is no memory or descriptor for it.
    pub(super) fn from_compiled(compiled: &Compiled) -> anyhow::Result<Self> {
        let mut file = Self::memory_file()?;
        file.write_all(&compiled.serialize()?)?;
        Ok(Self::seal(file)?)
    }

    /// Creates an empty memory file for compiled code, which can be sealed.
    ///
    /// # Errors
    ///
    /// Fails if there is no descriptor for it.
    pub(super) fn memory_file() -> io::Result<File> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Ok(File::from(rustix::fs::memfd_create("wasgi-code", flags)?))
    }

    /// Seals a memory file with compiled code: the kernel then rejects all changes, by this process
    /// and by others with a descriptor of the same file.
    ///
    /// The bytes must come from a trusted compiler: see [`Self::map`].
    ///
    /// # Errors
    ///
    /// Fails if the file can't be sealed, or is mapped writable.
    pub(super) fn seal(file: File) -> io::Result<Self> {
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Ok(Self(Arc::new(file)))
    }

    /// Takes the current content of a memory file that another process has written: a copy, or the
    /// file itself if it is long, sealed like one of [`Self::seal`].
    ///
    /// # Errors
    ///
    /// Fails if the file is longer than `max_bytes`, changes meanwhile or can't be sealed, or if
    /// there is no memory or descriptor for a copy.
    pub(super) fn take_over(file: File, max_bytes: u64) -> io::Result<Self> {
        let size = file.metadata()?.len();
        if size > COPY_MAX_BYTES {
            let code = Self::seal(file)?;
            check_size(code.0.metadata()?.len(), max_bytes)?;
            return Ok(code);
        }
        check_size(size, max_bytes)?;
        let own = Self::memory_file()?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut offset = 0;
        while offset < size {
            let left = usize::try_from(size - offset).unwrap_or(usize::MAX);
            let bytes = &mut buffer[..left.min(COPY_BYTES)];
            file.read_exact_at(bytes, offset)?;
            own.write_all_at(bytes, offset)?;
            offset += bytes.len() as u64;
        }
        rustix::fs::fcntl_add_seals(&own, SEALS_OF_OWN)?;
        Ok(Self(Arc::new(own)))
    }

    /// Wraps a file of the code cache with a verified checksum.
    pub(super) fn checked(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// Wraps a file that this process has just written and that no other process writes: in a
    /// compiling process.
    pub(super) fn written(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// Returns the file for reading.
    pub(super) fn file(&self) -> &File {
        &self.0
    }

    /// Maps the code into an engine. Engines that map the same file share its pages.
    ///
    /// # Errors
    ///
    /// Fails if the code was compiled for other settings than the engine's, or the system has no
    /// space for the mapping.
    pub(super) fn map(&self, engine: &Engine) -> wasmtime::Result<Mapped> {
        #[allow(
            unsafe_code,
            reason = "loading compiled code is unsafe by nature; see below"
        )]
        // SAFETY: wasmtime has compiled the file's content, and no process can change it. Either it
        // is sealed (`seal`, `take_over`), or only this process writes to it (`written`), or it is
        // an entry of the code cache: it belongs to this user, in a folder of this user, and no
        // other user may write to either; this program writes to an entry only before it has its
        // name; and its checksum was verified through this descriptor (see `cache`). wasmtime
        // itself checks version and settings.
        unsafe {
            if is_module(&self.0)? {
                let file = self.0.try_clone()?;
                return Module::deserialize_open_file(engine, file).map(Mapped::Module);
            }
            // The name of the same open file: for components, wasmtime requires one.
            let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
            let component = if File::open(&path).is_ok() {
                Component::deserialize_file(engine, path)
            } else {
                // If `/proc` is not mounted or not readable, use private memory.
                Component::deserialize(engine, self.read()?)
            };
            component.map(Mapped::Component)
        }
    }

    /// Returns the file's content.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let size = self.0.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

fn check_size(size: u64, max_bytes: u64) -> io::Result<()> {
    match size <= max_bytes {
        true => Ok(()),
        false => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

/// Returns whether compiled code is a module rather than a component. wasmtime refuses to load one
/// as the other.
fn is_module(file: &File) -> io::Result<bool> {
    // The flags in the header of an ELF file (elf(5), `e_flags`), and wasmtime's bit in them
    // (`EF_WASMTIME_MODULE` of wasmtime-environ), in the host's byte order.
    const FLAGS_OFFSET: u64 = 48;
    const MODULE: u32 = 1;
    let mut flags = [0; 4];
    file.read_exact_at(&mut flags, FLAGS_OFFSET)?;
    Ok(u32::from_ne_bytes(flags) & MODULE != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_has_written_does_not_change_once_it_is_taken_over() {
        for size in [0, 5, COPY_BYTES as u64 + 1, COPY_MAX_BYTES + 1] {
            let file = CodeFile::memory_file().unwrap();
            file.set_len(size).unwrap();
            file.write_all_at(b"code", 0).unwrap();
            let size = file.metadata().unwrap().len();
            let others = file.try_clone().unwrap();
            let code = CodeFile::take_over(file, u64::MAX).unwrap();
            // Fails if it is the same file; otherwise changes only the other file.
            let _ = others.write_all_at(b"evil", 0);
            let mut begins = [0; 4];
            code.file().read_exact_at(&mut begins, 0).unwrap();
            assert_eq!(&begins, b"code");
            assert_eq!(code.file().metadata().unwrap().len(), size);
            assert!(code.file().write_all_at(b"x", 0).is_err());
            assert!(code.file().set_len(1).is_err() && code.file().set_len(size + 1).is_err());
        }
    }

    #[test]
    fn what_is_longer_than_it_may_be_is_not_taken_over() {
        for size in [100, COPY_MAX_BYTES + 1] {
            let file = CodeFile::memory_file().unwrap();
            file.set_len(size).unwrap();
            let error = CodeFile::take_over(file, size - 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
    }
}
