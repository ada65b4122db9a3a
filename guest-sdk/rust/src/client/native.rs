//! The other hosts of a native build: a function of the test.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use http::request::Parts;
use http::{Request, Response};

use super::error::Error;

type Answer = dyn Fn(Request<Vec<u8>>) -> Response<Vec<u8>>;

thread_local! {
    static UPSTREAM: RefCell<Option<Rc<Answer>>> = const { RefCell::new(None) };
}

/// The function that answers requests to other hosts, until it is dropped.
#[must_use = "requests are denied when it is dropped"]
pub struct Upstream(());

impl Upstream {
    /// Lets a function answer the requests of this thread.
    pub(crate) fn new(answer: impl Fn(Request<Vec<u8>>) -> Response<Vec<u8>> + 'static) -> Self {
        UPSTREAM.set(Some(Rc::new(answer)));
        Self(())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        UPSTREAM.set(None);
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").finish_non_exhaustive()
    }
}

pub(super) struct Incoming(Cursor<Vec<u8>>);

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

pub(super) fn send(parts: &Parts, body: &[u8]) -> Result<Response<Incoming>, Error> {
    let upstream = UPSTREAM.with_borrow(Clone::clone).ok_or(Error::Denied)?;
    let request = Request::from_parts(parts.clone(), body.to_vec());
    Ok(upstream(request).map(|body| Incoming(Cursor::new(body))))
}
