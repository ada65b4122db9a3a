//! The thread on which connections are made and driven.

use std::future::Future;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

use super::error::Error;

/// The maximum number of threads that look up names: see [`super::resolve`]. The C library's
/// look-up blocks a thread.
pub(super) const LOOKUP_THREADS_COUNT: usize = 32;

/// The runtime, which starts with the first request of a handler to another host, or the reason why
/// it could not start. It ends with the process.
static RUNTIME: LazyLock<Result<Handle, String>> = LazyLock::new(start);

fn start() -> Result<Handle, String> {
    let failed = |error: std::io::Error| format!("the client's thread could not start: {error}");
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_name("wasgi-lookup")
        .max_blocking_threads(LOOKUP_THREADS_COUNT)
        .build()
        .map_err(failed)?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name("wasgi-outbound".into());
    let thread = thread.spawn(move || runtime.block_on(std::future::pending::<()>()));
    thread.map(|_| handle).map_err(failed)
}

/// Runs work on the thread. Dropping the future aborts the work.
///
/// # Errors
///
/// Fails if the thread could not start, or the work has panicked.
pub(super) async fn run<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    let task = spawn(work).map_err(Error::Unavailable)?;
    let mut task = AbortOnDrop(task);
    let done = (&mut task.0).await;
    done.map_err(|error| Error::Unavailable(format!("the client has failed: {error}")))
}

/// Starts work on the thread.
///
/// # Errors
///
/// Fails if the thread could not start.
pub(super) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<JoinHandle<T>, String> {
    let handle = RUNTIME.as_ref().map_err(Clone::clone)?;
    Ok(handle.spawn(work))
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
