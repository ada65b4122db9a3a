//! The server's resources, as the contract's imports.

use crate::bindings::wasgi::gateway::gateway;
use crate::error::Exception;
use crate::refusal::{InputError, StartError, WriteError};

/// The maximum number of bytes that are logged in one call. The server accepts 1 MiB in a call, and
/// logs less than that for a request.
const PIECE_MAX_BYTES: usize = 64 * 1024;

/// The maximum length of each text of an exception, in bytes. The server logs less, and accepts 1
/// MiB in total.
const TEXT_MAX_BYTES: usize = 64 * 1024;

pub(crate) struct Environ(pub(crate) gateway::Environ);

pub(crate) struct StartResponse(pub(crate) gateway::StartResponse);

impl Environ {
    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.0.get(name)
    }

    pub(crate) fn variables(&self) -> Vec<(String, Vec<u8>)> {
        self.0.variables()
    }

    pub(crate) fn read(&self, max: u64) -> Result<Vec<u8>, InputError> {
        self.0.read(max).map_err(InputError::from)
    }

    pub(crate) fn write_errors(&self, text: &[u8]) {
        for piece in text.chunks(PIECE_MAX_BYTES) {
            self.0.write_errors(piece);
        }
    }
}

impl StartResponse {
    pub(crate) fn call(
        &self,
        status: &[u8],
        headers: &[(String, Vec<u8>)],
        exc_info: Option<Exception>,
    ) -> Result<(), StartError> {
        let exc_info = exc_info.map(gateway::Exception::from);
        self.0
            .call(status, headers, exc_info.as_ref())
            .map_err(StartError::from)
    }

    pub(crate) fn write(&self, block: &[u8]) -> Result<(), WriteError> {
        self.0.write(block).map_err(WriteError::from)
    }
}

impl From<Exception> for gateway::Exception {
    fn from(exception: Exception) -> Self {
        let Exception {
            kind,
            message,
            traceback,
        } = exception;
        let cut = |mut text: String| {
            text.truncate(text.floor_char_boundary(TEXT_MAX_BYTES));
            text
        };
        Self {
            kind: cut(kind),
            message: cut(message),
            traceback: cut(traceback),
        }
    }
}

impl From<gateway::InputError> for InputError {
    fn from(error: gateway::InputError) -> Self {
        match error {
            gateway::InputError::Disconnected => Self::Disconnected,
            gateway::InputError::TimedOut => Self::TimedOut,
            gateway::InputError::TooLarge => Self::TooLarge,
            gateway::InputError::Malformed => Self::Malformed,
        }
    }
}

impl From<gateway::StartError> for StartError {
    fn from(error: gateway::StartError) -> Self {
        match error {
            gateway::StartError::AlreadyStarted => Self::AlreadyStarted,
            gateway::StartError::HeadSent => Self::HeadSent,
            gateway::StartError::Refused(reason) => Self::Refused(reason),
        }
    }
}

impl From<gateway::WriteError> for WriteError {
    fn from(error: gateway::WriteError) -> Self {
        match error {
            gateway::WriteError::NotStarted => Self::NotStarted,
            gateway::WriteError::Disconnected => Self::Disconnected,
        }
    }
}
