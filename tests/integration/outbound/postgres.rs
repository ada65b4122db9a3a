//! A script that uses PostgreSQL, by a driver in Python.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{configure, granting};
use crate::support::scripts::Language::Python;
use crate::support::scripts::{has_packages, until};
use crate::support::server::Server;
use crate::support::site::Site;

/// A script that adds a line to a table and counts the lines.
const SCRIPT: &str = "import os
import pg8000.native
def app(environ, start_response):
    port = int(os.environ['PORT'])
    with_server = dict(host='localhost', port=port, password='secret', database='postgres')
    connection = pg8000.native.Connection('app', **with_server)
    connection.run('CREATE TABLE IF NOT EXISTS lines (text TEXT)')
    connection.run('INSERT INTO lines VALUES (:text)', text=environ['QUERY_STRING'])
    [[count, last]] = connection.run('SELECT count(*), max(text) FROM lines')
    connection.close()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f'{count} {last}'.encode()]
";

/// A database server in a temporary folder. Dropping it stops it.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Postgres {
    /// Starts one, if the programs are installed.
    pub(crate) fn start() -> Option<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let programs = versions.flatten().map(|version| version.path().join("bin"));
        let programs = programs
            .filter(|folder| folder.join("initdb").is_file())
            .max()?;
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let postgres = Self {
            programs,
            folder,
            port,
        };
        let folder = postgres.folder.path();
        fs::write(folder.join("password"), "secret\n").expect("written");
        if rustix::process::geteuid().is_root() {
            // The programs refuse to run as root.
            let owner = owner_of("postgres")?;
            chown(folder, Some(owner), None).expect("its owner");
            chown(folder.join("password"), Some(owner), None).expect("its owner");
        }
        let password = format!("--pwfile={}", folder.join("password").display());
        let data = folder.join("data");
        let data = data.to_str().expect("text");
        let made = ["-D", data, "-U", "app", "-A", "scram-sha-256", &password];
        postgres.run("initdb", &made).then_some(())?;
        let options = format!("-p {port} -h 127.0.0.1 -k {}", folder.display());
        let log = format!("{}/log", folder.display());
        let started = ["-D", data, "-w", "-l", &log, "-o", &options, "start"];
        postgres.run("pg_ctl", &started).then_some(postgres)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let program = self.programs.join(program);
        let mut command = match rustix::process::geteuid().is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.args(arguments).current_dir("/");
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        let ended = quiet.stderr(Stdio::null()).status();
        ended.is_ok_and(|status| status.success())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.folder.path().join("data");
        let data = data.to_str().unwrap_or_default();
        self.run("pg_ctl", &["-D", data, "-m", "immediate", "stop"]);
    }
}

/// Returns the ID of a user.
fn owner_of(name: &str) -> Option<u32> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let user = users
        .lines()
        .find(|line| line.starts_with(&format!("{name}:")))?;
    user.split(':').nth(2)?.parse().ok()
}

#[test]
fn a_python_driver_uses_a_granted_postgresql() {
    if !Python.has_runtime() {
        return;
    }
    let Some(postgres) = Postgres::start() else {
        eprintln!("SKIPPED: there is no PostgreSQL; `apt-get install postgresql` installs it");
        return;
    };
    let site = Site::new();
    let application = site.handlers().join("db");
    fs::create_dir(&application).expect("a folder");
    fs::write(application.join("app.py"), SCRIPT).expect("written");
    if !has_packages(&site, "db", "pg8000\n") {
        eprintln!("SKIPPED: pg8000 can't be installed; `wasgi deps` needs pip or uv, and an index");
        return;
    }
    let port = postgres.port;
    let granted = granting(&[format!("tcp://localhost:{port}")]);
    let environment = format!("{granted}environment = {{ PORT = \"{port}\" }}\n");
    configure(&site, &environment);
    let server = Server::new(&site);
    until(&server, "/db?first", "1 first");
    assert_eq!(server.get("/db?second").text(), "2 second");
    assert_eq!(server.get("/db?third").text(), "3 third");
}
