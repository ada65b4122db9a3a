//! The access log line of one request, in each format.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::record::{Line, Record};
use crate::host_name;
use crate::http1::RequestHead;
use crate::log::{LogFormat, timestamp};
use crate::printable;

/// The status in Apache's formats of a request that got no response, as nginx writes it: their
/// readers expect three digits.
const NO_RESPONSE: u16 = 499;

/// A request that is over.
pub(super) struct Entry<'r> {
    pub(super) record: &'r Record,
    pub(super) client: SocketAddr,
    /// The time from the request's head to the end of its response.
    pub(super) took: Duration,
    /// The time of day at the end, to the second.
    pub(super) time: &'r str,
}

impl Entry<'_> {
    /// Appends the line in a format.
    pub(super) fn write(&self, format: LogFormat, log: &mut String) {
        match format {
            LogFormat::Text => self.write_text(log),
            LogFormat::Json => self.write_json(log),
            LogFormat::Common => self.write_apache(false, log),
            LogFormat::Combined => self.write_apache(true, log),
        }
        log.push('\n');
    }

    /// Appends the time of day, client, request line, status, bytes, milliseconds, handler, the
    /// request's identifier if it has one, whether it is a replay, and the reason if the response
    /// was cut.
    ///
    /// Formatted by hand: with `write!`, a line took a tenth of the total time of a page.
    fn write_text(&self, log: &mut String) {
        let record = self.record;
        log.push_str(self.time);
        log.push(' ');
        push_address(log, self.client.ip());
        log.push_str(" \"");
        match record.line() {
            Line::Head(head) => {
                // A method is a token, without quotes or backslashes.
                log.push_str(head.method());
                log.push(' ');
                printable::push_quoted(log, head.target());
                log.push(' ');
                log.push_str(head.version().as_str());
            }
            Line::Rejected(line) => {
                // Writing to a string can't fail.
                let _ = write!(log, "{}", line.escape_ascii());
            }
        }
        log.push_str("\" ");
        push_number(log, record.status.into());
        log.push(' ');
        push_number(log, record.bytes);
        log.push(' ');
        self.push_milliseconds(log);
        log.push_str("ms ");
        printable::push_word(log, record.handler_name());
        if let Some(id) = &record.id {
            log.push_str(" #");
            log.push_str(id.as_str());
        }
        if record.is_replay {
            log.push_str(" (replay)");
        }
        if let Some(why) = record.cut {
            log.push_str(" (");
            log.push_str(why);
            log.push(')');
        }
    }

    /// Appends a JSON object.
    fn write_json(&self, log: &mut String) {
        let record = self.record;
        log.push_str("{\"time\":\"");
        log.push_str(self.time);
        log.push_str("\",\"client\":\"");
        push_address(log, self.client.ip());
        log.push('"');
        match record.line() {
            Line::Head(head) => {
                push_member(log, "method", head.method());
                push_member(log, "target", head.target());
                push_member(log, "protocol", head.version().as_str());
            }
            Line::Rejected(line) => {
                push_member(log, "request-line", &String::from_utf8_lossy(line));
            }
        }
        log.push_str(",\"status\":");
        push_number(log, record.status.into());
        log.push_str(",\"bytes\":");
        push_number(log, record.bytes);
        log.push_str(",\"body-bytes\":");
        push_number(log, record.body_bytes());
        log.push_str(",\"duration-ms\":");
        self.push_milliseconds(log);
        if let Some(host) = &record.host {
            push_member(log, "host", host.name());
        }
        if record.target.is_some() {
            let (_, handler) = host_name::split(record.handler_name());
            push_member(log, "handler", handler);
        }
        if let Some(id) = &record.id {
            push_member(log, "request-id", id.as_str());
        }
        if let Some(trace) = &record.trace {
            push_member(log, "trace-id", &trace.id());
        }
        if let Line::Head(head) = record.line() {
            for (key, field) in [("referer", "Referer"), ("user-agent", "User-Agent")] {
                if let Some(value) = field_value(head, field) {
                    push_member(log, key, &String::from_utf8_lossy(&value));
                }
            }
        }
        if record.is_replay {
            log.push_str(",\"replay\":true");
        }
        if let Some(why) = record.cut {
            push_member(log, "cut", why);
        }
        log.push('}');
    }

    /// Appends `%h %l %u %t "%r" %>s %b`, and with `combined` also `"%{Referer}i"
    /// "%{User-Agent}i"`, as Apache's mod_log_config does.
    fn write_apache(&self, combined: bool, log: &mut String) {
        let record = self.record;
        push_address(log, self.client.ip());
        let began = SystemTime::now().checked_sub(self.took);
        log.push_str(" - - [");
        log.push_str(&timestamp::apache(began.unwrap_or(SystemTime::UNIX_EPOCH)));
        log.push_str("] \"");
        match record.line() {
            Line::Head(head) => {
                log.push_str(head.method());
                log.push(' ');
                printable::push_apache(log, head.target().as_bytes());
                log.push(' ');
                log.push_str(head.version().as_str());
            }
            Line::Rejected(line) => printable::push_apache(log, line),
        }
        log.push_str("\" ");
        let status = Some(record.status).filter(|status| *status != 0);
        push_number(log, status.unwrap_or(NO_RESPONSE).into());
        log.push(' ');
        match record.body_bytes() {
            0 => log.push('-'),
            bytes => push_number(log, bytes),
        }
        if !combined {
            return;
        }
        for field in ["Referer", "User-Agent"] {
            log.push_str(" \"");
            let value = match record.line() {
                Line::Head(head) => field_value(head, field),
                Line::Rejected(_) => None,
            };
            match value {
                Some(value) => printable::push_apache(log, &value),
                None => log.push('-'),
            }
            log.push('"');
        }
    }

    /// Appends the duration in milliseconds, with three decimals.
    fn push_milliseconds(&self, log: &mut String) {
        let micros = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX);
        push_number(log, micros / 1000);
        // Formats four digits and removes the first, so that leading zeros are kept.
        let mut number = itoa::Buffer::new();
        let decimals = number.format(1000 + micros % 1000).get(1..);
        log.push('.');
        log.push_str(decimals.unwrap_or_default());
    }
}

/// Appends a member of a JSON object after others.
fn push_member(log: &mut String, key: &str, value: &str) {
    log.push_str(",\"");
    log.push_str(key);
    log.push_str("\":");
    printable::push_json(log, value);
}

/// Returns the value of a field, with repeated ones joined as Apache does.
fn field_value(head: &RequestHead, name: &str) -> Option<Vec<u8>> {
    let fields = head.fields();
    let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    let (_, first) = values.next()?;
    let mut joined = first.to_vec();
    for (_, value) in values {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value);
    }
    Some(joined)
}

fn push_number(log: &mut String, number: u64) {
    log.push_str(itoa::Buffer::new().format(number));
}

/// Appends an address. An IPv4-mapped IPv6 address is written as IPv4.
fn push_address(log: &mut String, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mut number = itoa::Buffer::new();
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    log.push('.');
                }
                log.push_str(number.format(octet));
            }
        }
        IpAddr::V6(address) => {
            // Writing to a string can't fail.
            let _ = write!(log, "{address}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::gateway::RequestId;
    use crate::http1::Limits;

    fn line(record: &Record, peer: &str, took: Duration, format: LogFormat) -> String {
        let entry = Entry {
            record,
            client: SocketAddr::new(peer.parse().expect("an address"), 80),
            took,
            time: "2026-11-29T06:53:18Z",
        };
        let mut line = String::new();
        entry.write(format, &mut line);
        line
    }

    fn record(text: &[u8]) -> Record {
        let head = RequestHead::parse(text, &Limits::default());
        let (head, _) = head.expect("no rejection").expect("a whole head");
        let mut record = Record::new(Arc::new(head), Instant::now());
        record.status = 200;
        record.bytes = 500;
        record.overhead_bytes = 158;
        record
    }

    #[test]
    fn a_line_has_all_fields() {
        let mut record = Record::rejected(b"a\"b\\ \xe2\x80\xae\x1b", Instant::now());
        record.status = 400;
        record.bytes = 1_234_567;
        let took = Duration::from_micros(1_002_003);
        assert_eq!(
            line(&record, "192.0.2.10", took, LogFormat::Text),
            "2026-11-29T06:53:18Z 192.0.2.10 \"a\\\"b\\\\ \\xe2\\x80\\xae\\x1b\" 400 1234567 \
             1002.003ms -\n"
        );
        record.cut = Some("the client disconnected");
        for (peer, shown) in [
            ("::1", "::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::7", "2001:db8::7"),
        ] {
            let line = line(&record, peer, Duration::from_micros(70), LogFormat::Text);
            assert!(
                line.starts_with(&format!("2026-11-29T06:53:18Z {shown} \"")),
                "{line}"
            );
            assert!(
                line.ends_with(" 0.070ms - (the client disconnected)\n"),
                "{line}"
            );
        }
        record.id = RequestId::from_proxy(b"a-7");
        let line = line(&record, "::1", took, LogFormat::Text);
        assert!(
            line.ends_with("ms - #a-7 (the client disconnected)\n"),
            "{line}"
        );
    }

    #[test]
    fn apaches_formats_are_those_of_its_documentation() {
        let mut record = record(
            b"GET /apache_pb.gif HTTP/1.0\r\nReferer: http://a.example/\r\n\
              User-Agent: Mozilla/4.08 [en] (Win98; I ;Nav)\r\n\r\n",
        );
        let shown = |record: &Record, format| {
            let line = line(record, "127.0.0.1", Duration::ZERO, format);
            let (start, rest) = line.split_once(" [").expect("a time");
            let (time, rest) = rest.split_once("] ").expect("a time");
            assert_eq!(time.len(), "10/Oct/2000:13:55:36 +0000".len(), "{time}");
            format!("{start} [] {rest}")
        };
        let common = "127.0.0.1 - - [] \"GET /apache_pb.gif HTTP/1.0\" 200 342";
        let more = " \"http://a.example/\" \"Mozilla/4.08 [en] (Win98; I ;Nav)\"";
        assert_eq!(shown(&record, LogFormat::Common), format!("{common}\n"));
        assert_eq!(
            shown(&record, LogFormat::Combined),
            format!("{common}{more}\n")
        );
        record.bytes = record.overhead_bytes;
        assert!(shown(&record, LogFormat::Common).ends_with(" 200 -\n"));
        record.status = 0;
        assert!(shown(&record, LogFormat::Common).ends_with(" 499 -\n"));
        let mut rejected =
            Record::rejected(b"\x16\x03\x01\"\\\n\t\x0b\x08\x0c\xff", Instant::now());
        rejected.status = 400;
        assert_eq!(
            shown(&rejected, LogFormat::Combined),
            "127.0.0.1 - - [] \"\\x16\\x03\\x01\\\"\\\\\\n\\t\\v\\b\\x0c\\xff\" 400 - \"-\" \"-\"\n"
        );
    }

    #[test]
    fn json_is_valid_whatever_a_client_sends() {
        let bytes: Vec<u8> = (0x20..=0xff).filter(|byte| *byte != 0x7f).collect();
        let head = [
            &b"GET /a\"b\\c HTTP/1.1\r\nHost: a\r\nUser-Agent: x"[..],
            &bytes,
            b"\r\n\r\n",
        ];
        let mut record = record(&head.concat());
        record.id = RequestId::from_proxy(b"a-7");
        record.cut = Some("why");
        let text = line(
            &record,
            "::1",
            Duration::from_micros(2_005),
            LogFormat::Json,
        );
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let expected = serde_json::json!({
            "time": "2026-11-29T06:53:18Z", "client": "::1", "method": "GET",
            "target": "/a\"b\\c", "protocol": "HTTP/1.1", "status": 200, "bytes": 500,
            "body-bytes": 342, "duration-ms": 2.005, "request-id": "a-7", "cut": "why",
            "user-agent": String::from_utf8_lossy(&[b"x", &bytes[..]].concat()),
        });
        assert_eq!(object, expected);

        let rejected = Record::rejected(b"\x16\n{\"status\":1}\xff", Instant::now());
        let text = line(&rejected, "::1", Duration::ZERO, LogFormat::Json);
        let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(object["request-line"], "\u{16}\n{\"status\":1}\u{fffd}");
        assert_eq!(
            (&object["status"], text.matches('\n').count()),
            (&0.into(), 1)
        );
    }
}
