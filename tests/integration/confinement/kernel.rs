//! Kernels without Landlock, which a filter of system calls stands for.

use std::process::Command;
use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::CONFINED;
use crate::support::attempts::configure;
use crate::support::command::{code_cache, wasgi};
use crate::support::process::{Ended, Process};
use crate::support::server::Server;
use crate::support::site::Site;

/// Errors of landlock_create_ruleset(2) on a kernel that was built without it, and on one in which
/// it is disabled.
const ERRORS: [i32; 2] = [libc::ENOSYS, libc::EOPNOTSUPP];

/// Does some work on a thread whose processes have a kernel without Landlock.
fn without_landlock<T: Send + 'static>(error: i32, work: impl FnOnce() -> T + Send + 'static) -> T {
    let restricted = thread::spawn(move || {
        let rules = [(libc::SYS_landlock_create_ruleset, Vec::new())].into();
        let refused = SeccompAction::Errno(error.cast_unsigned());
        let arch = std::env::consts::ARCH.try_into().expect("it is supported");
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch);
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("it is good");
        seccompiler::apply_filter(&program).expect("the kernel has seccomp");
        work()
    });
    restricted.join().expect("no panic")
}

fn serve(site: &Site, mode: &str) -> Command {
    configure(site, &CONFINED.replace("required", mode));
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
    command.arg(code_cache()).arg(site.path());
    command
}

#[test]
fn without_landlock_a_server_that_requires_it_ends_with_one_line() {
    for error in ERRORS {
        for processes in ["1", "2"] {
            let site = Site::new().with_page("index.html", "a page");
            let mut command = serve(&site, "required");
            command.args(["--processes", processes]);
            let ended: Ended = without_landlock(error, move || Process::start(&mut command).wait());
            assert_eq!(ended.status.code(), Some(1), "{}", ended.everything());
            assert_eq!(ended.stderr.len(), 1, "{}", ended.everything());
            let line = &ended.stderr[0];
            for part in [
                "server.confine: no Landlock: not supported by this kernel",
                "use a kernel that has it (`wasgi doctor`), or \"best-effort\"",
            ] {
                assert!(line.contains(part), "{line}");
            }
        }
    }
}

#[test]
fn without_landlock_a_server_that_prefers_it_says_so_and_serves() {
    for error in ERRORS {
        let site = Site::new()
            .with_page("index.html", "a page")
            .with_page_handler("hello", "the handler");
        let mut command = serve(&site, "best-effort");
        without_landlock(error, move || {
            let server = Server::started(Process::start(&mut command));
            server.error_log().expect(&[
                "server.confine: continuing without Landlock: not supported by this kernel",
            ]);
            server.error_log().expect(&["confined by seccomp"]);
            assert_eq!(server.get("/").text(), "a page");
            assert_eq!(server.get("/hello").text(), "the handler");
            server.stop();
        });
    }
}

#[test]
fn doctor_says_that_a_kernel_has_no_landlock() {
    for error in ERRORS {
        let site = Site::new().with_page("index.html", "a page");
        let mut command = wasgi(["doctor"]);
        command.arg(site.path());
        let ended = without_landlock(error, move || Process::start(&mut command).wait());
        let all = ended.everything();
        let mut lines = ended.stdout.iter().map(String::as_str);
        let line = lines.find(|line| line.contains("Landlock")).expect(&all);
        assert!(line.contains("warn") && line.contains("missing"), "{line}");
        assert!(all.contains("use Linux 5.13 or later"), "{all}");
    }
}
