//! The responses of the server itself.

use std::borrow::Cow;

use bytes::Bytes;

use crate::static_files::{Answer, Content};

/// Returns a response that no other site may read or embed.
pub(super) fn answer(status: u16, content_type: &'static str, body: Bytes) -> Answer {
    let fields = [
        ("Content-Type", content_type),
        ("Cache-Control", "no-store"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    Answer {
        status,
        fields: fields
            .into_iter()
            .map(|(name, value)| (name.into(), Cow::Borrowed(value.as_bytes())))
            .collect(),
        body: Content::Bytes(body),
    }
}
