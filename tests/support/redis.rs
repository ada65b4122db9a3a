//! A Redis server from the system's package.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::eventually;

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Redis {
    /// Starts a server that stores its data in a folder, each change before it replies. Returns
    /// `None`, and prints how to install it, if there is none.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        Self::start_with(folder, 0)
    }

    /// Starts a server like [`start`](Self::start) that also listens on this port of the loopback
    /// interface, unless it is 0.
    pub(crate) fn start_with(folder: &Path, port: u16) -> Option<Self> {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "always", "--dir"])
            .arg(folder)
            .arg("--unixsocket")
            .arg(folder.join("redis.sock"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            println!("redis is not tested: install it with apt-get install redis-server");
            return None;
        };
        let redis = Self {
            child,
            folder: folder.to_owned(),
            port,
        };
        eventually("redis listens", || {
            UnixStream::connect(redis.socket()).is_ok()
        });
        Some(redis)
    }

    /// Kills it and starts it again with the same data.
    pub(crate) fn restart(&mut self) {
        let folder = self.folder.clone();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.socket());
        if let Some(next) = Self::start_with(&folder, self.port) {
            *self = next;
        }
    }

    /// Returns the URL for `state.url`.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
