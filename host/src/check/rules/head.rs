//! Rules for the head of the response, as passed to `start_response`.

use crate::check::finding::Finding;
use crate::check::plan::ProbeResult;
use crate::gateway::{Failure, Head, StartError, Step};

/// Fields that may occur only once (RFC 9110, where each is defined). With two of them, some
/// clients use the first and some the last.
const SINGLE: [&str; 9] = [
    "content-type",
    "content-encoding",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "retry-after",
    "server",
];

/// Fields that a status requires.
const NEEDED: [(u16, &str, &str); 8] = [
    (301, "Location", "RFC 9110 section 15.4"),
    (302, "Location", "RFC 9110 section 15.4"),
    (303, "Location", "RFC 9110 section 15.4"),
    (307, "Location", "RFC 9110 section 15.4"),
    (308, "Location", "RFC 9110 section 15.4"),
    (401, "WWW-Authenticate", "RFC 9110 section 15.5.2"),
    (405, "Allow", "RFC 9110 section 15.5.6"),
    (426, "Upgrade", "RFC 9110 section 15.5.22"),
];

/// R1, R3: calls that the gateway rejected.
pub(super) fn calls_of_start_response(probe: &ProbeResult) -> Vec<Finding> {
    let mut findings = Vec::new();
    for step in &probe.ended.steps {
        let Step::Started {
            outcome: Err(error),
            ..
        } = step
        else {
            continue;
        };
        findings.push(match error {
            StartError::AlreadyStarted => Finding::error(
                "R3",
                "called start_response again without exc_info; the second call was rejected",
                "call it once; pass exc_info to replace a response after an error",
            ),
            StartError::HeadSent if matches!(probe.ended.failure, Some(Failure::Exception(_))) => {
                // The handler raised the exception again, as the rule requires.
                continue;
            }
            StartError::HeadSent => Finding::error(
                "R3",
                "called start_response with exc_info after the head had been sent, and continued",
                "raise the exception again, so that the client sees that the response is \
                 incomplete",
            ),
            StartError::Refused(why) => Finding::error(
                "R1",
                format!("start_response rejected the head: {why}"),
                "send only what HTTP allows; escape or drop external input",
            ),
        });
    }
    findings
}

/// R1: questionable statuses that the gateway accepted.
pub(super) fn statuses(probe: &ProbeResult) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (status, _) in accepted(probe) {
        let (code, reason) = status.split_at_checked(3).unwrap_or((status, b""));
        let shown = String::from_utf8_lossy(status);
        if reason.trim_ascii().is_empty() {
            let what = format!("the status {shown:?} has no reason");
            let fix = "write it as \"200 OK\": PEP 3333 requires both";
            findings.push(Finding::warning("R1", what, fix));
        }
        if !reason.is_ascii() {
            let what = format!("the reason in {shown:?} is not ASCII, which clients garble");
            findings.push(Finding::warning("R1", what, "use the usual words"));
        }
        // The code has three digits, so the bytes compare like the numbers.
        if code >= b"600".as_slice() {
            let what = format!("the status {shown:?} is in no class that HTTP defines");
            let fix = "use a code below 600: clients treat others as 500";
            findings.push(Finding::warning("R1", what, fix));
        }
    }
    match &probe.ended.head {
        // 501 is a valid response to an unknown method.
        Some(head) if head.status >= 500 && head.status != 501 => {
            let what = format!("answered with status {}", head.status);
            let fix = "a client's error has a status below 500; --log shows what the handler logs";
            findings.push(Finding::warning("failure", what, fix));
        }
        _ => {}
    }
    findings
}

/// R1, B3: questionable fields that the gateway accepted.
pub(super) fn fields(probe: &ProbeResult) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, fields) in accepted(probe) {
        for (at, (name, value)) in fields.iter().enumerate() {
            if name.contains('_') {
                let what = format!("the field {name} has an underscore: many proxies drop it");
                findings.push(Finding::warning("R1", what, "use a dash"));
            }
            if value.trim_ascii() != value.as_slice() {
                let what = format!("the value of {name} begins or ends with white space");
                let fix = "trim it: no client sees that part (RFC 9110 section 5.5)";
                findings.push(Finding::warning("R1", what, fix));
            }
            let name = name.to_ascii_lowercase();
            let is_second = fields
                .get(..at)
                .unwrap_or_default()
                .iter()
                .any(|(before, _)| before.eq_ignore_ascii_case(&name));
            if is_second && name == "content-length" {
                let what = "sent Content-Length twice; the server merged them";
                findings.push(Finding::warning("B3", what, "send it once, or not at all"));
            } else if is_second && SINGLE.contains(&name.as_str()) {
                let what = format!("sent {name} twice: some clients take the first, some the last");
                findings.push(Finding::warning("R1", what, "send it once"));
            }
        }
    }
    findings
}

/// Reports missing or superfluous fields for a status or a body.
pub(super) fn fields_that_a_status_needs(probe: &ProbeResult) -> Vec<Finding> {
    let Some(head) = &probe.ended.head else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (_, name, section) in NEEDED.iter().filter(|(code, ..)| *code == head.status) {
        if value(head, name).is_none() {
            let what = format!("status {} without {name}", head.status);
            let fix = format!("add it: {section}");
            findings.push(Finding::warning("R1", what, fix));
        }
    }
    if probe.taken_bytes() > 0 && value(head, "content-type").is_none() {
        let what = "sent a body without Content-Type: clients guess, and guess wrong";
        let fix = "say what it is: Content-Type: text/plain; charset=utf-8";
        findings.push(Finding::warning("R1", what, fix));
    }
    if head.status == 204 && head.length.is_some() {
        let what = "sent Content-Length with status 204, which has no body";
        let fix = "leave it out (RFC 9110 section 8.6)";
        findings.push(Finding::warning("B5", what, fix));
    }
    findings
}

/// Reports differences between HEAD and GET beyond the missing body (RFC 9110 section 9.3.2).
pub(super) fn differences(get: &ProbeResult, head: &ProbeResult) -> Vec<Finding> {
    let (Some(of_get), Some(of_head)) = (&get.ended.head, &head.ended.head) else {
        return Vec::new();
    };
    let fix = "answer HEAD as GET, with the body if you like: the server leaves it out";
    let mut findings = Vec::new();
    if of_get.status != of_head.status {
        // Rejecting HEAD as unknown is a valid response too.
        if !matches!(of_head.status, 405 | 501) {
            let what = format!(
                "answers HEAD with status {} and GET with {}",
                of_head.status, of_get.status
            );
            findings.push(Finding::warning("B5", what, fix));
        }
        return findings;
    }
    let content_type = |head| value(head, "content-type");
    if content_type(of_get) != content_type(of_head) {
        let what = "the Content-Type of HEAD differs from that of GET";
        findings.push(Finding::warning("B5", what, fix));
    }
    let declared = |probe: &ProbeResult| {
        let fields = accepted(probe).flat_map(|(_, fields)| fields);
        let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        lengths.next().map(|(_, value)| value.clone())
    };
    if let (Some(of_get), Some(of_head)) = (declared(get), declared(head))
        && of_get != of_head
    {
        let what = "the Content-Length of HEAD differs from that of GET";
        findings.push(Finding::warning("B5", what, fix));
    }
    findings
}

/// Returns the statuses and fields of the accepted calls to `start_response`.
fn accepted(probe: &ProbeResult) -> impl Iterator<Item = (&[u8], &[(String, Vec<u8>)])> {
    probe.ended.steps.iter().filter_map(|step| match step {
        Step::Started {
            status,
            fields,
            outcome: Ok(()),
            ..
        } => Some((status.as_slice(), fields.as_slice())),
        _ => None,
    })
}

fn value<'a>(head: &'a Head, name: &str) -> Option<&'a [u8]> {
    let mut fields = head.fields.iter();
    let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
    Some(value)
}
