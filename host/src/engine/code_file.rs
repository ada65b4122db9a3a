//! Compiled code in an open file that nobody changes: what is mapped into an engine.
//!
//! Compiled code runs outside of any sandbox. A process that serves therefore makes a [`CodeFile`]
//! in two ways only: from a memory file (`memfd`) that the kernel has sealed against writing, and
//! from an entry of the code cache whose checksum was right when it was read through the same
//! descriptor.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::compiled::Compiled;

/// What keeps a memory file as it is, for everyone and for good.
const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// Compiled code in an open file. Clones are the same file.
#[derive(Clone, Debug)]
pub(super) struct CodeFile(Arc<File>);

/// Compiled code, mapped into an engine.
pub(super) enum Mapped {
    Component(Component),
    Module(Module),
}

impl CodeFile {
    /// Copies what was compiled into a sealed memory file.
    ///
    /// # Errors
    ///
    /// Fails when there is no memory or no descriptor for it.
    pub(super) fn of(compiled: &Compiled) -> anyhow::Result<Self> {
        let mut file = Self::memory_file()?;
        file.write_all(&compiled.serialize()?)?;
        Ok(Self::seal(file)?)
    }

    /// An empty memory file for compiled code, which can be sealed.
    ///
    /// # Errors
    ///
    /// Fails when there is no descriptor for it.
    pub(super) fn memory_file() -> io::Result<File> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Ok(File::from(rustix::fs::memfd_create("wasgi-code", flags)?))
    }

    /// Takes a memory file with compiled code, and has the kernel refuse each later change of it:
    /// by this process, and by another that has a descriptor of the same file.
    ///
    /// The bytes must come from a compiler that is trusted: see [`Self::map`].
    ///
    /// # Errors
    ///
    /// Fails when the file can't be sealed, and when it is mapped writable somewhere.
    pub(super) fn seal(file: File) -> io::Result<Self> {
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Ok(Self(Arc::new(file)))
    }

    /// Takes a file of the code cache whose checksum is right.
    pub(super) fn checked(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// Takes a file that this process has just written, in which nobody else writes: in a process
    /// that compiles.
    pub(super) fn written(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// The file itself, to read from.
    pub(super) fn file(&self) -> &File {
        &self.0
    }

    /// Maps the code into an engine. Engines that map the same file share its pages.
    ///
    /// # Errors
    ///
    /// Fails when the code was compiled for other settings than the engine's, or the system has no
    /// room for the mapping.
    pub(super) fn map(&self, engine: &Engine) -> wasmtime::Result<Mapped> {
        #[allow(
            unsafe_code,
            reason = "loading compiled code is unsafe by nature; see below"
        )]
        // SAFETY: the file has what wasmtime compiled and nobody changes it. Either it is sealed
        // (`seal`), or only this process writes to it (`written`), or it is an entry of the code
        // cache: this user's, in a folder of this user's, neither writable by anybody else; this
        // program writes to an entry only before it has its name; and its checksum was compared
        // through this descriptor (see `cache`). wasmtime itself checks version and settings.
        unsafe {
            if is_module(&self.0)? {
                let file = self.0.try_clone()?;
                return Module::deserialize_open_file(engine, file).map(Mapped::Module);
            }
            // The same open file by its name: for components wasmtime asks for one.
            let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
            let component = if File::open(&path).is_ok() {
                Component::deserialize_file(engine, path)
            } else {
                // Where `/proc` is not mounted or may not be read, in memory of this process's own.
                Component::deserialize(engine, self.read()?)
            };
            component.map(Mapped::Component)
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let size = self.0.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// Whether compiled code is a module's rather than a component's. wasmtime refuses to load the one
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
