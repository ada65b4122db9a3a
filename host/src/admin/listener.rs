//! The socket of the admin listener.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::addr::AdminAddr;

/// The length of the accept queue: several times the connections that are served at a time.
const BACKLOG: i32 = 128;

/// A bound socket. Dropping it removes the file of a Unix socket.
#[derive(Debug)]
pub(crate) struct AdminListener {
    pub(super) socket: Socket,
    /// Where clients find it.
    shown: String,
    pub(super) file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The file of a Unix socket, removed on drop.
#[derive(Debug)]
pub(super) struct SocketFile(Option<PathBuf>);

impl AdminListener {
    /// Binds the socket. Port 0 selects a free port. A Unix socket is accessible to its owner
    /// alone; one that a server has left behind is replaced.
    ///
    /// # Errors
    ///
    /// Fails if the address is unavailable, with one line that begins with the key.
    pub(crate) fn bind(addr: &AdminAddr) -> anyhow::Result<Self> {
        let refused = |error: io::Error| anyhow::anyhow!("admin.addr: {addr}: {}", why(&error));
        Ok(match addr {
            AdminAddr::Tcp(addr) => {
                let socket = TcpListener::bind(addr).map_err(refused)?;
                socket.set_nonblocking(true).map_err(refused)?;
                let addr = socket.local_addr().map_err(refused)?;
                Self {
                    socket: Socket::Tcp(socket),
                    shown: format!("http://{addr}/"),
                    file: None,
                }
            }
            AdminAddr::Unix(path) => Self {
                socket: Socket::Unix(bind_unix(path).map_err(refused)?),
                shown: addr.to_string(),
                file: Some(SocketFile(Some(path.clone()))),
            },
        })
    }

    /// Takes a socket that another process has bound for this address, and that may listen already.
    ///
    /// # Errors
    ///
    /// Fails if it is not a socket of this kind of address.
    pub(crate) fn from_file(addr: &AdminAddr, file: OwnedFd) -> anyhow::Result<Self> {
        let refused = |error: io::Error| anyhow::anyhow!("admin.addr: {addr}: {error}");
        let listener = match addr {
            AdminAddr::Tcp(_) => {
                let socket = TcpListener::from(file);
                let addr = socket.local_addr().map_err(refused)?;
                Self {
                    socket: Socket::Tcp(socket),
                    shown: format!("http://{addr}/"),
                    file: None,
                }
            }
            AdminAddr::Unix(path) => {
                let socket = UnixListener::from(file);
                socket.local_addr().map_err(refused)?;
                Self {
                    socket: Socket::Unix(socket),
                    shown: addr.to_string(),
                    file: Some(SocketFile(Some(path.clone()))),
                }
            }
        };
        listener.socket.set_nonblocking().map_err(refused)?;
        rustix::net::listen(&listener.socket, BACKLOG).map_err(|error| refused(error.into()))?;
        Ok(listener)
    }

    /// Leaves the file of a Unix socket to the process that has made it.
    pub(crate) fn keep_file(mut self) -> Self {
        if let Some(file) = &mut self.file {
            file.keep();
        }
        self
    }

    /// Returns the address, with the selected port.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }
}

impl Socket {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(true),
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl SocketFile {
    /// Leaves the file to the process that has the socket now.
    pub(super) fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // If it is gone already, there is nothing left to do.
            let _ = fs::remove_file(path);
        }
    }
}

/// Describes an error of the system, and what to do.
fn why(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => "another program listens there: use another address".into(),
        ErrorKind::AddrNotAvailable => "this machine doesn't have this address".into(),
        ErrorKind::PermissionDenied => {
            "not permitted: use a port above 1023, or a folder that this user may write".into()
        }
        ErrorKind::NotFound => "there is no such folder: create it".into(),
        _ => error.to_string(),
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    remove_abandoned(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before it has a name: no other user can connect, not even for a moment.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Removes a socket that no process listens on. Leaves any other file alone.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let why = "a file of this name exists, and is not a socket: move it away";
        return Err(io::Error::other(why));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn bind(path: &Path) -> anyhow::Result<AdminListener> {
        AdminListener::bind(&AdminAddr::Unix(path.into()))
    }

    #[test]
    fn a_unix_socket_is_its_owners_and_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let listener = bind(&path).expect("bound");
        let mode = fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = bind(&path).expect_err("one listens there").to_string();
        assert!(error.contains("another program listens there"), "{error}");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_was_handed_over_stays_when_its_first_owner_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let mut first = bind(&path).expect("bound");
        let file = first.socket.as_fd().try_clone_to_owned().expect("a clone");
        let addr = AdminAddr::Unix(path.clone());
        let second = AdminListener::from_file(&addr, file).expect("it is one");
        if let Some(file) = &mut first.file {
            file.keep();
        }
        drop(first);
        UnixStream::connect(&path).expect("the second one listens");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn an_abandoned_socket_is_replaced_and_other_files_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "it is left behind");
        drop(bind(&path).expect("replaced"));
        fs::write(&path, "mine").expect("written");
        let error = bind(&path).expect_err("a file").to_string();
        assert!(error.starts_with("admin.addr: unix:"), "{error}");
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(fs::read(&path).expect("it is there"), b"mine");
    }
}
