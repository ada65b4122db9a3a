//! SQLite in a granted folder, by a script whose processes are killed.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::{kill_rounds, try_ask, workers};
use crate::support::attempts::PATIENT_BUDGET;
use crate::support::scripts::Language::Python;
use crate::support::scripts::{compile, until};
use crate::support::server::Server;
use crate::support::{SetOnDrop, eventually};

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
    let done = AtomicBool::new(false);
    // The acknowledged and the attempted rows of each client.
    let counts: [(AtomicU64, AtomicU64); CLIENTS] = Default::default();
    thread::scope(|scope| {
        for (client, (acknowledged, attempted)) in counts.iter().enumerate() {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let tried = attempted.fetch_add(1, Ordering::Relaxed) + 1;
                    let Some(told) = try_ask(addr, &format!("/book?add={client}")) else {
                        continue;
                    };
                    let before = acknowledged.fetch_add(1, Ordering::Relaxed);
                    let count = told
                        .strip_prefix("ok ")
                        .and_then(|count| count.parse().ok());
                    let is_plausible = |count: u64| (before + 1..=tried).contains(&count);
                    assert!(count.is_some_and(is_plausible), "{before} {told} {tried}");
                }
            });
        }
        let _stop = SetOnDrop(&done);
        for round in 0..kill_rounds() {
            thread::sleep(Duration::from_millis(20 + round as u64 * 37 % 200));
            let workers = workers(&server);
            if let Some(victim) = workers.get(round % 2).or(workers.first()) {
                let _ = kill_process(*victim, Signal::KILL);
            }
            let read = || counts.iter().map(|(it, _)| it.load(Ordering::Relaxed));
            let before: Vec<u64> = read().collect();
            eventually("all clients go on", || {
                read().zip(&before).all(|(now, before)| now > *before)
            });
        }
    });
    for (client, (acknowledged, attempted)) in counts.iter().enumerate() {
        let told = server.get(&format!("/book?{client}")).text().to_owned();
        let stored = told.strip_prefix("ok ").expect("the database is intact");
        let stored: u64 = stored.parse().expect("a number");
        let range = acknowledged.load(Ordering::Relaxed)..=attempted.load(Ordering::Relaxed);
        assert!(range.contains(&stored), "{stored} stored: {range:?}");
        println!("{stored} stored; acknowledged and attempted: {range:?}");
    }
}
