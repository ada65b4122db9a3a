//! The reason phrases of status codes.

/// Returns the reason phrase of a status code (RFC 9110 section 15), or an empty string for an
/// unregistered code.
pub fn reason(status: u16) -> &'static str {
    match status {
        // The `http` crate uses the names of RFC 7231 and RFC 4918 for these.
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        _ => http::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_those_of_rfc_9110() {
        for (status, phrase) in [
            (200, "OK"),
            (404, "Not Found"),
            (413, "Content Too Large"),
            (414, "URI Too Long"),
            (416, "Range Not Satisfiable"),
            (422, "Unprocessable Content"),
            (431, "Request Header Fields Too Large"),
            (299, ""),
            (0, ""),
        ] {
            assert_eq!(reason(status), phrase, "{status}");
        }
    }
}
