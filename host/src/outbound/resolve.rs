//! The look-up of names by the system's resolver (`getaddrinfo`), which reads `/etc/hosts` and asks
//! the name servers of the machine.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, Semaphore};

use super::error::LookupError;
use super::handler::Connections;
use super::runtime::{self, LOOKUP_THREADS_COUNT};
use crate::grants::Host;

/// How long a result is used again: so that a thousand requests at a time cause one look-up.
const KEPT_TIME: Duration = Duration::from_secs(5);

/// The maximum number of results that are kept: at most a few hundred bytes each.
const MAX_KEPT_COUNT: usize = 1024;

/// The maximum number of addresses of one name that are used.
const MAX_ADDRESSES_COUNT: usize = 16;

type Addresses = Result<Arc<[IpAddr]>, LookupError>;

/// Finds the addresses of names.
pub(super) trait Resolve: Send + Sync {
    /// Returns the addresses of a name.
    fn resolve<'r>(
        &'r self,
        name: &'r str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, LookupError>> + Send + 'r>>;
}

/// The system's resolver. Must be used on the runtime's thread.
pub(super) struct System;

impl Resolve for System {
    fn resolve<'r>(
        &'r self,
        name: &'r str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, LookupError>> + Send + 'r>> {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || (name.as_str(), 0).to_socket_addrs());
            match found.await {
                Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect()),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                    Err(LookupError::Failed)
                }
                Ok(Err(_)) => Err(LookupError::NoSuchName),
                Err(_) => Err(LookupError::Failed),
            }
        })
    }
}

/// A resolver whose results are used again for a short time.
pub(super) struct Lookups<R> {
    resolver: R,
    kept_time: Duration,
    kept: Mutex<HashMap<String, Kept>>,
    permits: Semaphore,
}

#[derive(Clone)]
struct Kept {
    since: Instant,
    addresses: Arc<OnceCell<Addresses>>,
}

/// The look-ups of the process.
pub(super) static LOOKUPS: LazyLock<Lookups<System>> =
    LazyLock::new(|| Lookups::new(System, KEPT_TIME));

impl<R: Resolve> Lookups<R> {
    pub(super) fn new(resolver: R, kept_time: Duration) -> Self {
        Self {
            resolver,
            kept_time,
            kept: Mutex::default(),
            permits: Semaphore::new(LOOKUP_THREADS_COUNT),
        }
    }

    /// Returns the addresses of a name. Equal requests share one look-up.
    pub(super) async fn addresses(&self, name: &str, handler: &Connections) -> Addresses {
        let kept = self.entry(name);
        let found = kept.addresses.get_or_init(|| async {
            let permits = (
                handler.lookups.acquire().await,
                self.permits.acquire().await,
            );
            let (Ok(_one), Ok(_other)) = permits else {
                return Err(LookupError::Failed);
            };
            let mut found = self.resolver.resolve(name).await?;
            found.truncate(MAX_ADDRESSES_COUNT);
            match found.is_empty() {
                true => Err(LookupError::NoSuchName),
                false => Ok(found.into()),
            }
        });
        found.await.clone()
    }

    /// Returns the entry of a name, or creates it.
    fn entry(&self, name: &str) -> Kept {
        let now = Instant::now();
        let is_fresh = |kept: &Kept| now.duration_since(kept.since) < self.kept_time;
        let mut entries = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = entries.get(name).filter(|kept| is_fresh(kept)) {
            return kept.clone();
        }
        if entries.len() >= MAX_KEPT_COUNT {
            entries.retain(|_, kept| is_fresh(kept));
        }
        if entries.len() >= MAX_KEPT_COUNT {
            entries.clear();
        }
        let kept = Kept {
            since: now,
            addresses: Arc::default(),
        };
        entries.insert(name.to_owned(), kept.clone());
        kept
    }
}

/// Returns the addresses of a host for a handler's socket, off the caller's thread.
///
/// # Errors
///
/// Fails if the host has no address.
pub(crate) async fn look_up(
    host: Host,
    handler: Arc<Connections>,
) -> Result<Arc<[IpAddr]>, LookupError> {
    match host {
        Host::Address(address) => Ok([address].into()),
        Host::Name(name) => {
            let found = runtime::run(async move { LOOKUPS.addresses(&name, &handler).await });
            found.await.unwrap_or(Err(LookupError::Failed))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Each look-up has the next address.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Resolve for Arc<Counting> {
        fn resolve<'r>(
            &'r self,
            name: &'r str,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, LookupError>> + Send + 'r>> {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            let found = match name {
                "none" => Err(LookupError::NoSuchName),
                "empty" => Ok(Vec::new()),
                "many" => Ok(vec![IpAddr::from([1, 1, 1, 1]); 100]),
                _ => Ok(vec![IpAddr::from([1, 1, 1, count as u8])]),
            };
            Box::pin(async move {
                tokio::task::yield_now().await;
                found
            })
        }
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(work)
    }

    #[test]
    fn equal_requests_share_a_look_up_for_a_short_time() {
        let (resolver, handler) = (
            Arc::<Counting>::default(),
            Connections::for_handler("lookups"),
        );
        let lookups = Lookups::new(Arc::clone(&resolver), Duration::from_secs(3600));
        let lookups = Arc::new(lookups);
        block_on(async {
            let spawn = || {
                let (lookups, handler) = (Arc::clone(&lookups), Arc::clone(&handler));
                tokio::spawn(async move { lookups.addresses("a", &handler).await })
            };
            let (one, other) = (spawn(), spawn());
            let one = one.await.expect("no panic");
            assert_eq!(one, other.await.expect("no panic"));
            assert_eq!(lookups.addresses("a", &handler).await, one);
            assert_ne!(lookups.addresses("b", &handler).await, one);
        });
        assert_eq!(resolver.0.load(Ordering::Relaxed), 2);
        let lookups = Lookups::new(resolver, Duration::ZERO);
        block_on(async {
            let one = lookups.addresses("a", &handler).await;
            assert_ne!(lookups.addresses("a", &handler).await, one);
        });
    }

    #[test]
    fn results_are_bounded() {
        let (resolver, handler) = (
            Arc::<Counting>::default(),
            Connections::for_handler("bounded"),
        );
        let lookups = Lookups::new(resolver, Duration::from_secs(3600));
        block_on(async {
            for name in 0..3 * MAX_KEPT_COUNT {
                let found = lookups.addresses(&name.to_string(), &handler).await;
                assert!(found.is_ok());
            }
            let many = lookups.addresses("many", &handler).await.expect("found");
            assert_eq!(many.len(), MAX_ADDRESSES_COUNT);
            for none in ["none", "empty"] {
                let found = lookups.addresses(none, &handler).await;
                assert_eq!(found, Err(LookupError::NoSuchName), "{none}");
            }
        });
        assert!(lookups.kept.lock().expect("not poisoned").len() <= MAX_KEPT_COUNT);
    }
}
