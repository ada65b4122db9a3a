//! The compiling process: takes jobs from its standard input until that is closed or it has been
//! idle for a while.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::super::code_file::CodeFile;
use super::super::error::LoadError;
use super::super::pools::instances::InstancePool;
use super::super::pools::settings::{self, Effort};
use super::super::shared_code::ProgramFiles;
use super::super::worlds::missing;
use super::code::{self, Code};
use super::confine;
use super::lines;
use super::protocol::{Job, Reply, Task, receive_common, receive_job, send_reply};
use super::script::Script;
use crate::printable;

/// The maximum idle time of a process: long enough for repeated saves of a file, and short enough
/// to free its memory soon.
const IDLE: Duration = Duration::from_secs(5);

/// The same for a developer, whose builds and thoughts take longer. A start takes some 25 ms.
const IDLE_IF_QUICK: Duration = Duration::from_secs(600);

/// The stack size of the thread on which code is tried out, in bytes: half of the server's
/// threads', so that code that passes here can't overflow a stack there.
const TRIAL_STACK_BYTES: usize = 1 << 20;

/// The arguments of a compiling process.
#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// The server's process ID.
    #[arg(long)]
    pub(super) parent: i32,
    /// The address space limit, in bytes.
    #[arg(long)]
    pub(super) memory: u64,
    /// The processor time limit of each job, in milliseconds.
    #[arg(long)]
    pub(super) cpu_time: u64,
    /// The stack size of a compiling thread, in bytes.
    #[arg(long)]
    pub(super) stack: u64,
    /// The maximum size of one job's compiled code, in bytes.
    #[arg(long)]
    pub(super) output: u64,
    /// Compiles fast, and not fast code: for a developer.
    #[arg(long)]
    pub(super) quick: bool,
    /// Runs a script, which needs more memory and descriptors than compiling.
    #[arg(long)]
    pub(super) runs: bool,
    /// A readable folder with a script to load.
    #[arg(long = "folder")]
    pub(super) folders: Vec<PathBuf>,
    /// The name of each folder in the sandbox.
    #[arg(long = "called")]
    pub(super) names: Vec<String>,
}

/// Compiles the server's jobs until the server exits or sends nothing for a while.
///
/// # Errors
///
/// Fails if this process was not started by a server, or can't be limited.
pub fn serve(limits: &Limits) -> anyhow::Result<()> {
    confine::follow(limits.parent)?;
    let inherited = confine::inherited_descriptors();
    confine::limit(limits.memory, limits.output, limits.runs)?;
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    let idle = match limits.quick {
        true => IDLE_IF_QUICK,
        false => IDLE,
    };
    set_socket_timeout(socket, Timeout::Recv, Some(idle))
        .context("the standard input is no channel to a server")?;
    let engine = settings::compiler().map_err(anyhow::Error::from)?;
    let instances = InstancePool::new(engine)?;
    for note in confine::confine(&inherited, limits.runs, &limits.folders) {
        send_reply(socket, &Reply::Note(note))?;
    }
    loop {
        let job = match receive_job(socket) {
            Ok(Some(job)) => job,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("can't read from the server"),
        };
        let reply = run(&instances, job, limits, socket);
        send_reply(socket, &reply).context("can't write to the server")?;
    }
}

fn run(instances: &InstancePool, job: Job, limits: &Limits, socket: BorrowedFd<'_>) -> Reply {
    let cpu_time = Duration::from_millis(limits.cpu_time);
    let result = confine::renew_cpu_time(cpu_time)
        .map_err(|error| LoadError::new(format!("its processor time can't be limited: {error}")))
        .and_then(|()| read(job.input))
        .and_then(|bytes| match job.task {
            Task::Compile => {
                let effort = match limits.quick {
                    true => Effort::Quick,
                    false => Effort::Full,
                };
                let made = |common: &mut code::Ask<'_>| {
                    code::compile(&instances.engine, effort, &bytes, common)
                };
                write_code(instances, made, File::from(job.output), limits, socket)
            }
            Task::Missing => {
                let names = on_thread(limits.stack, || Ok(missing::names(instances, &bytes)))?;
                Ok(names.join("\n"))
            }
            Task::Lines => {
                let Some(positions) = job.parts.into_iter().next() else {
                    return Err(LoadError::new("the positions are missing"));
                };
                let positions = lines::decode_positions(&read(positions)?);
                let found = on_thread(limits.stack, || code::lines(&bytes, &positions))?;
                let text = lines::encode(&found);
                write(File::from(job.output), text.as_bytes()).map(|()| String::new())
            }
            Task::Runtime => {
                let made =
                    |common: &mut code::Ask<'_>| code::runtime(&instances.engine, &bytes, common);
                write_code(instances, made, File::from(job.output), limits, socket)
            }
            Task::Loader => {
                let loader = on_thread(limits.stack, || code::loader(&instances.engine, &bytes))?;
                write(File::from(job.output), &loader).map(|()| String::new())
            }
            Task::Script | Task::Portable => {
                let folders = limits.folders.iter().cloned().zip(limits.names.clone());
                let (script, modules) =
                    Script::new(&bytes, job.parts, folders.collect()).map_err(LoadError::new)?;
                let loaded = on_thread(limits.stack, || script.load(&instances.engine))?;
                write(File::from(job.output), &loaded.state)?;
                write(File::from(modules), loaded.modules.join("\n").as_bytes())?;
                Ok(loaded.said)
            }
        });
    match result {
        Ok(text) => Reply::Done(text),
        Err(error) => refusal(&error),
    }
}

/// Returns the reply for a job that failed.
fn refusal(error: &LoadError) -> Reply {
    let text = printable::one_line(&error.to_string()).to_string();
    match error {
        // The limits of this process, which the file has reached: a shortage of memory or
        // descriptors would be the same at each attempt.
        LoadError::Shortage(Some(Errno::NOMEM), _) => Reply::OutOfMemory(text),
        LoadError::Shortage(Some(_), _) => Reply::Refused(text),
        LoadError::Shortage(None, _) => Reply::Shortage(text),
        LoadError::File(_) | LoadError::Cancelled => Reply::Refused(text),
    }
}

/// Writes the compiled code and tries it out. Returns a line for the log, possibly empty.
fn write_code(
    instances: &InstancePool,
    made: impl FnOnce(&mut code::Ask<'_>) -> Result<Code, LoadError> + Send,
    mut output: File,
    limits: &Limits,
    socket: BorrowedFd<'_>,
) -> Result<String, LoadError> {
    let code = on_thread(limits.stack, || {
        let mut common = |key| {
            send_reply(socket, &Reply::Ask(key))
                .and_then(|()| receive_common(socket))
                .map_err(|error| LoadError::new(format!("could not ask the server: {error}")))
        };
        made(&mut common)
    })?;
    write(&mut output, &code.bytes)?;
    let Code {
        bytes,
        shared,
        unfused,
    } = code;
    drop(bytes);
    let files = ProgramFiles {
        own: CodeFile::written(output),
        shared: shared.map(Arc::new),
    };
    on_thread(TRIAL_STACK_BYTES as u64, || {
        code::try_out(instances, &files)
    })?;
    Ok(unfused.unwrap_or_default())
}

fn write(mut output: impl Write, code: &[u8]) -> Result<(), LoadError> {
    output
        .write_all(code)
        .map_err(|error| LoadError::of_io(format!("its code can't be written: {error}"), &error))
}

fn read(input: impl Into<File>) -> Result<Vec<u8>, LoadError> {
    let mut input = input.into();
    let mut read = || {
        let length = input.seek(SeekFrom::End(0))?;
        input.seek(SeekFrom::Start(0))?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        input.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error: io::Error| {
        LoadError::of_io(format!("its file can't be read: {error}"), &error)
    })
}

/// Runs `part` on a separate thread with this stack size. Turns a panic into an error.
fn on_thread<T: Send>(
    stack_bytes: u64,
    part: impl FnOnce() -> Result<T, LoadError> + Send,
) -> Result<T, LoadError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .stack_size(usize::try_from(stack_bytes).unwrap_or(usize::MAX))
            .spawn_scoped(scope, part)
            .map_err(|error| no_thread(&error))?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                let text = text.unwrap_or("no message");
                let line = format!("compiling it made the compiler panic: {text}");
                Err(LoadError::new(line))
            }
        }
    })
}

/// Returns the error for a thread that doesn't start: the system's shortage, unless the memory of
/// this process is at its limit.
fn no_thread(error: &io::Error) -> LoadError {
    let line = format!("no thread to compile it: {error}");
    match Errno::from_io_error(error) {
        Some(Errno::NOMEM) => LoadError::of_io(line, error),
        _ => LoadError::shortage(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let error = on_thread::<()>(1 << 20, || panic!("number {}", 7)).expect_err("it panics");
        assert_eq!(
            error.to_string(),
            "compiling it made the compiler panic: number 7"
        );
        let error = on_thread::<()>(1 << 20, || Err(LoadError::new("no"))).expect_err("it fails");
        assert_eq!(error.to_string(), "no");
    }
    #[test]
    fn only_a_shortage_of_the_system_is_reported_as_one() {
        let of_io = |errno: Errno| LoadError::of_io("line", &errno.into());
        let line = || "line".to_owned();
        for (error, reply) in [
            (LoadError::shortage("line"), Reply::Shortage(line())),
            (of_io(Errno::NOMEM), Reply::OutOfMemory(line())),
            (of_io(Errno::MFILE), Reply::Refused(line())),
            (of_io(Errno::NOENT), Reply::Refused(line())),
            (
                LoadError::new("Cannot allocate memory (os error 12)"),
                Reply::Refused("Cannot allocate memory (os error 12)".to_owned()),
            ),
        ] {
            assert_eq!(refusal(&error), reply);
        }
        let of_thread = |errno: Errno| refusal(&no_thread(&errno.into()));
        assert!(matches!(of_thread(Errno::AGAIN), Reply::Shortage(_)));
        assert!(matches!(of_thread(Errno::NOMEM), Reply::OutOfMemory(_)));
    }
}
