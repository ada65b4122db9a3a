//! The rules. Each is a function that examines the steps and the response of one request.

mod body;
mod ending;
mod head;

use super::finding::Finding;
use super::plan::ProbeResult;

type Rule = fn(&ProbeResult) -> Vec<Finding>;

/// The rules for a single response.
const RULES: [Rule; 10] = [
    head::calls_of_start_response,
    head::statuses,
    head::fields,
    head::fields_that_a_status_needs,
    body::lengths,
    body::blocks,
    body::writes,
    body::reads,
    ending::failures,
    ending::log,
];

/// Applies the rules for a single response.
pub(super) fn of_answer(probe: &ProbeResult) -> Vec<Finding> {
    RULES.iter().flat_map(|rule| rule(probe)).collect()
}

/// Applies the rules that compare the responses to GET and HEAD.
pub(super) fn of_pair(results: &[ProbeResult]) -> Vec<Finding> {
    let find = |method: &str| results.iter().find(|probe| probe.name == method);
    match (find("GET"), find("HEAD")) {
        (Some(get), Some(head)) => head::differences(get, head),
        _ => Vec::new(),
    }
}
