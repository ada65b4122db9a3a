//! Tries to access files, the environment and the network, which are not granted. Responds with the
//! results.

use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::{env, fs, io};

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<String> {
    let mut report = String::new();
    let mut tell = |what: &str, result: io::Result<()>| {
        report += &match result {
            Ok(()) => format!("{what}: granted\n"),
            Err(error) => format!("{what}: denied ({error})\n"),
        };
    };
    tell("read a file", fs::read("/etc/hostname").map(drop));
    tell("make a file", fs::File::create("/tmp/wasgi").map(drop));
    tell("list a folder", fs::read_dir("/").map(drop));
    tell(
        "leave the folder",
        fs::read("../../../etc/hostname").map(drop),
    );
    tell("connect", TcpStream::connect(("127.0.0.1", 80)).map(drop));
    tell("listen", TcpListener::bind(("127.0.0.1", 0)).map(drop));
    tell(
        "send a datagram",
        UdpSocket::bind(("127.0.0.1", 0)).map(drop),
    );
    tell(
        "resolve a name",
        ("localhost", 80).to_socket_addrs().map(drop),
    );
    let (variables, arguments) = (env::vars_os().count(), env::args_os().count());
    start_response.call("200 OK", &TEXT)?;
    Ok(format!(
        "{report}{variables} environment variables, {arguments} arguments\n"
    ))
}
