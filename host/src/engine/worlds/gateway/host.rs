//! The gateway's functions, as an application calls them: `environ` and `start-response`.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::wasgi::gateway::gateway as wit;
use super::tokens::{EnvironToken, StartResponseToken};
use crate::engine::call::state::HostState;
use crate::gateway::{self, Failure, InputError, Response, Sent, Step};

/// The maximum size of one `environ.read`, in bytes: the host must not allocate whatever size a
/// guest requests.
const READ_BYTES: u64 = 64 * 1024;

/// The maximum length of a status in a trace, in bytes: a rejected status can be of any length.
const STATUS_BYTES: usize = 200;

impl wit::Host for HostState {
    fn panicked(&mut self, exception: wit::Exception) -> Result<()> {
        self.failure = Some(Failure::Panic(exception.into()));
        Ok(())
    }
}

impl wit::HostEnviron for HostState {
    fn get(&mut self, this: Resource<EnvironToken>, name: String) -> Result<Option<Vec<u8>>> {
        self.check(&this)?;
        Ok(self.environ.get(&name).map(|value| value.into_owned()))
    }

    fn variables(&mut self, this: Resource<EnvironToken>) -> Result<Vec<(String, Vec<u8>)>> {
        self.check(&this)?;
        let variables = self.environ.variables();
        Ok(variables
            .into_iter()
            .map(|(name, value)| (name, value.into_owned()))
            .collect())
    }

    async fn read(
        &mut self,
        this: Resource<EnvironToken>,
        size: u64,
    ) -> Result<Result<Vec<u8>, wit::InputError>> {
        self.check(&this)?;
        let size = usize::try_from(size.min(READ_BYTES)).unwrap_or(0);
        let read = self.exchange.read(size).await;
        self.exchange.trace().note(|| match &read {
            Ok(block) => Step::Read { bytes: block.len() },
            Err(_) => Step::ReadFailed,
        });
        Ok(read.map_err(wit::InputError::from))
    }

    fn write_errors(&mut self, this: Resource<EnvironToken>, text: Vec<u8>) -> Result<()> {
        self.check(&this)?;
        self.errors.write(&text);
        Ok(())
    }

    fn drop(&mut self, _: Resource<EnvironToken>) -> Result<()> {
        Ok(())
    }
}

impl wit::HostStartResponse for HostState {
    fn call(
        &mut self,
        this: Resource<StartResponseToken>,
        status: Vec<u8>,
        headers: Vec<(String, Vec<u8>)>,
        exc_info: Option<wit::Exception>,
    ) -> Result<Result<(), wit::StartError>> {
        self.check(&this)?;
        let exc_info = exc_info.map(gateway::Exception::from);
        if let Some(exception) = &exc_info {
            // An application that handles its own error reports it only here.
            self.note(&format!("start_response with exc_info: {exception}"));
        }
        let limit = self.budget.response_head_bytes;
        let trace = self.exchange.trace();
        let given = trace.is_recording().then(|| headers.clone());
        let result = self
            .response
            .start(&status, headers, exc_info.is_some(), limit);
        trace.note(|| Step::Started {
            status: status.get(..STATUS_BYTES).unwrap_or(&status).to_owned(),
            fields: given.filter(|_| result.is_ok()).unwrap_or_default(),
            exc_info: exc_info.is_some(),
            outcome: result.clone(),
        });
        Ok(result.map_err(wit::StartError::from))
    }

    async fn write(
        &mut self,
        this: Resource<StartResponseToken>,
        block: Vec<u8>,
    ) -> Result<Result<(), wit::WriteError>> {
        self.check(&this)?;
        let bytes = block.len();
        let trace = self.exchange.trace();
        if self.response == Response::NotStarted {
            trace.note(|| Step::Wrote {
                bytes,
                taken: false,
            });
            return Ok(Err(wit::WriteError::NotStarted));
        }
        if block.is_empty() {
            return Ok(Ok(()));
        }
        self.send_head();
        let taken = self.exchange.send_block(block).await != Sent::Refused;
        self.exchange.trace().note(|| Step::Wrote { bytes, taken });
        Ok(if taken {
            Ok(())
        } else {
            Err(wit::WriteError::Disconnected)
        })
    }

    fn drop(&mut self, _: Resource<StartResponseToken>) -> Result<()> {
        Ok(())
    }
}

impl From<wit::Exception> for gateway::Exception {
    fn from(exception: wit::Exception) -> Self {
        let wit::Exception {
            kind,
            message,
            traceback,
        } = exception;
        Self::new(kind, message, traceback)
    }
}

impl From<InputError> for wit::InputError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Disconnected => Self::Disconnected,
            InputError::TimedOut => Self::TimedOut,
            InputError::TooLarge => Self::TooLarge,
            InputError::Malformed => Self::Malformed,
        }
    }
}

impl From<gateway::StartError> for wit::StartError {
    fn from(error: gateway::StartError) -> Self {
        match error {
            gateway::StartError::AlreadyStarted => Self::AlreadyStarted,
            gateway::StartError::HeadSent => Self::HeadSent,
            gateway::StartError::Refused(why) => Self::Refused(why),
        }
    }
}
