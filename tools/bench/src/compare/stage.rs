//! The content that the servers serve: pages of three sizes, handlers, and their configuration.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::inputs::Inputs;
use super::peer::{Peer, REUSE};
use super::server::find_program;

/// The requested content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    /// The constant page, by a handler of the Rust SDK in a new instance.
    Hello,
    /// The constant page, by an instance that serves many requests.
    ReusedHello,
    /// The constant page, by a `wasi:http` component that uses the standard library.
    WasiHttpHello,
    /// A file of this length, in bytes.
    File(usize),
}

/// The folder of the built handlers, relative to the repository's root.
pub(super) const HANDLERS: &str = "handlers";

/// The folder in which Python servers are installed, relative to the repository's root.
pub(super) const VENV: &str = "target/bench/venv";

/// The lengths of the files.
pub(super) const FILES_BYTES: [usize; 3] = [1 << 10, 100 << 10, 10 << 20];

/// The paths of all files.
#[derive(Debug)]
pub(super) struct Stage {
    /// In the target folder.
    pub(super) folder: PathBuf,
    pub(super) pages: PathBuf,
    /// The folder of the Python servers' application.
    pub(super) peers: PathBuf,
    /// The repository's root.
    pub(super) root: PathBuf,
    pub(super) wasgi: PathBuf,
    /// This program, which is also the load generator and the bare loop.
    pub(super) own: PathBuf,
    page_bytes: usize,
}

impl Stage {
    /// Writes the content.
    pub(super) fn set(inputs: &Inputs, wasgi: PathBuf) -> Result<Self> {
        let folder = inputs.target.join("bench");
        let page = fs::read(inputs.root.join("handlers/hello/src/page.html"))?;
        let stage = Self {
            pages: folder.join("pages"),
            peers: inputs.root.join("tools/bench/peers"),
            root: inputs.root.clone(),
            wasgi,
            own: env::current_exe().context("the path of this program is unknown")?,
            page_bytes: page.len(),
            folder,
        };
        for name in ["pages", "handlers", "wasi-http", "nginx", "cache", "reload"] {
            let folder = stage.folder.join(name);
            fs::create_dir_all(&folder)
                .with_context(|| format!("can't make {}", folder.display()))?;
        }
        for bytes in FILES_BYTES {
            fs::write(stage.pages.join(file_name(bytes)), vec![b'x'; bytes])?;
        }
        for name in ["hello.wasm", "sleep.wasm"] {
            let built = stage.root.join(HANDLERS).join(name);
            fs::copy(&built, stage.folder.join("handlers").join(name))
                .with_context(|| format!("can't copy {}", built.display()))?;
        }
        fs::copy(&inputs.wasi_http, stage.wasi_http())
            .with_context(|| format!("can't copy {}", inputs.wasi_http.display()))?;
        let reuse = format!("[handlers.hello]\nreuse = {REUSE}\n");
        fs::write(stage.folder.join("reuse.toml"), reuse)?;
        Ok(stage)
    }

    /// Returns the folder in which Python servers are searched before the path.
    fn venv(&self) -> PathBuf {
        self.root.join(VENV)
    }

    /// Returns the path of the `wasi:http` component. It is alone in its folder, because not every
    /// server supports it.
    pub(super) fn wasi_http(&self) -> PathBuf {
        self.folder.join("wasi-http/hello.wasm")
    }

    /// Returns the path of a peer's program, or none if it is not installed.
    pub(super) fn program(&self, peer: Peer) -> Option<PathBuf> {
        match peer {
            Peer::Bare => Some(self.own.clone()),
            Peer::Wasgi { .. } => Some(self.wasgi.clone()),
            _ => find_program(peer.program()?, &[self.venv().join("bin")]),
        }
    }

    /// Returns the request's path for this content.
    pub(super) fn path(&self, answer: Answer) -> String {
        match answer {
            Answer::Hello | Answer::ReusedHello | Answer::WasiHttpHello => "/hello".to_owned(),
            Answer::File(bytes) => format!("/{}", file_name(bytes)),
        }
    }

    /// Returns the length of the response's body, in bytes.
    pub(super) fn length(&self, answer: Answer) -> usize {
        match answer {
            Answer::Hello | Answer::ReusedHello | Answer::WasiHttpHello => self.page_bytes,
            Answer::File(bytes) => bytes,
        }
    }

    /// Adds our server's arguments, except for its address and threads.
    pub(super) fn wasgi_arguments(&self, command: &mut Command, answer: Answer) {
        let handlers = match answer {
            Answer::WasiHttpHello => "wasi-http",
            Answer::Hello | Answer::ReusedHello | Answer::File(_) => "handlers",
        };
        command.arg("serve").arg("--root").arg(&self.pages);
        command.arg("--handlers").arg(self.folder.join(handlers));
        command.arg("--code-cache").arg(self.folder.join("cache"));
        command.arg("--no-access-log");
        if answer == Answer::ReusedHello {
            command.arg("--config").arg(self.folder.join("reuse.toml"));
        }
    }

    /// Writes nginx's configuration.
    pub(super) fn configure_nginx(&self, address: SocketAddr) -> Result<()> {
        let page = "x".repeat(self.page_bytes);
        let pages = self.pages.display();
        // `user` applies only if it is run as root.
        let text = format!(
            "user root;\nworker_processes 1;\npid nginx.pid;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off;\n  sendfile on;\n  keepalive_requests 1000000000;\n  \
             default_type text/html;\n  client_body_temp_path tmp;\n  proxy_temp_path tmp;\n  \
             fastcgi_temp_path tmp;\n  uwsgi_temp_path tmp;\n  scgi_temp_path tmp;\n  \
             server {{\n    listen {address};\n    root \"{pages}\";\n    \
             location = /hello {{ return 200 \"{page}\"; }}\n  }}\n}}\n"
        );
        fs::write(self.folder.join("nginx/nginx.conf"), text).context("can't configure nginx")
    }
}

fn file_name(bytes: usize) -> String {
    format!("{bytes}.html")
}
