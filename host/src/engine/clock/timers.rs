//! The timers of sleeping guests, and the events of their sockets.

use std::thread::JoinHandle;

use anyhow::Context;

/// The thread that drives the timers of sleeping guests and waits for the events of their sockets:
/// WASI's implementation keeps both in a tokio runtime. Nothing else runs there but the tasks of
/// that implementation, which hand over a result. Dropping it stops the thread.
#[derive(Debug)]
pub struct Timers {
    handle: tokio::runtime::Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Timers {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Fails if the thread can't be created.
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("could not set up timers")?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("wasgi-timers".into())
            .spawn(move || {
                // Dropping the sender is also the signal.
                let _ = runtime.block_on(stopped);
            })
            .context("could not start the timers' thread")?;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns the runtime that a thread must enter while it polls calls.
    pub fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only fail by a panic, which has been reported by then.
            let _ = thread.join();
        }
    }
}
