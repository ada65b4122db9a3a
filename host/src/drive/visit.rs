//! One request on its way: a connection without a socket, and the call behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

use super::Mount;
use super::client::{Client, Stays};
use super::request::{BadRequest, Request, Upload};
use crate::config::Policy;
use crate::engine::{Call, Program};
use crate::gateway::{Environ, Exchange, Failure, Head, InputError, Output, Scheme, Step, Trace};
use crate::http1::{BodyLength, BodyProgress, Connection, Finish, ResponseHead, Stamp};
use crate::router::{Oddity, RequestPath};

/// The client's address and the server's, as handlers are told.
const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 50_000);
const LOCAL: ([u8; 4], u16) = ([127, 0, 0, 1], 8000);

/// What became of a request.
#[derive(Debug)]
pub struct Ended<C> {
    /// Who took the answer.
    pub client: C,
    /// What the handler did, if that was to be recorded.
    pub steps: Vec<Step>,
    /// The answer's head, where there was one.
    pub head: Option<Head>,
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
    /// Whether the answer came to its end, and was whole then.
    pub finish: Option<Finish>,
    /// Bytes of the body that could not be sent, because the answer has none or fewer.
    pub surplus_bytes: u64,
    /// The client had left before the answer's end.
    pub was_left: bool,
}

/// One request at work.
pub(super) struct Visit<C> {
    http: Connection,
    exchange: Arc<Exchange>,
    pieces: VecDeque<Vec<u8>>,
    upload: Upload,
    /// The body's last byte was received by the protocol core, or its client went away.
    upload_done: bool,
    /// The exchange knows how the body ended.
    body_done: bool,
    call: Option<Call>,
    signal: Arc<Signal>,
    waker: Waker,
    wall_time: Duration,
    /// When the wall time is up. The driver puts it off for what others compute.
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
    /// Sends the head. Nothing runs before the first turn.
    pub(super) fn new(
        program: &Program,
        mount: &Mount,
        request: &Request,
        trace: Trace,
        client: C,
        policy: Policy,
    ) -> Result<Self, BadRequest> {
        let now = Instant::now();
        let (http, head) = request.send(now)?;
        let path = RequestPath::parse(head.path()).map_err(|error| BadRequest::of(&error))?;
        if program.kind().has_c_strings() && path.oddity() == Some(Oddity::Nul) {
            return Err(BadRequest::of(&Oddity::Nul));
        }
        let share = mount.share(&path);
        let exchange = Arc::new(Exchange::of(&head).with_trace(trace));
        let environ = Environ {
            head,
            script_name: share.script_name,
            path_info: share.path_info,
            args: share.args,
            peer: PEER.into(),
            local: LOCAL.into(),
            scheme: Scheme::Http,
            host: None,
            run_once: policy.reuse <= 1,
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
            body_done: false,
            call: Some(Call::new(
                program,
                mount.name().into(),
                environ,
                exchange.clone(),
                policy,
            )),
            exchange,
            waker: signal.clone().into(),
            signal,
            wall_time: policy.budget.wall_time,
            deadline: now + policy.budget.wall_time,
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

    /// Whether something has happened that the handler waited for, or it has more to compute.
    pub(super) fn is_woken(&self) -> bool {
        self.signal.woken.load(Ordering::Acquire)
    }

    /// Lets the handler run until it waits, yields or is done, and carries what both sides have.
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

    /// Ends it if its wall time is up.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.call.is_some() && now >= self.deadline {
            self.call = None;
            self.ended.failure = Some(Failure::WallTime(self.wall_time));
        }
    }

    pub(super) fn end(mut self) -> Ended<C> {
        self.ended.steps = self.exchange.trace().steps();
        self.ended
    }

    fn leave(&mut self) {
        if !self.ended.was_left {
            self.ended.was_left = true;
            self.exchange.client_gone();
        }
    }

    /// Hands over the request's body, a piece each time the handler wants one.
    fn feed(&mut self) {
        while !self.body_done && self.exchange.body_awaited() {
            let now = Instant::now();
            let room = self.exchange.body_room();
            let http = &mut self.http;
            match self
                .exchange
                .push_body(|into| http.read_body(room, into, now))
            {
                BodyProgress::Data => {}
                BodyProgress::Incomplete => self.receive(now),
                BodyProgress::End => {
                    self.body_done = true;
                    self.exchange.end_body(Ok(()));
                }
                BodyProgress::Failed(error) => {
                    self.body_done = true;
                    self.exchange.end_body(Err(InputError::from(error)));
                    // The server tells its client by itself, where no head is out.
                    if self.ended.head.is_none() {
                        self.leave();
                    }
                }
            }
        }
    }

    /// Has the protocol core receive the next piece, or the end.
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
            // Fewer bytes than were announced, and the client says no more.
            self.http.receive_end();
        }
    }

    /// Takes what the handler has given, as the server does, and has the client take it.
    fn take_output(&mut self) {
        let Output {
            head,
            blocks,
            ended,
        } = self.exchange.take_output();
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
        self.exchange.sent();
    }

    fn send_head(&mut self, head: &Head) {
        let fields = head.fields.iter();
        let response = ResponseHead {
            status: head.status,
            reason: &head.reason,
            fields: fields.map(|(name, value)| (name.as_str(), value.as_slice())),
        };
        let length = head.length.map_or(BodyLength::Unknown, BodyLength::Known);
        let date = httpdate::fmt_http_date(SystemTime::now());
        let stamp = Stamp {
            // An IMF-fixdate has 29 characters.
            date: date.as_bytes().try_into().unwrap_or(&[b' '; 29]),
            server: Some(crate::SERVER_SOFTWARE),
        };
        let mut wire = Vec::new();
        // What is skipped was refused at the call already.
        let _ = self
            .http
            .start_response(&response, length, &stamp, &mut wire);
        if !self.ended.was_left {
            self.ended.client.head(head.status, &wire);
        }
    }
}
