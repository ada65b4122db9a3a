//! SQLite in a granted folder, by a script whose processes are killed.

use std::fs;

use rustix::process::{Signal, kill_process};

use crate::support::attempts::{PATIENT_BUDGET, try_ask};
use crate::support::scripts::Language::Python;
use crate::support::scripts::{compile, until};
use crate::support::server::Server;
use crate::support::writers::Writers;

/// A script that adds a row of a client, checks the database, and returns the number of rows of the
/// client.
const SCRIPT: &str = "import sqlite3
def app(environ, start_response):
    book = sqlite3.connect('/data/book.db')
    book.execute('create table if not exists entry (client text)')
    client = environ['QUERY_STRING'].removeprefix('add=')
    if client != environ['QUERY_STRING']:
        book.execute('insert into entry values (?)', (client,))
        book.commit()
    check, = book.execute('pragma integrity_check').fetchone()
    count, = book.execute('select count(*) from entry where client = ?', (client,)).fetchone()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f'{check} {count}'.encode()]
";

#[test]
fn no_acknowledged_row_of_sqlite_is_lost_when_workers_are_killed() {
    const CLIENTS: usize = 4;
    let settings = "[handlers.book]\nfiles = [{ source = \"data\", destination = \"/data\", \
                    writable = true }]\n[server]\nprocesses = 2\n";
    let Some(site) = Python.site(
        &[("book.py", SCRIPT)],
        &format!("{PATIENT_BUDGET}{settings}"),
    ) else {
        return;
    };
    fs::create_dir(site.path().join("data")).expect("a folder");
    compile(&site);
    let server = Server::new(&site);
    until(&server, "/book?none", "ok 0");
    let addr = server.addr();
    let rows = |text: &str| -> u64 {
        let count = text.strip_prefix("ok ").expect("the database is intact");
        count.parse().expect("a number")
    };
    let insert = |client: usize| {
        let told = try_ask(addr, &format!("/book?add={client}"))?;
        Some(rows(&told))
    };
    let kill = |round: usize| {
        let workers = server.children();
        if let Some(victim) = workers.get(round % 2).or(workers.first()) {
            let _ = kill_process(*victim, Signal::KILL);
        }
    };
    let writers = Writers::run(CLIENTS, insert, |writers| writers.kill_in_rounds(kill));
    writers.expect_stored(|client| rows(server.get(&format!("/book?{client}")).text()));
}
