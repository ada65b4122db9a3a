//! The receiver of a response.

/// Whether a client is still connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    /// The client accepts more output.
    Yes,
    /// The client has disconnected and receives no more output.
    No,
}

/// A client. It receives the response as it is produced, and can be slow: the driver waits for it.
pub(crate) trait Client {
    /// Receives the response's head, in its encoding on the wire.
    fn head(&mut self, status: u16, bytes: &[u8]);

    /// Receives a part of the response's body, without its framing. Never empty.
    fn body(&mut self, bytes: &[u8]);

    /// Reports whether the client is still connected. Called after each turn of the handler, the
    /// first included.
    fn stays(&self) -> Stays;

    /// Reports whether each part of the body restarts the handler's wall time, as on a server. If
    /// not, the wall time covers the whole response, so that an endless response is aborted.
    fn takes_streams(&self) -> bool {
        false
    }
}
