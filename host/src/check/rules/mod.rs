//! What is wrong, from what a handler did and what came of it: each rule is a function that looks
//! at one answer.

mod body;
mod ending;
mod head;

use super::finding::Finding;
use super::plan::ProbeResult;

type Rule = fn(&ProbeResult) -> Vec<Finding>;

/// The rules for one answer.
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

/// What can be told of one answer.
pub(super) fn of_answer(probe: &ProbeResult) -> Vec<Finding> {
    RULES.iter().flat_map(|rule| rule(probe)).collect()
}

/// What can be told of the answers to GET and to HEAD together.
pub(super) fn of_pair(results: &[ProbeResult]) -> Vec<Finding> {
    let find = |method: &str| results.iter().find(|probe| probe.name == method);
    match (find("GET"), find("HEAD")) {
        (Some(get), Some(head)) => head::differences(get, head),
        _ => Vec::new(),
    }
}
