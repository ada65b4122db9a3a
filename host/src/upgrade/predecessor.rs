//! The server that this process replaces, as this process sees it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::message::{Answer, DONE, MAX_LINE_BYTES, Offer, Outcome, PROTOCOL, Sockets, Version};
use crate::descriptors::{self, Receiver};
use crate::server::GivenSockets;

/// The flag of a successor, with the process ID of its predecessor.
pub(super) const FLAG: &str = "--upgrade-from=";

/// How long the predecessor may take to hand over the admin listener: its last answers take up to
/// three seconds.
const DONE_PATIENCE: Duration = Duration::from_secs(10);

/// The maximum length of the line that says why a successor fails, in bytes: JSON may need six
/// times as many.
const MAX_REASON_BYTES: usize = 8 << 10;

/// The server that this process replaces, and what it hands over.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: Receiver,
    offer: Offer,
    site: Vec<OwnedFd>,
    redirect: Vec<OwnedFd>,
    admin: Option<OwnedFd>,
    takes_admin: bool,
}

impl Predecessor {
    /// Receives the offer from the standard input.
    ///
    /// # Errors
    ///
    /// Fails if this is no channel of a predecessor, or if it has another version.
    pub(crate) fn receive() -> anyhow::Result<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let mut channel = Receiver::new(UnixStream::from(stdin));
        let line = channel.line(MAX_LINE_BYTES);
        let line = line
            .context("the standard input is no channel of a server (`--upgrade-from` is internal)")?
            .context("the server that starts this process has ended")?;
        let offer: Offer = parse(&line).context("can't take over from the running server")?;
        let mut files = channel.take_files();
        ensure!(
            files.len() == offer.files_count(),
            "the running server has sent {} descriptors instead of {}",
            files.len(),
            offer.files_count()
        );
        let admin = offer.admin.is_some().then(|| files.pop()).flatten();
        let redirect = files.split_off(offer.site.count);
        Ok(Self {
            channel,
            offer,
            site: files,
            redirect,
            admin,
            takes_admin: false,
        })
    }

    /// Takes the sockets for these addresses. Those for others are closed: the configuration has
    /// changed.
    pub(crate) fn take_sockets(
        &mut self,
        site: SocketAddr,
        redirect: Option<SocketAddr>,
    ) -> GivenSockets {
        let site_files = std::mem::take(&mut self.site);
        let redirect_files = std::mem::take(&mut self.redirect);
        let keep = |sockets: Option<&Sockets>, addr: SocketAddr, files: Vec<OwnedFd>| {
            let fits = sockets.is_some_and(|sockets| match sockets.configured {
                Some(configured) => configured == addr,
                None => true,
            });
            if fits { files } else { Vec::new() }
        };
        GivenSockets {
            site: keep(Some(&self.offer.site), site, site_files),
            redirect: redirect.map_or(Vec::new(), |addr| {
                keep(self.offer.redirect.as_ref(), addr, redirect_files)
            }),
        }
    }

    /// Reports whether the init system has bound the sockets of the site.
    pub(crate) fn is_activated(&self) -> bool {
        self.offer.site.configured.is_none()
    }

    /// Takes the socket of the admin listener, if it has this address in the configuration.
    pub(crate) fn take_admin(&mut self, addr: &str) -> Option<OwnedFd> {
        let file = self.admin.take()?;
        if self.offer.admin.as_deref() != Some(addr) {
            return None;
        }
        self.takes_admin = true;
        Some(file)
    }

    /// Returns the keys of session tickets.
    pub(crate) fn tickets(&self) -> Option<&str> {
        self.offer.tickets.as_deref()
    }

    /// Reports whether its standard input is a terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        self.offer.has_terminal
    }

    /// Says that this process serves, and waits until the predecessor has left its place. If the
    /// predecessor has crashed meanwhile, there is nothing to wait for.
    pub(crate) fn replace(mut self) {
        let takes_admin = self.takes_admin;
        let answer = Answer::new(Outcome::Serves { takes_admin });
        let done = send(self.channel.stream(), &answer).and_then(|()| {
            let stream = self.channel.stream();
            stream.set_read_timeout(Some(DONE_PATIENCE))?;
            self.channel.line(MAX_LINE_BYTES)
        });
        let pid = self.offer.pid;
        match done {
            Ok(Some(line)) if line == DONE => {}
            Ok(Some(_)) => tracing::warn!("process {pid} has sent an unknown message"),
            Ok(None) => tracing::warn!("process {pid} has ended before it handed over"),
            Err(error) => tracing::warn!("process {pid} has not handed over: {error}"),
        }
    }

    /// Returns what reports a failure of this process.
    ///
    /// # Errors
    ///
    /// Fails if the process has no file descriptor left.
    pub(crate) fn failure(&self) -> io::Result<Failure> {
        Ok(Failure(self.channel.stream().try_clone()?))
    }
}

/// Reports a failure of this process to its predecessor.
#[derive(Debug)]
pub(crate) struct Failure(UnixStream);

impl Failure {
    /// Returns whether the predecessor has got the report, which it logs.
    pub(crate) fn report(&self, error: &anyhow::Error) -> bool {
        let mut why = format!("{error:#}");
        why.truncate(why.floor_char_boundary(MAX_REASON_BYTES));
        send(&self.0, &Answer::new(Outcome::Fails(why))).is_ok()
    }
}

fn send(stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let line = serde_json::to_vec(answer)?;
    descriptors::send_line(&mut stream.try_clone()?, &line, &[])
}

/// Parses a message, after its version.
pub(super) fn parse<T: serde::de::DeserializeOwned>(line: &[u8]) -> anyhow::Result<T> {
    let version: Version = serde_json::from_slice(line).context("it has sent no message")?;
    ensure!(
        version.protocol == PROTOCOL,
        "it speaks version {} of the hand-over, and this program speaks {PROTOCOL}: restart the \
         server instead",
        version.protocol
    );
    serde_json::from_slice(line).context("its message is malformed")
}
