//! What the dashboard at `/_wasgi/` shows, as JSON. Its page is in `assets/`.
//!
//! Routes and handlers are described by the server, as for `/status` of the admin listener.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde::Serialize;
use serde_json::Value;

use super::activity::{Running, Steps, ms};
use super::answer::answer;
use super::capture::Capture;
use super::lines::Logged;
use super::rates;
use super::report::Report;
use super::requests::{Recorded, Response};
use super::text::{readable, readable_bytes};
use super::{Dev, Site};
use crate::printable;
use crate::static_files::Answer;

/// The policy of the dashboard's page. It consists of its own files, and nothing in it is made from
/// text (`require-trusted-types-for`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The page. `{since}` stands for the position in the record of events.
const PAGE: &str = include_str!("assets/dashboard.html");

const SCRIPT: &str = concat!(
    include_str!("assets/diff.js"),
    include_str!("assets/dashboard.js"),
);

const STYLE: &str = include_str!("assets/dashboard.css");

/// The maximum length of a request target in the list of requests, in bytes.
const MAX_LISTED_BYTES: usize = 300;

/// Everything but the requests' contents.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    /// As the admin listener's `/status`. `None` while the server starts.
    site: Option<Value>,
    running: Vec<Running>,
    steps: BTreeMap<&'a str, Steps>,
    failures: Vec<Report>,
    rates: rates::Shown,
    /// The requests that have ended after the last ones that the dashboard has seen, in that order.
    requests: Vec<Summary>,
    /// The numbers of all kept requests.
    kept: Vec<u64>,
    /// The number of requests that have ended.
    ended: u64,
    /// Identifies this run of the server: numbers of other runs mean nothing.
    run: &'a str,
}

/// A request in the list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    number: u64,
    /// When it began, in milliseconds since 1970.
    at: u64,
    ms: f64,
    method: String,
    target: String,
    status: u16,
    handler: Option<String>,
    version: Option<String>,
    failed: bool,
    cut: Option<&'static str>,
    replay_of: Option<u64>,
}

/// A request with its response.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    #[serde(flatten)]
    summary: Summary,
    client: SocketAddr,
    http: &'static str,
    head: Vec<(String, String)>,
    body: &'a Capture,
    response: Option<DetailedResponse<'a>>,
    failure: Option<&'a Value>,
    log: Vec<Logged>,
    /// Why it can't be replayed.
    refusal: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DetailedResponse<'a> {
    status: u16,
    reason: String,
    /// The time from the head of the request to that of the response, in milliseconds.
    after_ms: f64,
    head: Vec<(String, String)>,
    body: &'a Capture,
}

impl Dev {
    /// Returns the dashboard's state, with the requests that have ended after the first `since`.
    pub(super) fn state(&self, since: u64) -> Answer {
        let now = Instant::now();
        let site = self.site.get().and_then(|Site(describe)| describe());
        let all = self.requests.all();
        let newer = all.iter().filter(|one| one.place > since);
        let activity = self.activity();
        json(
            200,
            &State {
                site,
                running: activity.running(now),
                steps: activity.steps(),
                failures: self.current_failures(),
                rates: self.requests.rates(now),
                requests: newer.map(|one| Summary::new(one)).collect(),
                kept: all.iter().map(|one| one.number.get()).collect(),
                ended: all.last().map_or(0, |last| last.place),
                run: self.events.run(),
            },
        )
    }

    /// Returns a kept request, or `None` if no request with this number is kept.
    pub(super) fn detail(&self, number: u64) -> Option<Answer> {
        let request = self.requests.get(number)?;
        let detail = Detail {
            summary: Summary::new(&request),
            client: request.origin.peer,
            http: request.head.version().as_str(),
            head: fields(request.head.fields()),
            body: &request.body,
            response: request.response.as_ref().map(DetailedResponse::new),
            failure: request.failure.as_ref(),
            log: self.lines.for_request(request.number),
            refusal: request.refusal(),
        };
        Some(json(200, &detail))
    }

    /// Returns a kept request, for a replay.
    pub(crate) fn request(&self, number: u64) -> Option<Arc<Recorded>> {
        self.requests.get(number)
    }
}

impl Summary {
    fn new(request: &Recorded) -> Self {
        let at = request.at.duration_since(SystemTime::UNIX_EPOCH);
        let target = request.head.target();
        let shown = printable::front(target, MAX_LISTED_BYTES);
        let end = if shown.len() < target.len() {
            "…"
        } else {
            ""
        };
        let handler = request.handler.as_ref();
        Self {
            number: request.number.get(),
            at: at.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(0)),
            ms: ms(request.took),
            method: request.head.method().to_owned(),
            target: format!("{}{end}", readable(shown)),
            status: request.status,
            handler: handler.map(|(name, _)| readable(name)),
            version: handler.map(|(_, version)| version.clone()),
            failed: request.failure.is_some(),
            cut: request.cut,
            replay_of: request.replay_of.map(std::num::NonZeroU64::get),
        }
    }
}

impl<'a> DetailedResponse<'a> {
    fn new(response: &'a Response) -> Self {
        let head = response.fields.iter();
        let mut head = fields(head.map(|(name, value)| (name.as_str(), value.as_slice())));
        if let Some(length) = response.length {
            head.push(("Content-Length".to_owned(), length.to_string()));
        }
        Self {
            status: response.status,
            reason: readable_bytes(&response.reason),
            after_ms: ms(response.after),
            head,
            body: &response.body,
        }
    }
}

fn fields<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<(String, String)> {
    fields
        .map(|(name, value)| (readable(name), readable_bytes(value)))
        .collect()
}

/// Returns the number of a request in an endpoint's path: what stands between `prefix` and
/// `suffix`.
pub(super) fn number(path: &[u8], prefix: &str, suffix: &str) -> Option<u64> {
    let path = std::str::from_utf8(path).ok()?;
    let number = path.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| is_number)
}

/// Returns the dashboard's page.
pub(super) fn page(dev: &Dev) -> Answer {
    // A mark has only letters, digits and `-`.
    let page = PAGE.replace("{since}", &dev.events.now());
    let mut answer = answer(200, "text/html; charset=utf-8", page.into_bytes().into());
    let policy = ("Content-Security-Policy".into(), POLICY.as_bytes().into());
    answer.fields.push(policy);
    answer
}

/// Returns the script of the dashboard.
pub(super) fn script() -> Answer {
    let script = SCRIPT.as_bytes().into();
    answer(200, "text/javascript; charset=utf-8", script)
}

/// Returns the style of the dashboard.
pub(super) fn style() -> Answer {
    answer(200, "text/css; charset=utf-8", STYLE.as_bytes().into())
}

/// Returns a JSON document.
pub(super) fn json(status: u16, value: &impl Serialize) -> Answer {
    // Strings, numbers, and maps with strings as keys always serialize.
    let json = serde_json::to_vec(value).unwrap_or_default();
    answer(status, "application/json", json.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_a_path_is_a_number() {
        let number = |path: &str| number(path.as_bytes(), "/requests/", "/replay");
        assert_eq!(number("/requests/7/replay"), Some(7));
        for path in [
            "/requests/7",
            "/requests//replay",
            "/requests/-7/replay",
            "/requests/+7/replay",
            "/requests/7/8/replay",
            "/requests/99999999999999999999/replay",
            "/requests/replay",
        ] {
            assert_eq!(number(path), None, "{path}");
        }
    }

    #[test]
    fn the_page_has_neither_script_nor_style_in_it() {
        assert!(!PAGE.contains("<style") && !PAGE.contains("style=") && !PAGE.contains(" on"));
        let scripts = PAGE.split("<script").skip(1);
        for script in scripts {
            let (tag, rest) = script.split_once('>').expect("a tag");
            assert!(tag.contains("src=\"/_wasgi/") && rest.starts_with("</script>"));
        }
        assert!(!PAGE.contains("http:") && !PAGE.contains("https:") && !STYLE.contains("url("));
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("insertAdjacentHTML"));
    }
}
