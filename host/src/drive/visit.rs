//! One request in progress: a connection without a socket, and its call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

use super::Mount;
use super::client::{Client, Stays};
use super::request::{BadRequest, Request, Upload};
use crate::engine::{Call, Program};
use crate::gateway::{Environ, Exchange, Failure, Head, Output, Step, Trace};
use crate::http1::{BodyProgress, Connection, Finish, RequestBody, Stamp};
use crate::policy::Policy;
use crate::router::{Oddity, RequestPath};
use crate::transfer::Transfer;

/// The result of a request.
#[derive(Debug)]
pub(crate) struct Ended<C> {
    /// The client that received the response.
    pub client: C,
    /// The steps of the handler, if they were recorded.
    pub steps: Vec<Step>,
    /// The response's head, if there was one.
    pub head: Option<Head>,
    /// The failure, if there was one.
    pub failure: Option<Failure>,
    /// Whether the response ended, and whether it was complete.
    pub finish: Option<Finish>,
    /// The number of body bytes that were not sent because the response has no body or a shorter
    /// one.
    pub surplus_bytes: u64,
    /// Whether the client disconnected before the end of the response.
    pub was_left: bool,
}

/// One request in progress.
pub(super) struct Visit<C> {
    http: Connection,
    transfer: Transfer,
    pieces: VecDeque<Vec<u8>>,
    upload: Upload,
    /// The protocol core has received the body's last byte, or the client has disconnected.
    upload_done: bool,
    call: Option<Call>,
    signal: Arc<Signal>,
    waker: Waker,
    wall_time: Duration,
    /// The end of the wall time. The driver postpones it by the time that other visits compute.
    pub(super) deadline: Instant,
    ended: Ended<C>,
}

/// Wakes the driver's thread for one visit.
struct Signal {
    woken: AtomicBool,
    driver: Thread,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.driver.unpark();
        }
    }
}

impl<C: Client> Visit<C> {
    /// Sends the head. The handler does not run before the first turn.
    pub(super) fn new(
        program: &Program,
        mount: &Mount,
        request: &Request,
        trace: Trace,
        client: C,
        policy: Policy,
    ) -> Result<Self, BadRequest> {
        let now = Instant::now();
        let wall_time = policy.budget.wall_time;
        let (http, head) = request.send(mount.authority(), now)?;
        let path = RequestPath::parse(head.path()).map_err(|error| BadRequest::new(&error))?;
        if program.kind().has_c_strings() && path.oddity() == Some(Oddity::Nul) {
            return Err(BadRequest::new(&Oddity::Nul));
        }
        let share = mount.share(&path);
        let exchange = Arc::new(Exchange::for_request(&head).with_trace(trace));
        let has_body = head.body() != RequestBody::None;
        let environ = Environ {
            script_name: share.script_name,
            path_info: share.path_info,
            args: share.args,
            run_once: policy.reuse <= 1,
            ..Environ::local(head)
        };
        let signal = Arc::new(Signal {
            woken: AtomicBool::new(true),
            driver: std::thread::current(),
        });
        Ok(Self {
            http,
            pieces: request.upload.pieces.iter().cloned().collect(),
            upload: request.upload.clone(),
            upload_done: false,
            call: Some(Call::new(
                program,
                mount.name().into(),
                environ,
                exchange.clone(),
                policy,
            )),
            transfer: Transfer::new(exchange, has_body),
            waker: signal.clone().into(),
            signal,
            wall_time,
            deadline: now + wall_time,
            ended: Ended {
                client,
                steps: Vec::new(),
                head: None,
                failure: None,
                finish: None,
                surplus_bytes: 0,
                was_left: false,
            },
        })
    }

    pub(super) fn is_over(&self) -> bool {
        self.call.is_none()
    }

    /// Reports whether an event occurred that the handler waited for, or whether it has more to
    /// compute.
    pub(super) fn is_woken(&self) -> bool {
        self.signal.woken.load(Ordering::Acquire)
    }

    /// Runs the handler until it waits, yields or finishes, and transfers input and output.
    pub(super) fn turn(&mut self) {
        self.signal.woken.store(false, Ordering::Release);
        let Some(call) = &mut self.call else {
            return;
        };
        let result = call.poll(&mut Context::from_waker(&self.waker));
        self.feed();
        self.take_output();
        if let Poll::Ready(finished) = result {
            self.ended.failure.clone_from(&finished.failure);
            self.call = None;
        } else if self.ended.finish.is_none() && self.ended.client.stays() == Stays::No {
            self.leave();
        }
    }

    /// Aborts the call if its wall time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.call.is_some() && now >= self.deadline {
            self.call = None;
            self.ended.failure = Some(Failure::WallTime(self.wall_time));
        }
    }

    pub(super) fn end(mut self) -> Ended<C> {
        self.ended.steps = self.transfer.exchange().trace().steps();
        self.ended
    }

    fn leave(&mut self) {
        if !self.ended.was_left {
            self.ended.was_left = true;
            self.transfer.exchange().client_gone();
        }
    }

    /// Transfers the request's body, one piece each time the handler wants input.
    fn feed(&mut self) {
        while !self.transfer.is_body_done() && self.transfer.exchange().body_awaited() {
            let now = Instant::now();
            // The client sends its body without waiting for a `100 Continue`.
            let send_continue = |http: &mut Connection| http.send_continue(&mut Vec::new());
            match self
                .transfer
                .feed(&mut self.http, now, send_continue, |_| ())
            {
                BodyProgress::Incomplete => self.receive(now),
                // The server sends its own error response.
                BodyProgress::Failed(_) if !self.transfer.is_head_sent() => self.leave(),
                BodyProgress::Data | BodyProgress::End | BodyProgress::Failed(_) => {}
            }
        }
    }

    /// Passes the next piece, or the end, to the protocol core.
    fn receive(&mut self, now: Instant) {
        if let Some(piece) = self.pieces.pop_front() {
            self.http.receive(&self.upload.encode(&piece), now);
        } else if !self.upload_done {
            self.upload_done = true;
            self.http.receive(self.upload.end(), now);
            if self.upload.is_cut {
                self.http.receive_end();
            }
        } else {
            // The client ends the stream after fewer bytes than it declared.
            self.http.receive_end();
        }
    }

    /// Takes the handler's output, as the server does, and passes it to the client.
    fn take_output(&mut self) {
        let Output {
            head,
            blocks,
            ended,
        } = self.transfer.take_output();
        if let Some(head) = head {
            self.send_head(&head);
            self.ended.head = Some(head);
        }
        let mut framing = Vec::new();
        for block in blocks {
            let frame = self.http.frame(block.len(), &mut framing);
            self.ended.surplus_bytes += (block.len() - frame.take) as u64;
            let taken = block.get(..frame.take).unwrap_or(&block);
            if !self.ended.was_left && !taken.is_empty() {
                self.ended.client.body(taken);
                if self.ended.client.takes_streams() {
                    self.deadline = Instant::now() + self.wall_time;
                }
            }
        }
        if ended && self.ended.finish.is_none() {
            self.ended.finish = Some(self.http.finish_response(&mut framing));
        }
        self.transfer.sent();
    }

    fn send_head(&mut self, head: &Head) {
        let (response, length) = self.transfer.begin(&mut self.http, head);
        let date = httpdate::fmt_http_date(SystemTime::now());
        let stamp = Stamp {
            // An IMF-fixdate has 29 characters.
            date: date.as_bytes().try_into().unwrap_or(&[b' '; 29]),
            server: Some(crate::SERVER_SOFTWARE),
        };
        let mut wire = Vec::new();
        // Any field that this skips was rejected when the handler called `start_response`.
        let _ = self
            .http
            .start_response(&response, length, &stamp, &mut wire);
        if !self.ended.was_left {
            self.ended.client.head(head.status, &wire);
        }
    }
}
