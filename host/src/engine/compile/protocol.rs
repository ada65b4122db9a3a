//! What the server and a compiling process say to each other, over a socket pair that keeps
//! messages apart. The compiling process's end is its standard input.
//!
//! - The server sends a [`Job`]: one byte that says what to do, and two descriptors, the file to
//!   read and the file to write.
//! - The process answers with a [`Reply`]: one byte and a text.
//! - Before that it may ask once for code that its file has in common with others, and gets a
//!   [`Common`]: one byte, and two descriptors.
//!
//! What a process answers is not trusted: it is bounded in length, and any text can be in it.

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

/// The longest text of a reply, in bytes. An error is one line; a longer one is cut.
const MAX_TEXT_BYTES: usize = 4096;

/// The most descriptors that come with a job, or with an answer.
const MAX_FILES: usize = 6;

/// What a compiling process is to do.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    /// A handler's file.
    pub(super) input: OwnedFd,
    /// Where compiled code goes.
    pub(super) output: OwnedFd,
    /// Compiled code that the task needs: none, or of [`Task::Script`] four.
    pub(super) parts: Vec<OwnedFd>,
}

/// What is to be done with a handler's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Task {
    /// Compile it, and write its code.
    Compile,
    /// Name the imports that the host does not have.
    Missing,
    /// Compile an interpreter without an application, and write its state.
    Runtime,
    /// Compile the frame by which such an interpreter loads an application.
    Loader,
    /// Load an application by a plan, and write the state. The parts are the interpreter's code,
    /// its loader, its state, and the mark of the code that the new state is for.
    Script,
}

/// What a compiling process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// What it can't do without, once, before its first answer: a line for the log.
    Note(String),
    /// Whether there is code by the name of this key.
    Ask(CodeKey),
    /// The job is done. The text is what the task asks for.
    Done(String),
    /// The file can't be loaded: one line that says why.
    Refused(String),
    /// The job took more memory than there is for it: one line that says where.
    OutOfMemory(String),
}

impl Task {
    fn byte(self) -> u8 {
        match self {
            Self::Compile => b'c',
            Self::Missing => b'm',
            Self::Runtime => b'r',
            Self::Loader => b'l',
            Self::Script => b's',
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
        }
    }

    fn of(message: &[u8]) -> Option<Self> {
        let (kind, text) = message.split_first()?;
        let text = String::from_utf8_lossy(text).into_owned();
        Some(match kind {
            b'n' => Self::Note(text),
            b'a' => Self::Ask(CodeKey::from_mark(&text)?),
            b'd' => Self::Done(text),
            b'r' => Self::Refused(text),
            b'o' => Self::OutOfMemory(text),
            _ => return None,
        })
    }
}

/// Makes a channel: the server's end, and the one that is a compiling process's standard input.
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
/// The process is gone.
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

/// Waits for a job. None when there will be none any more: the server is gone.
///
/// # Errors
///
/// No job came within the socket's timeout, or something else did.
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
        b'r' => Task::Runtime,
        b'l' => Task::Loader,
        b's' => Task::Script,
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
/// The process is gone.
pub(super) fn send_common(socket: impl AsFd, common: &Common) -> io::Result<()> {
    let (kind, files) = match common {
        Common::Known(code, frame) => (b'k', [code.file().as_fd(), frame.file().as_fd()]),
        Common::Wanted(code, frame) => (b'w', [code.as_fd(), frame.as_fd()]),
    };
    send_files(socket, kind, &files)
}

/// Waits for the answer to [`Reply::Ask`], which may take as long as compiling does.
///
/// # Errors
///
/// The server is gone, or something else came.
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
            // The socket's timeout is for the next job.
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

/// Waits for one byte and some descriptors. None when nothing will come any more.
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
/// The server is gone.
pub(super) fn send_reply(socket: impl AsFd, reply: &Reply) -> io::Result<()> {
    let (kind, text) = reply.parts();
    let mut message = vec![kind];
    message.extend_from_slice(printable::front(&text, MAX_TEXT_BYTES).as_bytes());
    rustix::net::send(socket, &message, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes a reply that has arrived. None when none will come any more: the process has ended.
///
/// # Errors
///
/// What arrived is no reply.
pub(super) fn receive_reply(socket: impl AsFd) -> io::Result<Option<Reply>> {
    let mut message = [0; MAX_TEXT_BYTES + 1];
    let (_, bytes) = match recv(socket, &mut message[..], RecvFlags::empty()) {
        Ok(received) => received,
        // It has ended with a job in its inbox.
        Err(Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let message = message.get(..bytes).unwrap_or_default();
    if message.is_empty() {
        return Ok(None);
    }
    Reply::of(message)
        .map(Some)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// A file in memory that nobody can change, with these bytes.
///
/// # Errors
///
/// The system has no memory or no descriptor for it.
pub(super) fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memory_file()?);
    file.write_all(bytes)?;
    seal(&file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

/// An empty file in memory.
///
/// # Errors
///
/// The system has no memory or no descriptor for it.
pub(super) fn memory_file() -> io::Result<OwnedFd> {
    /// What a list of a process's files shows.
    const NAME: &str = "wasgi-handler";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3.
        Err(Errno::INVAL) => Ok(memfd_create(NAME, flags)?),
        result => Ok(result?),
    }
}

/// Sees to it that a file in memory stays as it is, whoever has it open.
///
/// # Errors
///
/// Somebody has it mapped for writing.
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
        // A job is no answer.
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
