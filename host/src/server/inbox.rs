//! The inbox of a reactor: its own thread posts wake-ups at no cost, other threads through a queue
//! and mio's waker.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;
use std::time::Duration;

/// A message from another thread to a reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A waiting call can continue.
    Wake(usize),
    /// There are events for the connections with an event stream.
    Events,
    /// Accept no further connection, and end when the last request is answered.
    Drain {
        /// How long idle connections may begin a last request.
        idle_time: Duration,
    },
    /// Confirm that the reactor is alive.
    Pulse,
    /// End the event streams of handlers.
    EndStreams,
    /// End immediately.
    Stop,
}

/// A reactor's inbox. The queue holds at most one `Wake` per call and one `Events`, so it needs no
/// limit.
#[derive(Debug)]
pub(super) struct Inbox {
    waker: mio::Waker,
    /// The reactor has taken the last [`Message::Pulse`].
    has_pulse: AtomicBool,
    queue: Mutex<Vec<Message>>,
}

thread_local! {
    /// The calls of this thread's reactor that can continue, and the inbox of that reactor.
    static LOCAL: RefCell<Local> = const { RefCell::new(Local { inbox: 0, woken: Vec::new() }) };
}

struct Local {
    /// The address of the reactor's inbox: identifies the reactor, never dereferenced.
    inbox: usize,
    woken: Vec<usize>,
}

impl Inbox {
    pub(super) fn new(waker: mio::Waker) -> Arc<Self> {
        Arc::new(Self {
            waker,
            has_pulse: AtomicBool::new(true),
            queue: Mutex::default(),
        })
    }

    /// Makes this thread the owner of the inbox.
    pub(super) fn adopt(self: &Arc<Self>) {
        LOCAL.with_borrow_mut(|local| {
            local.inbox = self.address();
            local.woken.clear();
        });
    }

    /// Takes the calls woken by this thread. Must be called on the inbox's own thread.
    pub(super) fn take_woken(&self, into: &mut Vec<usize>) {
        LOCAL.with_borrow_mut(|local| into.append(&mut local.woken));
    }

    /// Returns whether this thread has woken any call.
    pub(super) fn has_woken(&self) -> bool {
        LOCAL.with_borrow(|local| !local.woken.is_empty())
    }

    /// Takes the messages of other threads.
    pub(super) fn take_messages(&self) -> Vec<Message> {
        std::mem::take(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a message from any thread.
    pub(super) fn send(&self, message: Message) {
        let first = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.push(message);
            queue.len() == 1
        };
        // The reactor takes all messages when it wakes up: one wake-up is enough for all.
        if first {
            self.wake_up();
        }
    }

    fn wake_up(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!("could not wake a reactor: {error}");
        }
    }

    /// Returns whether the reactor has confirmed the last time that it is alive, and asks again.
    pub(super) fn check_pulse(&self) -> bool {
        let is_alive = self.has_pulse.swap(false, Ordering::AcqRel);
        if is_alive {
            self.send(Message::Pulse);
        }
        is_alive
    }

    /// Confirms that the reactor is alive.
    pub(super) fn confirm_pulse(&self) {
        self.has_pulse.store(true, Ordering::Release);
    }

    /// Announces events, unless they are announced already.
    pub(super) fn announce_events(&self) {
        let first = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.contains(&Message::Events) {
                return;
            }
            queue.push(Message::Events);
            queue.len() == 1
        };
        if first {
            self.wake_up();
        }
    }

    fn wake(&self, call: usize) {
        let own = LOCAL.with_borrow_mut(|local| {
            let own = local.inbox == self.address();
            if own {
                local.woken.push(call);
            }
            own
        });
        if !own {
            self.send(Message::Wake(call));
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// The waker of one call. It belongs to the place of the call, not to the call: a late wake-up
/// reaches the next call there and only causes a spurious poll.
#[derive(Debug)]
pub(super) struct CallWaker {
    inbox: Arc<Inbox>,
    call: usize,
    /// Woken since the last poll: further wake-ups have no effect.
    woken: AtomicBool,
}

impl CallWaker {
    pub(super) fn new(inbox: Arc<Inbox>, call: usize) -> Arc<Self> {
        Arc::new(Self {
            inbox,
            call,
            woken: AtomicBool::new(false),
        })
    }

    /// Returns whether it was woken since the last `rearm`.
    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Enables wake-ups again. Must be called before each poll.
    pub(super) fn rearm(&self) {
        self.woken.store(false, Ordering::Release);
    }
}

impl Wake for CallWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.inbox.wake(self.call);
        }
    }
}
