//! The certificates that the server obtains itself.

use super::finding::Finding;
use super::folders::{GROUP, writable};
use crate::acme::Folder;
use crate::config::Config;
use crate::printable;

/// Checks the folder, and the certificates in it.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let folder = Folder::new(config.acme.folder());
    let mut findings = vec![writable("acme folder", folder.path(), "acme.folder")];
    for names in config.obtained_certificates() {
        let Some(name) = names.first() else {
            continue;
        };
        let label = format!("certificate of {name}");
        // What the directory says must not look like a line of the report.
        let failure = folder.failure(name);
        let failure = failure.map(|why| printable::one_line(&why).to_string());
        findings.push(match (folder.expiry(&names), failure) {
            (Some(until), None) => Finding::ok(GROUP, &label, &format!("valid until {until}")),
            (Some(until), Some(why)) => Finding::warn(
                GROUP,
                &label,
                &format!("valid until {until}; the last renewal has failed: {why}"),
                "correct the cause; the server tries again",
            ),
            (None, Some(why)) => Finding::problem(
                GROUP,
                &label,
                &format!("none; the last attempt has failed: {why}"),
                "correct the cause; the server tries again",
            ),
            (None, None) => Finding::ok(GROUP, &label, "obtained when the server runs"),
        });
    }
    findings
}
