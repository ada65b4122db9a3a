//! The server's own endpoints, all below `/_wasgi/`. They exist only in `wasgi dev`.
//!
//! | path | what |
//! |---|---|
//! | `/_wasgi/` | the dashboard: a page |
//! | `/_wasgi/dashboard.js`, `/_wasgi/dashboard.css` | its script and its style |
//! | `/_wasgi/state` | what it shows: with the requests after the first `?since=NUMBER` |
//! | `/_wasgi/requests/NUMBER` | a request with its response |
//! | `/_wasgi/requests/NUMBER/replay` | POST sends it again, and returns the number of the replay |
//! | `/_wasgi/dev.js` | the script that pages include |
//! | `/_wasgi/events` | the event stream: `?since=MARK`, or `Last-Event-ID` |

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::Dev;
use super::access;
use super::activity::SlowBuild;
use super::answer::answer;
use super::dashboard;
use super::events::Position;
use super::report::Report;
use super::requests::Recorded;
use crate::http1::{RequestHead, reason};
use crate::permits::{Permit, Permits};
use crate::static_files::{Answer, error_page};

/// The start of the paths of all endpoints.
const PREFIX: &[u8] = b"/_wasgi";

/// The start of the paths of requests, after the prefix.
const REQUESTS: &str = "/requests/";

/// The end of the path that replays a request.
const REPLAY: &str = "/replay";

/// Why there is no request with a number.
const NOT_KEPT: &str = "This request is not kept any more.";

/// The maximum number of open event streams: one per visible window, and some that are about to
/// end.
const MAX_STREAMS: usize = 64;

/// The maximum size of the events that are sent at a time, in bytes. A reader gets more when it has
/// received them.
const MAX_BATCH_BYTES: usize = 64 * 1024;

/// The time after which a browser reconnects, in milliseconds.
const RETRY_MS: u32 = 300;

/// The script, from its parts.
const SCRIPT: &str = concat!(
    "// The script of `wasgi dev`.\n(() => {\n'use strict';\n",
    include_str!("assets/morph.js"),
    include_str!("assets/overlay.js"),
    include_str!("assets/progress.js"),
    include_str!("assets/dev.js"),
    "})();\n",
);

/// The response of an endpoint.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A complete response.
    Answer(Answer),
    /// An event stream.
    Stream(Stream),
    /// The number of the replay of this request, after its end.
    Replay(Arc<Recorded>),
}

/// An open event stream. Holds no events, only its position in the record.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What is sent before the recorded events.
    greeting: Option<String>,
    position: Position,
    _permit: Permit,
}

/// The first event of a stream.
#[derive(Serialize)]
struct Hello {
    /// Events since the page's mark are missing: it has to reload.
    missed: bool,
    failures: Vec<Report>,
    /// The builds that take long.
    building: Vec<SlowBuild>,
}

/// Returns whether a request is for one of the server's own endpoints.
pub(crate) fn is_own(head: &RequestHead) -> bool {
    let rest = head.path().strip_prefix(PREFIX);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Answers a request for one of the server's own endpoints.
pub(crate) fn respond(dev: &Dev, head: &RequestHead) -> Reply {
    if let Err(refusal) = access::check(head) {
        return Reply::Answer(page(403, refusal.why()));
    }
    let path = head.path().strip_prefix(PREFIX).unwrap_or_default();
    if let Some(number) = dashboard::number(path, REQUESTS, REPLAY) {
        return match head.method() {
            "POST" => replay(dev, number),
            _ => Reply::Answer(page(405, "This endpoint supports POST.")),
        };
    }
    let Some(answer) = endpoint(path) else {
        return Reply::Answer(page(404, "wasgi dev has no such endpoint."));
    };
    match (answer, head.method()) {
        (Endpoint::Stream, "GET") => dev.stream(head),
        (Endpoint::Answer(answer), "GET" | "HEAD") => Reply::Answer(answer(dev, head)),
        _ => Reply::Answer(page(405, "This endpoint supports GET.")),
    }
}

/// An endpoint that is read.
enum Endpoint {
    Answer(fn(&Dev, &RequestHead) -> Answer),
    Stream,
}

fn endpoint(path: &[u8]) -> Option<Endpoint> {
    Some(match path {
        b"" => Endpoint::Answer(|_, _| redirect()),
        b"/" => Endpoint::Answer(|dev, _| dashboard::page(dev)),
        b"/dashboard.js" => Endpoint::Answer(|_, _| dashboard::script()),
        b"/dashboard.css" => Endpoint::Answer(|_, _| dashboard::style()),
        b"/dev.js" => Endpoint::Answer(|_, _| script()),
        b"/events" => Endpoint::Stream,
        b"/state" => Endpoint::Answer(|dev, head| {
            dev.state(dashboard::number(head.query(), "since=", "").unwrap_or(0))
        }),
        _ if dashboard::number(path, REQUESTS, "").is_some() => Endpoint::Answer(|dev, head| {
            let path = head.path().strip_prefix(PREFIX).unwrap_or_default();
            let number = dashboard::number(path, REQUESTS, "").unwrap_or(0);
            dev.detail(number).unwrap_or_else(|| refused(404, NOT_KEPT))
        }),
        _ => return None,
    })
}

fn replay(dev: &Dev, number: u64) -> Reply {
    let Some(request) = dev.request(number) else {
        return Reply::Answer(refused(404, NOT_KEPT));
    };
    match request.refusal() {
        Some(why) => Reply::Answer(refused(409, why)),
        None => Reply::Replay(request),
    }
}

/// Returns the response after a replay, which was recorded under this number.
pub(crate) fn replayed(number: NonZeroU64) -> Answer {
    let number = number.get();
    dashboard::json(200, &serde_json::json!({ "number": number }))
}

/// Returns why something of the dashboard can't be done.
fn refused(status: u16, why: &str) -> Answer {
    dashboard::json(status, &serde_json::json!({ "error": why }))
}

fn redirect() -> Answer {
    let mut answer = page(308, "The dashboard is at /_wasgi/.");
    let place = ("Location".into(), (&b"/_wasgi/"[..]).into());
    answer.fields.push(place);
    answer
}

fn script() -> Answer {
    answer(
        200,
        "text/javascript; charset=utf-8",
        SCRIPT.as_bytes().into(),
    )
}

fn page(status: u16, detail: &str) -> Answer {
    let page = error_page(status, reason(status), detail);
    answer(status, "text/html; charset=utf-8", page.into())
}

impl Dev {
    fn stream(&self, head: &RequestHead) -> Reply {
        let Some(permit) = Permits::try_acquire(&self.streams, MAX_STREAMS) else {
            return Reply::Answer(page(503, "Too many pages are open."));
        };
        let of_query = head.query().strip_prefix(b"since=");
        // A browser that reconnects repeats the query.
        let mark = head.field("Last-Event-ID").or(of_query);
        let known = mark
            .and_then(|mark| std::str::from_utf8(mark).ok())
            .and_then(|mark| self.events.since(mark));
        let missed = mark.is_some() && known.is_none();
        // Before the state is read: what happens meanwhile is sent twice rather than never.
        let position = known.unwrap_or_else(|| self.events.end());
        let hello = Hello {
            missed,
            failures: self.current_failures(),
            building: self.activity().slow_builds(Instant::now()),
        };
        Reply::Stream(Stream {
            position,
            greeting: Some(format!(
                "retry: {RETRY_MS}\n\nevent: hello\ndata: {}\n\n",
                serde_json::to_string(&hello).unwrap_or_default()
            )),
            _permit: permit,
        })
    }

    /// Returns the next bytes of a stream; empty if none are available yet. `None` if the reader is
    /// too slow: events are missing.
    pub(crate) fn next(&self, stream: &mut Stream) -> Option<Vec<u8>> {
        let mut bytes = stream.greeting.take().unwrap_or_default().into_bytes();
        stream.position = self
            .events
            .read(stream.position, MAX_BATCH_BYTES, &mut bytes)?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::http1::Limits;

    fn head(text: &str) -> RequestHead {
        let text = format!("{text}\r\nHost: localhost\r\n\r\n");
        let parsed = RequestHead::parse(text.as_bytes(), &Limits::default());
        parsed.expect("valid").expect("complete").0
    }

    fn stream(dev: &Dev, text: &str) -> Stream {
        match respond(dev, &head(text)) {
            Reply::Stream(stream) => stream,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn streams_are_limited_and_their_end_makes_room() {
        let dev = Dev::new(Path::new("handlers"));
        let request = "GET /_wasgi/events HTTP/1.1";
        let mut streams: Vec<_> = (0..MAX_STREAMS).map(|_| stream(&dev, request)).collect();
        let Reply::Answer(answer) = respond(&dev, &head(request)) else {
            panic!("one more than the limit");
        };
        assert_eq!(answer.status, 503);
        streams.pop();
        stream(&dev, request);
    }

    #[test]
    fn a_stream_continues_where_the_page_left_off() {
        let dev = Dev::new(Path::new("handlers"));
        let mark = dev.events.now();
        dev.events.publish("changed", &1);
        let mut since = stream(&dev, &format!("GET /_wasgi/events?since={mark} HTTP/1.1"));
        let text = String::from_utf8(dev.next(&mut since).expect("no loss")).expect("UTF-8");
        assert!(
            text.contains("\"missed\":false") && text.contains("event: changed"),
            "{text}"
        );
        assert_eq!(dev.next(&mut since), Some(Vec::new()));
        let mut other = stream(&dev, "GET /_wasgi/events?since=other-1 HTTP/1.1");
        let text = String::from_utf8(dev.next(&mut other).expect("no loss")).expect("UTF-8");
        assert!(
            text.contains("\"missed\":true") && !text.contains("event: changed"),
            "{text}"
        );
    }

    #[test]
    fn a_slow_reader_is_dropped_and_nothing_grows() {
        let dev = Dev::new(Path::new("handlers"));
        let mut slow = stream(&dev, "GET /_wasgi/events HTTP/1.1");
        let large = "x".repeat(100_000);
        for _ in 0..100 {
            dev.events.publish("changed", &large);
        }
        assert_eq!(dev.next(&mut slow), None);
    }

    #[test]
    fn only_paths_below_the_prefix_are_endpoints() {
        for (path, expected) in [
            ("/_wasgi", true),
            ("/_wasgi/", true),
            ("/_wasgi/x?y", true),
            ("/_wasgix", false),
            ("/a/_wasgi/", false),
            ("/", false),
        ] {
            assert_eq!(
                is_own(&head(&format!("GET {path} HTTP/1.1"))),
                expected,
                "{path}"
            );
        }
    }
}
