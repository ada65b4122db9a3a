//! One thread for several members, each of which follows a folder: so that the number of threads
//! doesn't depend on the number of sites.
//!
//! A member handles its messages and acts when it is due. All members share one queue of messages,
//! which has a limit, and one source of the kernel's events. A member that panics is removed; the
//! others stay.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::thread::JoinHandle;
use std::time::Instant;

use super::watch::{WatchEvent, WatchSource};

/// The maximum number of queued messages. Events that don't fit cause one complete rescan.
pub(super) const MAX_MESSAGES: usize = 4_096;

/// What a group's thread runs. It is created and dropped on any thread.
pub(super) trait Member: Send + 'static {
    /// What is sent to it.
    type Message: From<WatchEvent> + Send;

    /// Handles a message.
    fn take(&mut self, message: Self::Message);

    /// Does what its messages and the time require. Called after it has joined, after messages, and
    /// when it is due.
    fn turn(&mut self, source: &WatchSource);

    /// Returns when it is due without a message.
    fn next_due(&self) -> Instant;
}

enum Envelope<M: Member> {
    /// A member joins. What is sent with it is dropped when the member has left.
    Join(u64, Box<M>, Sender<()>),
    To(u64, M::Message),
    Leave(u64),
    End,
}

/// The thread of a group. Dropping it ends the thread, with all members.
pub(super) struct Group<M: Member> {
    sender: SyncSender<Envelope<M>>,
    next: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

/// Sends messages to one member.
pub(super) struct ToMember<M: Member> {
    number: u64,
    sender: SyncSender<Envelope<M>>,
}

/// The place of a member in its group. Dropping it removes the member, and waits until it is
/// dropped.
pub(super) struct Membership<M: Member> {
    to: ToMember<M>,
    has_left: Receiver<()>,
    _group: Arc<Group<M>>,
}

impl<M: Member> Group<M> {
    /// Starts the thread, whose niceness relative to this thread is `nice` (nice(2)). Its members
    /// get events of `source`.
    ///
    /// # Errors
    ///
    /// Fails if the thread can't be started.
    pub(super) fn start(name: &str, nice: i32, source: WatchSource) -> std::io::Result<Arc<Self>> {
        let (sender, inbox) = sync_channel(MAX_MESSAGES);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&inbox, nice, &source))?;
        Ok(Arc::new(Self {
            sender,
            next: AtomicU64::new(0),
            thread: Some(thread),
        }))
    }

    /// Adds a member, which `create` makes of what sends messages to it.
    pub(super) fn join(self: &Arc<Self>, create: impl FnOnce(ToMember<M>) -> M) -> Membership<M> {
        let to = ToMember {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            sender: self.sender.clone(),
        };
        let member = Box::new(create(to.clone()));
        let (leaves, has_left) = channel();
        // Fails if the thread has panicked: then the member is dropped now.
        let _ = self.sender.send(Envelope::Join(to.number, member, leaves));
        Membership {
            to,
            has_left,
            _group: Arc::clone(self),
        }
    }
}

impl<M: Member> Drop for Group<M> {
    fn drop(&mut self) {
        // Fails if the thread has panicked: then it has ended as well.
        let _ = self.sender.send(Envelope::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<M: Member> Clone for ToMember<M> {
    fn clone(&self) -> Self {
        Self {
            number: self.number,
            sender: self.sender.clone(),
        }
    }
}

impl<M: Member> ToMember<M> {
    /// Sends a message. Waits while the queue is full.
    pub(super) fn send(&self, message: M::Message) {
        // Fails if the thread has ended: then the message is not needed.
        let _ = self.sender.send(Envelope::To(self.number, message));
    }

    /// Sends a message without ever blocking. Returns `false` if the queue is full: then the thread
    /// is about to wake up.
    pub(super) fn try_send(&self, message: M::Message) -> bool {
        let sent = self.sender.try_send(Envelope::To(self.number, message));
        !matches!(sent, Err(TrySendError::Full(_)))
    }

    /// Returns a function that sends events without ever blocking. Sets `lost` if one doesn't fit.
    pub(super) fn teller(
        &self,
        lost: &Arc<AtomicBool>,
    ) -> impl Fn(WatchEvent) + Send + Sync + use<M> {
        let to = self.clone();
        let lost = Arc::clone(lost);
        move |event| {
            if !to.try_send(event.into()) {
                lost.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl<M: Member> Membership<M> {
    /// Returns what sends messages to the member.
    pub(super) fn sender(&self) -> ToMember<M> {
        self.to.clone()
    }
}

impl<M: Member> Drop for Membership<M> {
    fn drop(&mut self) {
        let _ = self.to.sender.send(Envelope::Leave(self.to.number));
        // Fails when the member is dropped, as nothing is ever sent.
        let _ = self.has_left.recv();
    }
}

/// Runs the members until the group ends.
fn run<M: Member>(inbox: &Receiver<Envelope<M>>, nice: i32, source: &WatchSource) {
    // The thread that reads events is created by this one and inherits its niceness. If it can't be
    // set, changes are handled at normal priority.
    if nice != 0 {
        let _ = rustix::process::nice(nice);
    }
    let mut members: BTreeMap<u64, (Box<M>, Sender<()>)> = BTreeMap::new();
    let mut touched: BTreeSet<u64> = BTreeSet::new();
    loop {
        let due = members.values().map(|(member, _)| member.next_due()).min();
        let first = match due {
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        let first = match first {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // Limited, so that an endless stream of events doesn't block other work.
        let more = std::iter::from_fn(|| inbox.try_recv().ok()).take(MAX_MESSAGES);
        for envelope in first.into_iter().chain(more) {
            match envelope {
                Envelope::Join(number, member, leaves) => {
                    members.insert(number, (member, leaves));
                    touched.insert(number);
                }
                Envelope::To(number, message) => {
                    // One that has left needs no messages.
                    if let Some((member, _)) = members.get_mut(&number) {
                        touched.insert(number);
                        if !survives(|| member.take(message)) {
                            remove(&mut members, number);
                        }
                    }
                }
                Envelope::Leave(number) => remove(&mut members, number),
                Envelope::End => return,
            }
        }
        let now = Instant::now();
        let mut failed = Vec::new();
        for (number, (member, _)) in &mut members {
            let is_due = touched.contains(number) || member.next_due() <= now;
            if is_due && !survives(|| member.turn(source)) {
                failed.push(*number);
            }
        }
        for number in failed {
            remove(&mut members, number);
        }
        touched.clear();
    }
}

/// Returns whether `part` of a member returns, and doesn't panic. A member that has panicked is not
/// used again.
fn survives(part: impl FnOnce()) -> bool {
    let returned = catch_unwind(AssertUnwindSafe(part)).is_ok();
    if !returned {
        tracing::error!(
            "a defect of this server, which has just been reported: it no longer follows one of \
             its folders, until it is restarted"
        );
    }
    returned
}

/// Removes a member, and tells whoever waits for that.
fn remove<M: Member>(members: &mut BTreeMap<u64, (Box<M>, Sender<()>)>, number: u64) {
    // What it holds may be in the state in which it has panicked.
    let _ = survives(|| drop(members.remove(&number)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Repeats what it is sent, unless that is a panic.
    struct Echo(Sender<Option<u32>>);

    struct Text(Option<u32>);

    impl From<WatchEvent> for Text {
        fn from(_: WatchEvent) -> Self {
            Self(None)
        }
    }

    impl Member for Echo {
        type Message = Text;

        fn take(&mut self, Text(text): Text) {
            assert!(text.is_some(), "a test of a panic");
            self.0.send(text).expect("it is read");
        }

        fn turn(&mut self, _: &WatchSource) {}

        fn next_due(&self) -> Instant {
            Instant::now() + std::time::Duration::from_secs(3600)
        }
    }

    #[test]
    fn a_member_that_panics_ends_alone() {
        let group = Group::start("group", 0, WatchSource::for_few()).expect("a thread");
        let (sender, of_bad) = channel();
        let bad = group.join(|_| Echo(sender));
        let (sender, of_good) = channel();
        let good = group.join(|_| Echo(sender));
        bad.sender().send(Text(None));
        assert!(of_bad.recv().is_err(), "it is dropped");
        good.sender().send(Text(Some(7)));
        assert_eq!(of_good.recv(), Ok(Some(7)));
        bad.sender().send(Text(Some(8)));
        drop(bad);
        good.sender().send(Text(Some(9)));
        assert_eq!(of_good.recv(), Ok(Some(9)));
    }
}
