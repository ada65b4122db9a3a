//! The reason phrases of the server's own answers.

/// The reason phrase of a status code (RFC 9110 section 15), or nothing for a code without one.
pub(super) fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("")
}
