//! The thread of the admin listener, and the limits of its connections.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot};

use super::inspection::Inspect;
use super::listener::{AdminListener, Socket, SocketFile};
use super::respond::{Transport, respond};

/// The maximum number of connections that are served at a time. Others wait in the accept queue:
/// a monitoring system and a few people use it.
const MAX_CONNECTIONS: usize = 32;

/// The time from a connection's first byte to the last byte of its response. Prometheus waits for
/// ten seconds by default.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum size of a request's head, in bytes: the smallest that hyper has.
const MAX_HEAD_BYTES: usize = 8192;

/// The maximum number of a request's fields.
const MAX_FIELDS: usize = 64;

/// The maximum number of threads that collect answers: one may wait for other processes.
const COLLECTING_THREADS: usize = 4;

/// How long requests in flight may take when the listener ends: one may wait for a worker.
const LAST_ANSWERS_TIME: Duration = Duration::from_secs(3);

/// The pause after a failed accept, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running admin listener. Dropping it ends its thread and closes its socket.
#[derive(Debug)]
pub(crate) struct Admin {
    /// Dropped to stop the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    socket: OwnedFd,
    /// Dropped after the thread has ended.
    file: Option<SocketFile>,
}

/// What all connections share.
struct Site {
    source: Arc<dyn Inspect>,
    started: Instant,
    transport: Transport,
}

impl Admin {
    /// Starts to serve, on a new thread.
    ///
    /// # Errors
    ///
    /// Fails if the system can't create a thread.
    pub(crate) fn start(
        mut listener: AdminListener,
        source: Arc<dyn Inspect>,
    ) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(COLLECTING_THREADS)
            .thread_name("wasgi-inspect")
            .build()
            .context("could not start the admin listener")?;
        let transport = match &listener.socket {
            Socket::Tcp(_) => Transport::Tcp,
            Socket::Unix(_) => Transport::Unix,
        };
        let site = Arc::new(Site {
            source,
            started: Instant::now(),
            transport,
        });
        let socket = listener.socket.as_fd().try_clone_to_owned()?;
        let file = listener.file.take();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("wasgi-admin".into())
            .spawn(move || run(runtime, listener, site, stopped))
            .context("could not start the thread of the admin listener")?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
            socket,
            file,
        })
    }

    /// Returns the socket, for a successor.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Accepts no more connections, and leaves the file of a Unix socket to a successor. Requests
    /// in flight are answered until this is dropped.
    pub(crate) fn leave(&mut self) {
        drop(self.stop.take());
        if let Some(file) = &mut self.file {
            file.keep();
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that has panicked has printed why.
            let _ = thread.join();
        }
    }
}

fn run(runtime: Runtime, listener: AdminListener, site: Arc<Site>, stop: oneshot::Receiver<()>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let result = runtime.block_on(async {
        let accept = accept(&listener, site, permits.clone());
        let (mut accept, mut stop) = (Box::pin(accept), pin!(stop));
        // Until the sender is dropped.
        let result = poll_fn(|cx| match stop.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(Ok(())),
            Poll::Pending => accept.as_mut().poll(cx),
        })
        .await;
        drop(accept);
        // The requests in flight.
        let all = permits.acquire_many(MAX_CONNECTIONS as u32);
        let _ = tokio::time::timeout(LAST_ANSWERS_TIME, all).await;
        result
    });
    // Doesn't wait for a thread that waits for another process.
    runtime.shutdown_background();
    drop(listener);
    if let Err(error) = result {
        tracing::error!("the admin listener has failed: {error}");
    }
}

async fn accept(
    listener: &AdminListener,
    site: Arc<Site>,
    permits: Arc<Semaphore>,
) -> io::Result<()> {
    match &listener.socket {
        Socket::Tcp(socket) => {
            let socket = TcpListener::from_std(socket.try_clone()?)?;
            accept_from(site, permits, async || Ok(socket.accept().await?.0)).await
        }
        Socket::Unix(socket) => {
            let socket = UnixListener::from_std(socket.try_clone()?)?;
            accept_from(site, permits, async || Ok(socket.accept().await?.0)).await
        }
    }
}

async fn accept_from<S>(
    site: Arc<Site>,
    permits: Arc<Semaphore>,
    next: impl AsyncFn() -> io::Result<S>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    loop {
        let permit = permits.clone().acquire_owned().await;
        match next().await {
            Ok(stream) => {
                let site = site.clone();
                tokio::spawn(async move {
                    // A client that takes longer is cut off.
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, serve(stream, site)).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves one request.
async fn serve<S>(stream: S, site: Arc<Site>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: hyper::Request<_>| {
        let (head, _) = request.into_parts();
        let site = site.clone();
        async move {
            let collect = move || respond(&head, site.transport, &*site.source, site.started);
            let response = tokio::task::spawn_blocking(collect).await;
            Ok::<_, Infallible>(response.unwrap_or_else(|_| super::respond::failed()))
        }
    });
    // Errors are those of the client.
    let _ = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
