//! A server in memory, which keeps the rules of the contract for one request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Exception;
use crate::input::InputError;
use crate::start_response::{StartError, WriteError};

/// A request in memory.
#[derive(Default)]
pub(crate) struct Environ {
    pub(crate) variables: Vec<(String, Vec<u8>)>,
    pub(crate) body: Mutex<Incoming>,
    pub(crate) errors: Mutex<Vec<u8>>,
}

/// A request's body: its blocks, the last one first, and how it ends.
#[derive(Default)]
pub(crate) struct Incoming {
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) failure: Option<InputError>,
}

/// A response in memory.
#[derive(Default)]
pub(crate) struct StartResponse(Mutex<Outgoing>);

/// What a client would have received.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) head: Option<Head>,
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) exc_info: Vec<Exception>,
    /// How many blocks the client takes before it goes away; all if none.
    pub(crate) blocks_max: Option<usize>,
}

pub(crate) struct Head {
    pub(crate) status: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Outgoing {
    /// Whether there is a client for another block.
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
        check_status(status).map_err(StartError::Refused)?;
        headers
            .iter()
            .try_for_each(|(name, value)| check_field(name, value))
            .map_err(StartError::Refused)?;
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

/// Three digits from 200 on, and a reason behind a space, if there is one (R1).
fn check_status(status: &[u8]) -> Result<(), String> {
    let (code, rest) = status.split_at_checked(3).unwrap_or((status, b""));
    let is_code =
        code.len() == 3 && code.iter().all(u8::is_ascii_digit) && code >= b"200".as_slice();
    let is_reason = rest.is_empty() || rest.starts_with(b" ");
    if is_code && is_reason && !rest.iter().copied().any(is_control) {
        return Ok(());
    }
    let status = String::from_utf8_lossy(status);
    Err(format!("{status:?} is no status such as \"200 OK\""))
}

/// Fields of the connection (RFC 9110, section 7.6.1), which are the server's alone.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A token as the name, no control characters in the value (R1).
fn check_field(name: &str, value: &[u8]) -> Result<(), String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("{name:?} is no name of a field"));
    }
    if HOP_BY_HOP
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
    {
        return Err(format!(
            "{name} is a field of the connection, which is the server's"
        ));
    }
    if name.eq_ignore_ascii_case("status") {
        return Err("the status is no field".to_owned());
    }
    if value.iter().copied().any(is_control) {
        return Err(format!("the value of {name} has a control character"));
    }
    Ok(())
}

/// What may stand neither in a value nor in a reason (RFC 9110, section 5.5).
fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// A poisoned lock means that a handler panicked, and the test with it; the values are still good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
