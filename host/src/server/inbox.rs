//! How a reactor is told that there is work: by its own thread for free, by another one through a
//! queue and mio's waker.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

/// What other threads can tell a reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A waiting call may go on.
    Wake(usize),
    /// Take no new connection, and end when the last request is answered.
    Drain,
    /// End now.
    Stop,
}

/// A reactor's letter box. The queue holds at most one `Wake` per call, so it needs no limit.
#[derive(Debug)]
pub(super) struct Inbox {
    waker: mio::Waker,
    queue: Mutex<Vec<Message>>,
}

thread_local! {
    /// Calls that this thread's reactor may go on with, and whose reactor that is.
    static LOCAL: RefCell<Local> = const { RefCell::new(Local { inbox: 0, woken: Vec::new() }) };
}

struct Local {
    /// The address of the reactor's inbox: tells reactors apart, is never followed.
    inbox: usize,
    woken: Vec<usize>,
}

impl Inbox {
    pub(super) fn new(waker: mio::Waker) -> Arc<Self> {
        Arc::new(Self {
            waker,
            queue: Mutex::default(),
        })
    }

    /// Makes this thread the inbox's own.
    pub(super) fn adopt(self: &Arc<Self>) {
        LOCAL.with_borrow_mut(|local| {
            local.inbox = self.address();
            local.woken.clear();
        });
    }

    /// Takes what was woken by this thread. To be called by the inbox's own thread.
    pub(super) fn take_woken(&self, into: &mut Vec<usize>) {
        LOCAL.with_borrow_mut(|local| into.append(&mut local.woken));
    }

    /// Whether something was woken by this thread.
    pub(super) fn has_woken(&self) -> bool {
        LOCAL.with_borrow(|local| !local.woken.is_empty())
    }

    /// Takes what other threads have sent.
    pub(super) fn take_messages(&self) -> Vec<Message> {
        std::mem::take(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends from any thread.
    pub(super) fn send(&self, message: Message) {
        let first = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.push(message);
            queue.len() == 1
        };
        // The reactor takes all there is when it wakes up: one wake-up is enough for all.
        if first && let Err(error) = self.waker.wake() {
            tracing::error!("could not wake a reactor: {error}");
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

/// Wakes one call. It belongs to the call's place rather than to the call: a late wake-up for one
/// that is over reaches its successor, for which it is one poll too many and nothing worse.
#[derive(Debug)]
pub(super) struct CallWaker {
    inbox: Arc<Inbox>,
    call: usize,
    /// Woken, and not polled since: once is enough.
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

    /// Whether it was woken since the last `rearm`.
    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// To be called before each poll: from here on, a wake-up counts again.
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
