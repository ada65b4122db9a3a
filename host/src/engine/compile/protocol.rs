//! The messages between the server and a compiling process, over a socket pair that preserves
//! message boundaries. The compiling process's end is its standard input.
//!
//! - The server sends a [`Job`]: one byte for the task, and two descriptors, the file to read and
//!   the file to write.
//! - The process answers with a [`Reply`]: one byte and a text.
//! - Before that, it may ask once for code that its file shares with others, and receives a
//!   [`Common`]: one byte, and two descriptors.
//!
//! Replies are untrusted: their length is limited, and their text can be anything.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};

use super::super::code_file::CodeFile;
use super::super::fuse::CodeKey;
use super::code::Common;
use crate::printable;

/// The maximum length of a reply's text, in bytes. An error is one line; a longer text is cut.
const MAX_TEXT_BYTES: usize = 4096;

/// The maximum number of descriptors with a job or an answer.
const MAX_FILES: usize = 8;

/// A job for a compiling process.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    /// The handler's file.
    pub(super) input: OwnedFd,
    /// The file for compiled code.
    pub(super) output: OwnedFd,
    /// Files that the task needs: one for [`Task::Lines`], five for [`Task::Script`], six for
    /// [`Task::Portable`], and otherwise none.
    pub(super) parts: Vec<OwnedFd>,
}

/// The task for a handler's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Task {
    /// Compile it and write its code.
    Compile,
    /// Name the imports that the host doesn't have.
    Missing,
    /// Find the lines of the source of positions in its code, which the part has, and write them.
    Lines,
    /// Compile an interpreter without an application and write its state.
    Runtime,
    /// Compile the frame with which such an interpreter loads an application.
    Loader,
    /// Load an application by a plan and write the state. The parts are the interpreter's code, its
    /// loader, its state, the mark of the code that the new state belongs to, and a file to write
    /// the names of modules to.
    Script,
    /// Load an application like [`Task::Script`], and write a portable component with the state.
    /// The sixth part is the interpreter's component.
    Portable,
}

/// A message from a compiling process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A line for the log about missing mechanisms of confinement. Sent once, before the first
    /// answer.
    Note(String),
    /// Asks whether code with this key exists.
    Ask(CodeKey),
    /// The job is done. The text is the result of the task.
    Done(String),
    /// The file can't be loaded: one line with the reason.
    Refused(String),
    /// The job ran out of memory: one line that says where.
    OutOfMemory(String),
    /// The system lacked a thread or a descriptor, which is not the file's fault: one line.
    Shortage(String),
}

impl Task {
    fn byte(self) -> u8 {
        match self {
            Self::Compile => b'c',
            Self::Missing => b'm',
            Self::Lines => b'n',
            Self::Runtime => b'r',
            Self::Loader => b'l',
            Self::Script => b's',
            Self::Portable => b'p',
        }
    }
}

impl Reply {
    fn parts(&self) -> (u8, Cow<'_, str>) {
        match self {
            Self::Note(text) => (b'n', text.into()),
            Self::Ask(key) => (b'a', key.mark().into()),
            Self::Done(text) => (b'd', text.into()),
            Self::Refused(text) => (b'r', text.into()),
            Self::OutOfMemory(text) => (b'o', text.into()),
            Self::Shortage(text) => (b's', text.into()),
        }
    }

    fn parse(message: &[u8]) -> Option<Self> {
        let (kind, text) = message.split_first()?;
        let text = String::from_utf8_lossy(text).into_owned();
        Some(match kind {
            b'n' => Self::Note(text),
            b'a' => Self::Ask(CodeKey::from_mark(&text)?),
            b'd' => Self::Done(text),
            b'r' => Self::Refused(text),
            b'o' => Self::OutOfMemory(text),
            b's' => Self::Shortage(text),
            _ => return None,
        })
    }
}

/// Creates a channel: the server's end, and the end that becomes the process's standard input.
pub(super) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends a job.
///
/// # Errors
///
/// Fails if the process has exited.
pub(super) fn send_job(socket: impl AsFd, job: &Job) -> io::Result<()> {
    send_files(
        socket,
        job.task.byte(),
        &[job.input.as_fd(), job.output.as_fd()]
            .into_iter()
            .chain(job.parts.iter().map(AsFd::as_fd))
            .collect::<Vec<_>>(),
    )
}

/// Waits for a job. Returns `None` if the server has exited.
///
/// # Errors
///
/// Fails if no job arrived within the socket's timeout, or the message is not a job.
pub(super) fn receive_job(socket: impl AsFd) -> io::Result<Option<Job>> {
    let Some((kind, files)) = receive_files(socket)? else {
        return Ok(None);
    };
    let mut files = files.into_iter();
    let (Some(input), Some(output)) = (files.next(), files.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let task = match kind {
        b'c' => Task::Compile,
        b'm' => Task::Missing,
        b'n' => Task::Lines,
        b'r' => Task::Runtime,
        b'l' => Task::Loader,
        b's' => Task::Script,
        b'p' => Task::Portable,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Some(Job {
        task,
        input,
        output,
        parts: files.collect(),
    }))
}

/// Sends the answer to [`Reply::Ask`].
///
/// # Errors
///
/// Fails if the process has exited.
pub(super) fn send_common(socket: impl AsFd, common: &Common) -> io::Result<()> {
    let (kind, files) = match common {
        Common::Known(code, frame) => (b'k', [code.file().as_fd(), frame.file().as_fd()]),
        Common::Wanted(code, frame) => (b'w', [code.as_fd(), frame.as_fd()]),
    };
    send_files(socket, kind, &files)
}

/// Waits for the answer to [`Reply::Ask`], which can take as long as compiling.
///
/// # Errors
///
/// Fails if the server has exited, or the message is not an answer.
pub(super) fn receive_common(socket: impl AsFd) -> io::Result<Common> {
    loop {
        match receive_files(&socket) {
            Ok(Some((kind, files))) => {
                let Ok([code, frame]) = <[OwnedFd; 2]>::try_from(files) else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                let [code, frame] = [code, frame].map(File::from);
                return match kind {
                    b'k' => Ok(Common::Known(
                        CodeFile::written(code),
                        CodeFile::written(frame),
                    )),
                    b'w' => Ok(Common::Wanted(code, frame)),
                    _ => Err(io::ErrorKind::InvalidData.into()),
                };
            }
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            // The socket's timeout applies to the next job only.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends one byte and some descriptors.
fn send_files(socket: impl AsFd, kind: u8, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fits = control.push(SendAncillaryMessage::ScmRights(files));
    debug_assert!(fits, "the space was made for it");
    let message = [kind];
    sendmsg(
        socket,
        &[IoSlice::new(&message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives one byte and some descriptors. Returns `None` if the other end is closed.
fn receive_files(socket: impl AsFd) -> io::Result<Option<(u8, Vec<OwnedFd>)>> {
    let mut message = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut message)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let [kind] = message;
    Ok(Some((kind, files.flatten().collect())))
}

/// Sends a reply.
///
/// # Errors
///
/// Fails if the server has exited.
pub(super) fn send_reply(socket: impl AsFd, reply: &Reply) -> io::Result<()> {
    let (kind, text) = reply.parts();
    let mut message = vec![kind];
    message.extend_from_slice(printable::front(&text, MAX_TEXT_BYTES).as_bytes());
    rustix::net::send(socket, &message, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a reply that has arrived. Returns `None` if the process has ended.
///
/// # Errors
///
/// Fails if the message is not a reply.
pub(super) fn receive_reply(socket: impl AsFd) -> io::Result<Option<Reply>> {
    let mut message = [0; MAX_TEXT_BYTES + 1];
    let (_, bytes) = match recv(socket, &mut message[..], RecvFlags::empty()) {
        Ok(received) => received,
        // The process ended with an unread job.
        Err(Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let message = message.get(..bytes).unwrap_or_default();
    if message.is_empty() {
        return Ok(None);
    }
    Reply::parse(message)
        .map(Some)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Creates an immutable in-memory file with these bytes.
///
/// # Errors
///
/// Fails if the system has no memory or descriptor for it.
pub(super) fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memory_file()?);
    file.write_all(bytes)?;
    seal(&file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

/// Creates an empty in-memory file.
///
/// # Errors
///
/// Fails if the system has no memory or descriptor for it.
pub(super) fn memory_file() -> io::Result<OwnedFd> {
    /// The name in the list of a process's files.
    const NAME: &str = "wasgi-handler";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3.
        Err(Errno::INVAL) => Ok(memfd_create(NAME, flags)?),
        result => Ok(result?),
    }
}

/// Makes an in-memory file immutable for everyone who has it open.
///
/// # Errors
///
/// Fails if it is mapped for writing.
pub(super) fn seal(file: impl AsFd) -> io::Result<()> {
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    Ok(fcntl_add_seals(file, seals)?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_job_arrives_with_its_files() {
        let (server, process) = channel().expect("a channel");
        for task in [Task::Compile, Task::Missing] {
            let job = Job {
                task,
                input: sealed(b"abc").expect("a file"),
                output: memory_file().expect("a file"),
                parts: vec![memory_file().expect("a file")],
            };
            send_job(&server, &job).expect("it is sent");
            let arrived = receive_job(&process).expect("it is there").expect("a job");
            assert_eq!(arrived.task, task);
            assert_eq!(arrived.parts.len(), 1);
            let mut text = String::new();
            File::from(arrived.input)
                .read_to_string(&mut text)
                .expect("it can be read");
            assert_eq!(text, "abc");
            File::from(arrived.output)
                .write_all(b"def")
                .expect("it can be written");
        }
        drop(server);
        assert!(receive_job(&process).expect("an end").is_none());
    }

    #[test]
    fn who_asks_for_code_gets_it_or_two_files_to_write_it_to() {
        let (server, process) = channel().expect("a channel");
        let mark = format!("{}:{}", super::super::super::fuse::CODE, "0a".repeat(32));
        let key = CodeKey::from_mark(&mark).expect("a key");
        send_reply(&process, &Reply::Ask(key)).expect("it is sent");
        let asked = receive_reply(&server).expect("it is there");
        assert_eq!(asked, Some(Reply::Ask(key)));
        let file = || CodeFile::memory_file().expect("a file");
        let mut code = file();
        code.write_all(b"code").expect("it can be written");
        let known = Common::Known(CodeFile::written(code), CodeFile::written(file()));
        send_common(&server, &known).expect("it is sent");
        let Ok(Common::Known(code, frame)) = receive_common(&process) else {
            panic!("it is known");
        };
        assert_eq!(code.file().metadata().expect("its size").len(), 4);
        assert_eq!(frame.file().metadata().expect("its size").len(), 0);
        let (code, frame) = (file(), file());
        let wanted = Common::Wanted(code.try_clone().expect("a file"), frame);
        send_common(&server, &wanted).expect("it is sent");
        let Ok(Common::Wanted(mut written, _)) = receive_common(&process) else {
            panic!("it is wanted");
        };
        written.write_all(b"new").expect("it can be written");
        assert_eq!(code.metadata().expect("its size").len(), 3);
        // A job is not an answer.
        let (input, output) = (sealed(b"").expect("a file"), memory_file().expect("a file"));
        let task = Task::Compile;
        send_job(
            &server,
            &Job {
                task,
                input,
                output,
                parts: Vec::new(),
            },
        )
        .expect("it is sent");
        assert!(receive_common(&process).is_err());
        drop(server);
        assert!(receive_common(&process).is_err());
    }

    #[test]
    fn a_reply_is_bounded_and_of_a_known_kind() {
        let (server, process) = channel().expect("a channel");
        for reply in [
            Reply::Note("a".into()),
            Reply::Done(String::new()),
            Reply::Refused("ä".repeat(10)),
            Reply::OutOfMemory("b".into()),
            Reply::Shortage("c".into()),
        ] {
            send_reply(&process, &reply).expect("it is sent");
            assert_eq!(receive_reply(&server).expect("it is there"), Some(reply));
        }
        send_reply(&process, &Reply::Refused("a".repeat(1 << 16))).expect("it is sent");
        let reply = receive_reply(&server).expect("it is there");
        assert_eq!(reply, Some(Reply::Refused("a".repeat(MAX_TEXT_BYTES))));
        rustix::net::send(&process, b"?", SendFlags::empty()).expect("it is sent");
        assert!(receive_reply(&server).is_err());
        drop(process);
        assert_eq!(receive_reply(&server).expect("an end"), None);
    }

    #[test]
    fn a_sealed_file_can_be_read_and_not_changed() {
        let file = File::from(sealed(b"abc").expect("a file"));
        let error = (&file).write_all(b"d").expect_err("it is sealed");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(file.set_len(1).is_err() && file.set_len(9).is_err());
        assert!(seal(&file).is_err(), "the seals are sealed, too");
    }
}
