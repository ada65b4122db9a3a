//! A shortage of system resources while a handler is loaded.

use std::thread;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::expect_text;
use crate::support::guests;
use crate::support::server::Server;
use crate::support::site::Site;

/// The numbers of descriptors that are left to a server when its handler changes. Reading the
/// folder needs one, and so does reading the file; compiling needs more than the largest of these.
const LEFT: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 8];

/// Limits the server's number of descriptors.
fn limit(server: &Server, descriptors: usize) {
    let pid = Pid::from_raw(server.id().cast_signed()).expect("a process");
    let current = Some(descriptors as u64);
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current,
        maximum: most,
    };
    prlimit(Some(pid), Resource::Nofile, limit).expect("limited");
}

#[test]
fn a_handler_that_no_descriptor_was_left_for_is_loaded_when_there_are_some_again() {
    let cache = tempfile::tempdir().expect("a folder");
    let cache = cache.path().to_str().expect("text");
    let flags = ["--threads", "1", "--code-cache", cache];
    // From here on, the first version needs no compile process.
    let site = || Site::new().with_page_handler("page", "one");
    Server::with(&site(), &flags).stop();
    thread::scope(|scope| {
        for left in LEFT {
            scope.spawn(move || {
                let site = site();
                let server = Server::with(&site, &flags);
                limit(&server, server.standing_descriptors() + left);
                let text = format!("with {left} left");
                site.replace_handler("page.wat", guests::page(&text));
                let log = server.error_log();
                log.find(|line| line.contains("os error 24") || line.contains("page: reloaded"))
                    .unwrap_or_else(|| panic!("{text}: {}", log.lines().join("\n")));
                limit(&server, 1024);
                expect_text(&server, "/page", &text);
                server.stop();
            });
        }
    });
}
