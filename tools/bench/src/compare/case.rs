//! The cases: what is measured, with which servers, and how.

use super::peer::{Peer, REUSE};
use super::stage::Answer;

/// A case, which is a table in the report.
#[derive(Debug)]
pub(super) struct Case {
    /// The name for `--only`.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// An explanation of its figures for the report.
    pub(super) about: &'static str,
    pub(super) measurement: Measurement,
}

/// How a case is measured.
#[derive(Debug)]
pub(super) enum Measurement {
    /// At full load, in alternating rounds. Ratios are relative to the first server.
    Contest {
        answer: Answer,
        peers: &'static [Peer],
        pinned: bool,
    },
    /// At 70 % of each server's maximum rate, which a preceding round determines.
    Paced {
        answer: Answer,
        peers: &'static [Peer],
    },
    /// The time from the start of the process to its first response.
    Start,
    /// The time from the rename of a handler to its first response, and the effect on other
    /// requests.
    Reload,
    /// The memory of an idle server.
    Idle,
    /// Many handlers that sleep at the same time.
    Sleepers,
}

pub(super) const WASGI: Peer = Peer::Wasgi {
    threads: 1,
    processes: 1,
};
pub(super) const WASGI_THREADS: Peer = Peer::Wasgi {
    threads: 2,
    processes: 1,
};
const WASGI_PROCESSES: Peer = Peer::Wasgi {
    threads: 1,
    processes: 2,
};
const WASMTIME: Peer = Peer::Wasmtime {
    requests_per_instance: 1,
};
const WASMTIME_REUSED: Peer = Peer::Wasmtime {
    requests_per_instance: REUSE,
};
const FILE_PEERS: &[Peer] = &[Peer::Bare, WASGI, Peer::Nginx, Peer::StaticWebServer];

/// All cases, in the order of the report. The report notes servers that don't support a case.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "hello",
        title: "Hello, a fresh instance for each request",
        about: "A handler of the Rust SDK; the same page from other kinds of servers.",
        measurement: Measurement::Contest {
            answer: Answer::Hello,
            peers: &[
                Peer::Bare,
                WASGI,
                WASMTIME,
                Peer::Nginx,
                Peer::Granian,
                Peer::Gunicorn,
            ],
            pinned: true,
        },
    },
    Case {
        name: "reused",
        title: "Hello, reused instances",
        about: "The handler `hello` with `reuse`.",
        measurement: Measurement::Contest {
            answer: Answer::ReusedHello,
            peers: &[Peer::Bare, WASGI, WASMTIME_REUSED],
            pinned: true,
        },
    },
    Case {
        name: "wasi-http",
        title: "Hello, a stock wasi:http component, fresh",
        about: "Both servers run one file: Rust's standard library and its allocator, none of our settings.",
        measurement: Measurement::Contest {
            answer: Answer::WasiHttpHello,
            peers: &[Peer::Bare, WASGI, WASMTIME],
            pinned: true,
        },
    },
    Case {
        name: "file-1k",
        title: "A file of 1 KiB",
        about: "The bare loop sends it from memory.",
        measurement: Measurement::Contest {
            answer: Answer::File(1 << 10),
            peers: FILE_PEERS,
            pinned: true,
        },
    },
    Case {
        name: "file-100k",
        title: "A file of 100 KiB",
        about: "The bare loop sends it from memory.",
        measurement: Measurement::Contest {
            answer: Answer::File(100 << 10),
            peers: FILE_PEERS,
            pinned: true,
        },
    },
    Case {
        name: "file-10m",
        title: "A file of 10 MiB",
        about: "The bare loop copies it from memory; the others don't have to. The client is the \
                bottleneck here: compare the processor time.",
        measurement: Measurement::Contest {
            answer: Answer::File(10 << 20),
            peers: FILE_PEERS,
            pinned: true,
        },
    },
    Case {
        name: "threads",
        title: "Hello, two threads or processes compared with one",
        about: "Fresh instances. Nothing is pinned; the load generator shares the processors.",
        measurement: Measurement::Contest {
            answer: Answer::Hello,
            peers: &[WASGI, WASGI_THREADS, WASGI_PROCESSES, WASMTIME],
            pinned: false,
        },
    },
    Case {
        name: "latency",
        title: "Hello, latency at 70 % of each server's peak rate",
        about: "Fresh instances. Requests are due at fixed intervals; latency counts from the due time.",
        measurement: Measurement::Paced {
            answer: Answer::Hello,
            peers: &[Peer::Bare, WASGI, WASMTIME],
        },
    },
    Case {
        name: "start",
        title: "From start to first response",
        about: "The demo site with cached handlers; nothing is pinned.",
        measurement: Measurement::Start,
    },
    Case {
        name: "reload",
        title: "From renaming a handler to its first response",
        about: "Two handlers in turn, compiled each time; nothing is pinned. Meanwhile another \
                handler gets 500 requests per second.",
        measurement: Measurement::Reload,
    },
    Case {
        name: "idle",
        title: "Memory of the idle demo site",
        about: "After one request for a page and one for a handler.",
        measurement: Measurement::Idle,
    },
    Case {
        name: "sleepers",
        title: "10,000 handlers that sleep for a second",
        about: "Each on its own connection; two threads; nothing is pinned.",
        measurement: Measurement::Sleepers,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::stage::FILES_BYTES;
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn every_file_that_is_asked_for_is_there() {
        for case in CASES {
            if let Measurement::Contest {
                answer: Answer::File(bytes),
                ..
            } = case.measurement
            {
                assert!(FILES_BYTES.contains(&bytes), "{}", case.name);
            }
        }
    }

    #[test]
    fn a_contest_has_somebody_to_compare_with() {
        for case in CASES {
            if let Measurement::Contest { peers, .. } = case.measurement {
                assert!(peers.len() > 1, "{}", case.name);
                assert_eq!(peers[0].program(), None, "{}: always there", case.name);
            }
        }
    }
}
