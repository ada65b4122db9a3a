//! Rules for the body of the response and of the request.

use crate::check::finding::Finding;
use crate::check::plan::ProbeResult;
use crate::gateway::Step;
use crate::http1::{Finish, is_bodiless};

/// The number of reads at the end of a body above which the handler is considered faulty. A reader
/// that reads twice at the end, on top of another that does so too, makes four.
const READS_AT_END: usize = 100;

/// B3, B5: the length of a body matches the declared length.
pub(super) fn lengths(probe: &ProbeResult) -> Vec<Finding> {
    let Some(head) = &probe.ended.head else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let surplus = probe.ended.surplus_bytes;
    if surplus > 0 && is_bodiless(head.status) {
        let what = format!(
            "returned a body of {surplus} bytes with status {}, which has no body; it was not sent",
            head.status
        );
        findings.push(Finding::error(
            "B5",
            what,
            "return no blocks, or another status",
        ));
    } else if let Some(length) = head.length
        && probe.method != "HEAD"
        && surplus > 0
    {
        let what = format!(
            "returned {} bytes and declared {length}: the rest was not sent",
            length + surplus
        );
        findings.push(Finding::error("B3", what, LENGTH_FIX));
    }
    if probe.ended.finish == Some(Finish::Short) {
        let what = format!(
            "returned {} bytes and declared {}: the connection is cut, and the client sees an \
             error",
            probe.taken_bytes(),
            head.length.unwrap_or(0)
        );
        findings.push(Finding::error("B3", what, LENGTH_FIX));
    }
    findings
}

const LENGTH_FIX: &str =
    "count bytes, not characters; or leave Content-Length out, and the server frames the body";

/// R2: empty blocks send nothing.
pub(super) fn blocks(probe: &ProbeResult) -> Vec<Finding> {
    let sizes: Vec<usize> = probe
        .ended
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Block { bytes } | Step::Wrote { bytes, .. } => Some(*bytes),
            _ => None,
        })
        .collect();
    if sizes.is_empty() || sizes.iter().any(|&bytes| bytes > 0) {
        return Vec::new();
    }
    let what = format!("returned {} blocks, all of them empty", sizes.len());
    let fix = "return an empty body instead: each empty block costs a call and sends nothing";
    vec![Finding::warning("R2", what, fix)]
}

/// R4, R6: when `write` may be called.
pub(super) fn writes(probe: &ProbeResult) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut is_started, mut iterates) = (false, false);
    for step in &probe.ended.steps {
        match step {
            Step::Started {
                outcome: Ok(()), ..
            } => is_started = true,
            Step::Iterates => iterates = true,
            Step::Wrote { .. } if !is_started => findings.push(Finding::error(
                "R6",
                "called write before start_response; nothing was sent",
                "call start_response first, and use the write that it returns",
            )),
            Step::Wrote { taken: false, .. } if iterates && !probe.ended.was_left => {
                findings.push(Finding::error(
                    "R4",
                    "called write after the end of the response; nothing was sent",
                    "write before the body is returned",
                ));
            }
            Step::Wrote { .. } if iterates => findings.push(Finding::error(
                "R4",
                "called write while the body's blocks are requested, which PEP 3333 forbids",
                "return the bytes as a block of the body",
            )),
            _ => {}
        }
    }
    findings
}

/// I2: the request's body ends, and can be cut off.
pub(super) fn reads(probe: &ProbeResult) -> Vec<Finding> {
    let steps = &probe.ended.steps;
    let mut findings = Vec::new();
    let at_end = steps
        .iter()
        .filter(|step| matches!(step, Step::Read { bytes: 0 }));
    if at_end.count() > READS_AT_END {
        findings.push(Finding::error(
            "I2",
            "keeps reading after the end of the request's body, or without one",
            "stop at the first read that returns no bytes: it marks the end",
        ));
    }
    if steps.contains(&Step::ReadFailed)
        && probe.is_cut
        && probe.ended.failure.is_none()
        && steps.iter().any(|step| {
            matches!(step, Step::Started { status, outcome: Ok(()), .. } if status.starts_with(b"2"))
        })
    {
        findings.push(Finding::warning(
            "I2",
            "treated a truncated request body as complete: answered with a 2xx status",
            "pass on the error of the read, or answer with 400",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::plan::{Leaves, ProbeClient};
    use crate::drive::Ended;
    use crate::engine::HandlerKind;

    fn probe(steps: &[Step]) -> ProbeResult {
        ProbeResult {
            name: "GET",
            method: "GET".into(),
            is_cut: false,
            kind: HandlerKind::Gateway,
            ended: Ended {
                client: ProbeClient::new(Leaves::Never),
                steps: steps.to_vec(),
                head: None,
                failure: None,
                finish: None,
                surplus_bytes: 0,
                was_left: false,
            },
        }
    }

    fn started() -> Step {
        Step::Started {
            status: "200 OK".into(),
            fields: Vec::new(),
            exc_info: false,
            outcome: Ok(()),
        }
    }

    #[test]
    fn r6_a_write_before_start_response_is_found() {
        let wrote = |taken| Step::Wrote { bytes: 4, taken };
        let rules = |steps: &[Step]| {
            let findings = writes(&probe(steps));
            findings
                .iter()
                .map(|finding| finding.rule)
                .collect::<Vec<_>>()
        };
        assert_eq!(rules(&[wrote(false), started(), wrote(true)]), ["R6"]);
        assert!(rules(&[started(), wrote(true), Step::Iterates]).is_empty());
        assert_eq!(rules(&[started(), Step::Iterates, wrote(true)]), ["R4"]);
    }

    #[test]
    fn r2_an_empty_block_among_others_is_fine() {
        let blocks = |sizes: &[usize]| {
            let steps: Vec<_> = sizes.iter().map(|&bytes| Step::Block { bytes }).collect();
            blocks(&probe(&steps)).len()
        };
        assert_eq!(blocks(&[]), 0);
        assert_eq!(blocks(&[0, 4, 0]), 0);
        assert_eq!(blocks(&[0, 0]), 1);
    }
}
