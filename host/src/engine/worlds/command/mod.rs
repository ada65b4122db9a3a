//! Handlers of the world `wasi:cli/command` 0.2: programs with a `main`, run as CGI (RFC 3875).
//!
//! The request variables are the environment, the request body is the standard input, and the
//! standard output is the response, with a CGI head. The standard error is logged. The program ends
//! with its `main`, and the instance with it.

mod files;
mod stdin;
mod stdout;

use std::sync::Arc;

use wasmtime::Store;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;

use super::beside::{Ended, beside};
use crate::cgi::{self, HeadReader, Started};
use crate::engine::call::state::HostState;
use crate::engine::call::trap::{instantiation_failure, trap_failure};
use crate::gateway::{Exchange, Failure, Head, Sent};
pub(super) use files::add_to_linker as add_files_to_linker;
use stdin::Stdin;
use stdout::Stdout;

/// Answers the request of a store.
pub(in crate::engine) async fn run(
    pre: &CommandPre<HostState>,
    store: &mut Store<HostState>,
) -> Result<(), Failure> {
    let stdout = Stdout::default();
    set_up(store.data_mut(), &stdout);
    let responder = Responder {
        stdout: stdout.clone(),
        exchange: Arc::clone(&store.data().exchange),
        head: Progress::Reading(HeadReader::new(store.data().budget.response_head_bytes)),
    };
    let command = pre
        .instantiate_async(&mut *store)
        .await
        .map_err(|error| instantiation_failure(&error, store.data_mut()))?;
    store.data_mut().reservation.settle();
    let meter = Arc::clone(&store.data().meter);
    let guest = async {
        let result = command.wasi_cli_run().call_run(&mut *store).await;
        exit_status(result, store.data_mut())?;
        stdout.end();
        Ok(Ended::Done)
    };
    beside(&meter, guest, responder.carry()).await
}

/// Sets up the program's environment, standard streams and arguments for its request.
fn set_up(state: &mut HostState, stdout: &Stdout) {
    let mut variables = cgi::variables(&state.environ);
    if let Some(grants) = state.grants() {
        // A client's fields don't replace what the operator has set.
        let granted = grants.variables();
        let is_granted = |name: &str| granted.iter().any(|(granted, _)| granted == name);
        variables.retain(|(name, _)| !is_granted(name));
    }
    let stdin = Stdin::new(Arc::clone(&state.exchange));
    let name = String::from_utf8_lossy(&state.environ.script_name).into_owned();
    state.set_up_wasi(|wasi| {
        wasi.arg(name)
            .envs(&variables)
            .stdin(stdin)
            .stdout(stdout.clone());
    });
}

/// Interprets the result of `main`. A program that fails reports this by its exit status, and its
/// output up to that point is not a reliable response.
fn exit_status(
    result: wasmtime::Result<Result<(), ()>>,
    state: &mut HostState,
) -> Result<(), Failure> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(())) => Err(Failure::Exit(1)),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(0)) => Ok(()),
            Some(I32Exit(status)) => Err(Failure::Exit(*status)),
            None => Err(trap_failure(&error, state)),
        },
    }
}

/// The part of a call that sends a program's output to the client.
struct Responder {
    stdout: Stdout,
    exchange: Arc<Exchange>,
    head: Progress,
}

enum Progress {
    Reading(HeadReader),
    /// The head is complete, and is sent with the first bytes of the body, or at the end.
    Ready(Head),
    Sent,
}

impl Responder {
    /// Sends the program's output until it ends.
    async fn carry(mut self) -> Result<Ended, Failure> {
        while let Some(output) = self.stdout.take().await {
            let Some(block) = self.body_of(output)? else {
                continue;
            };
            if self.stdout.has_ended() {
                // The output is complete.
                return self.finish(block);
            }
            self.send_head();
            if self.exchange.send_block(block).await == Sent::Refused {
                // Like the signal that ends a program when it writes to a closed pipe.
                return Ok(Ended::Both);
            }
        }
        self.finish(Vec::new())
    }

    /// Parses the head at the start of the output. Returns the rest, which belongs to the body, if
    /// any.
    fn body_of(&mut self, output: Vec<u8>) -> Result<Option<Vec<u8>>, Failure> {
        let Progress::Reading(reader) = &mut self.head else {
            return Ok(Some(output));
        };
        match reader.feed(&output)? {
            None => Ok(None),
            Some(Started { head, body }) => {
                self.head = Progress::Ready(head);
                Ok((!body.is_empty()).then_some(body))
            }
        }
    }

    fn send_head(&mut self) {
        if let Progress::Ready(head) = std::mem::replace(&mut self.head, Progress::Sent) {
            self.exchange.send_head(head);
        }
    }

    /// Sends the last block, if any, and the end. If it is the only block, the body gets its length
    /// (B4).
    fn finish(mut self, last: Vec<u8>) -> Result<Ended, Failure> {
        match &mut self.head {
            Progress::Reading(reader) => return Err(reader.cut_short().into()),
            Progress::Ready(head) => {
                head.length.get_or_insert(last.len() as u64);
            }
            Progress::Sent => {}
        }
        self.send_head();
        self.exchange.end(last);
        Ok(Ended::Done)
    }
}
