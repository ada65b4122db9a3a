//! The heap of a process, which is the C library's.

/// Lets glibc's allocator have one arena for each processor, rather than eight. It has no effect
/// with another C library, or if the environment sets a limit (`MALLOC_ARENA_MAX`,
/// `GLIBC_TUNABLES`).
///
/// Threads share the arenas. Memory that is freed in one stays there, and is of use only to threads
/// that allocate from the same one: with eight for each processor, a server grows for hours.
/// Threads keep small blocks for themselves, so they rarely wait for each other
/// (`docs/adr/0021-one-arena-for-each-processor.md`).
///
/// Arenas that exist stay, so this is to be called before the first thread is started.
pub fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    if !is_set_by_environment() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let arenas = processors.max(LEAST).try_into().unwrap_or(libc::c_int::MAX);
        #[allow(unsafe_code, reason = "no crate has a safe function for this setting")]
        // SAFETY: mallopt(3) takes two numbers, and changes only from where later blocks are
        // allocated.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, arenas);
        }
    }
}

/// The fewest arenas: one of the main thread, and one for all others.
#[cfg(target_env = "gnu")]
const LEAST: usize = 2;

#[cfg(target_env = "gnu")]
fn is_set_by_environment() -> bool {
    let tunables = std::env::var("GLIBC_TUNABLES").unwrap_or_default();
    std::env::var_os("MALLOC_ARENA_MAX").is_some() || tunables.contains("glibc.malloc.arena_max")
}
