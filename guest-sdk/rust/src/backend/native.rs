//! A simulated server, which enforces the contract's rules for one request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use wasgi_fields::head::{DEFAULT_MAX_HEAD_BYTES, check};

use crate::error::Exception;
use crate::refusal::{InputError, StartError, WriteError};

/// A request in memory.
#[derive(Default)]
pub(crate) struct Environ {
    pub(crate) variables: Vec<(String, Vec<u8>)>,
    pub(crate) body: Mutex<Incoming>,
    pub(crate) errors: Mutex<Vec<u8>>,
}

/// A request's body: its blocks in reverse order, and how it ends.
#[derive(Default)]
pub(crate) struct Incoming {
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) failure: Option<InputError>,
}

/// A response in memory.
#[derive(Default)]
pub(crate) struct StartResponse(Mutex<Outgoing>);

/// The response that a client would have received.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) head: Option<Head>,
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) exc_info: Vec<Exception>,
    /// The number of blocks after which the client disconnects, if it does.
    pub(crate) blocks_max: Option<usize>,
}

pub(crate) struct Head {
    pub(crate) status: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Outgoing {
    /// Returns whether the client accepts another block.
    pub(crate) fn wants_blocks(&self) -> bool {
        self.blocks_max.is_none_or(|max| self.blocks.len() < max)
    }
}

impl Environ {
    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        let found = self.variables.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.clone())
    }

    pub(crate) fn variables(&self) -> Vec<(String, Vec<u8>)> {
        self.variables.clone()
    }

    pub(crate) fn read(&self, max: u64) -> Result<Vec<u8>, InputError> {
        let mut body = lock(&self.body);
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        if max == 0 {
            return Ok(Vec::new());
        }
        while let Some(mut block) = body.blocks.pop() {
            if block.len() > max {
                body.blocks.push(block.split_off(max));
            }
            if !block.is_empty() {
                return Ok(block);
            }
        }
        body.failure.map_or(Ok(Vec::new()), Err)
    }

    pub(crate) fn write_errors(&self, text: &[u8]) {
        lock(&self.errors).extend_from_slice(text);
    }
}

impl StartResponse {
    pub(crate) fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        lock(&self.0)
    }

    pub(crate) fn call(
        &self,
        status: &[u8],
        headers: &[(String, Vec<u8>)],
        exc_info: Option<Exception>,
    ) -> Result<(), StartError> {
        let mut outgoing = self.outgoing();
        if outgoing.head.is_some() && exc_info.is_none() {
            return Err(StartError::AlreadyStarted);
        }
        if !outgoing.blocks.is_empty() {
            return Err(StartError::HeadSent);
        }
        check(status, headers, DEFAULT_MAX_HEAD_BYTES).map_err(StartError::Refused)?;
        outgoing.head = Some(Head {
            status: status.to_owned(),
            headers: headers.to_vec(),
        });
        outgoing.exc_info.extend(exc_info);
        Ok(())
    }

    pub(crate) fn write(&self, block: &[u8]) -> Result<(), WriteError> {
        let mut outgoing = self.outgoing();
        if outgoing.head.is_none() {
            return Err(WriteError::NotStarted);
        }
        if !outgoing.wants_blocks() {
            return Err(WriteError::Disconnected);
        }
        if !block.is_empty() {
            outgoing.blocks.push(block.to_vec());
        }
        Ok(())
    }
}

/// Locks a mutex. A poisoned lock means that a handler panicked, which fails the test; the values
/// are still valid.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
