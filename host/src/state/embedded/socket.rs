//! The Unix socket of a store's owner, in the folder of the database.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The database's file in its folder.
pub(super) const FILE_NAME: &str = "state.redb";

/// The socket in the same folder.
pub(super) const SOCKET_NAME: &str = "state.sock";

/// Binds the socket. Must be called only by the process that has the database's lock: it replaces
/// a socket that an earlier owner has left.
pub(super) fn bind(folder: &Path) -> io::Result<UnixListener> {
    let (_folder, path) = short(folder)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    // So is the folder, unless the operator has created it with another mode.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the socket.
pub(super) fn connect(folder: &Path) -> io::Result<UnixStream> {
    let (_folder, path) = short(folder)?;
    UnixStream::connect(path)
}

/// Returns a path of the socket that is valid while the folder is open: a socket's path has up to
/// 107 bytes (unix(7)), and a folder's path can be longer.
fn short(folder: &Path) -> io::Result<(File, PathBuf)> {
    let folder = File::open(folder)?;
    let path = format!("/proc/self/fd/{}/{SOCKET_NAME}", folder.as_raw_fd());
    Ok((folder, path.into()))
}
