//! The messages of OTLP that the exporter sends and receives (opentelemetry-proto 1.x), without the
//! fields that the server never sets.

use super::protobuf::{Encoder, Field, fields};

/// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`, with the spans of one
/// resource and one scope.
#[derive(Debug)]
pub(super) struct ExportRequest {
    pub(super) resource: Vec<KeyValue>,
    pub(super) scope_name: &'static str,
    pub(super) scope_version: &'static str,
    pub(super) spans: Vec<SpanMessage>,
}

/// `opentelemetry.proto.collector.trace.v1.ExportTracePartialSuccess`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PartialSuccess {
    pub(super) rejected_spans: u64,
    pub(super) error_message: String,
}

/// `opentelemetry.proto.trace.v1.Span`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SpanMessage {
    pub(super) trace_id: Vec<u8>,
    pub(super) span_id: Vec<u8>,
    pub(super) trace_state: String,
    pub(super) parent_span_id: Vec<u8>,
    pub(super) name: String,
    pub(super) kind: u8,
    pub(super) start_time_unix_nano: u64,
    pub(super) end_time_unix_nano: u64,
    pub(super) attributes: Vec<KeyValue>,
    /// The message of a status that is an error.
    pub(super) error: Option<String>,
    pub(super) flags: u32,
}

/// The code of a status that is an error.
const STATUS_ERROR: u64 = 2;

/// `opentelemetry.proto.common.v1.KeyValue`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyValue {
    key: String,
    value: Value,
}

/// The values that attributes have.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Number(u64),
}

impl KeyValue {
    pub(super) fn text(key: &str, value: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            value: Value::Text(value.into()),
        }
    }

    /// Creates a number. The protocol's numbers are signed, so larger ones are limited.
    pub(super) fn number(key: &str, value: u64) -> Self {
        Self {
            key: key.to_owned(),
            value: Value::Number(value.min(i64::MAX as u64)),
        }
    }

    fn encode(&self, out: &mut Encoder) {
        out.bytes(1, self.key.as_bytes());
        out.message(2, |out| match &self.value {
            // The value of a choice is encoded even if it is empty.
            Value::Text(text) => out.bytes_always(1, text.as_bytes()),
            Value::Number(number) => out.number_always(3, *number),
        });
    }
}

impl ExportRequest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.message(1, |out| {
            out.message(1, |out| {
                for attribute in &self.resource {
                    out.message(1, |out| attribute.encode(out));
                }
            });
            out.message(2, |out| {
                out.message(1, |out| {
                    out.bytes(1, self.scope_name.as_bytes());
                    out.bytes(2, self.scope_version.as_bytes());
                });
                for span in &self.spans {
                    out.message(2, |out| span.encode(out));
                }
            });
        });
        out.finish()
    }
}

impl SpanMessage {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(1, &self.trace_id);
        out.bytes(2, &self.span_id);
        out.bytes(3, self.trace_state.as_bytes());
        out.bytes(4, &self.parent_span_id);
        out.bytes(5, self.name.as_bytes());
        out.number(6, self.kind.into());
        out.fixed64(7, self.start_time_unix_nano);
        out.fixed64(8, self.end_time_unix_nano);
        for attribute in &self.attributes {
            out.message(9, |out| attribute.encode(out));
        }
        if let Some(error) = &self.error {
            out.message(15, |out| {
                out.bytes(2, error.as_bytes());
                out.number(3, STATUS_ERROR);
            });
        }
        out.fixed32(16, self.flags);
    }
}

/// Decodes an `ExportTraceServiceResponse`. Returns `None` for anything else.
pub(super) fn decode_response(bytes: &[u8]) -> Option<PartialSuccess> {
    let mut partial = PartialSuccess::default();
    for field in fields(bytes) {
        let (1, Field::Bytes(bytes)) = field? else {
            continue;
        };
        for field in fields(bytes) {
            match field? {
                // A negative number is not valid.
                (1, Field::Number(number)) => {
                    partial.rejected_spans = if number > i64::MAX as u64 { 0 } else { number };
                }
                (2, Field::Bytes(text)) => {
                    partial.error_message = String::from_utf8_lossy(text).into_owned();
                }
                _ => {}
            }
        }
    }
    Some(partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_bytes_of_the_specification() {
        let span = SpanMessage {
            trace_id: vec![1; 16],
            name: "n".into(),
            kind: 2,
            start_time_unix_nano: 3,
            attributes: vec![KeyValue::text("k", ""), KeyValue::number("m", 300)],
            error: Some("e".into()),
            flags: 0x101,
            ..SpanMessage::default()
        };
        let mut out = Encoder::default();
        span.encode(&mut out);
        let expected = [
            &b"\x0a\x10"[..],
            &[1; 16],
            b"\x2a\x01n",
            b"\x30\x02",
            b"\x39\x03\0\0\0\0\0\0\0",
            b"\x4a\x07\x0a\x01k\x12\x02\x0a\x00",
            b"\x4a\x08\x0a\x01m\x12\x03\x18\xac\x02",
            b"\x7a\x05\x12\x01e\x18\x02",
            b"\x85\x01\x01\x01\0\0",
        ];
        assert_eq!(out.finish(), expected.concat());
    }

    #[test]
    fn a_response_is_decoded_and_anything_else_is_none() {
        assert_eq!(decode_response(b""), Some(PartialSuccess::default()));
        let partial = decode_response(b"\x0a\x07\x08\xac\x02\x12\x02no").expect("valid");
        assert_eq!(
            (partial.rejected_spans, &*partial.error_message),
            (300, "no")
        );
        for bad in [
            &b"<html>"[..],
            b"\x0a\x07\x08",
            b"\x08",
            b"{}",
            b"\x0a\xff\xff\xff\xff\x0f",
        ] {
            assert_eq!(decode_response(bad), None, "{bad:?}");
        }
    }
}
