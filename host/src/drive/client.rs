//! Who takes an answer.

/// Whether a client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It takes more.
    Yes,
    /// It has gone: nothing that comes now reaches it.
    No,
}

/// A client: takes its answer as it comes, at any speed, since the driver waits for it.
pub trait Client {
    /// The answer's head, as it is on the wire.
    fn head(&mut self, status: u16, bytes: &[u8]);

    /// A part of the answer's body, without its framing. Never empty.
    fn body(&mut self, bytes: &[u8]);

    /// Asked after each turn of the handler, the first included.
    fn stays(&self) -> Stays;

    /// Whether each part of the body begins the handler's wall time anew, as a server has it. Else
    /// it is for the whole answer, so that one without an end is given up.
    fn takes_streams(&self) -> bool {
        false
    }
}
