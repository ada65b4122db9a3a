//! The formats of log lines.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::timestamp;
use crate::printable;

/// The format of both logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line, in both logs.
    Json,
    /// The access log in Apache's Common Log Format; the error log as text.
    Common,
    /// The access log in Apache's Combined Log Format; the error log as text.
    Combined,
}

/// A format that can change while other threads use it.
#[derive(Debug, Default)]
pub(super) struct LiveFormat(AtomicU8);

impl LiveFormat {
    pub(super) fn set(&self, format: LogFormat) {
        self.0.store(format as u8, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> LogFormat {
        let number = self.0.load(Ordering::Relaxed);
        let formats = [LogFormat::Json, LogFormat::Common, LogFormat::Combined];
        let format = formats.into_iter().find(|format| *format as u8 == number);
        format.unwrap_or_default()
    }
}

/// The parts of a message in JSON, without its text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Subject<'a> {
    pub(super) handler: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
}

/// Formats a message as a JSON object on a line.
pub(super) fn json_line(level: &str, subject: Subject<'_>, message: &str) -> String {
    let time = timestamp::micros(SystemTime::now());
    let mut line = String::with_capacity(message.len() + 96);
    line.push_str("{\"time\":\"");
    line.push_str(&time);
    line.push_str("\",\"level\":\"");
    line.push_str(level);
    line.push('"');
    let parts = [
        ("handler", subject.handler),
        ("request-id", subject.request_id),
        ("message", Some(message)),
    ];
    for (key, value) in parts {
        if let Some(value) = value {
            line.push_str(",\"");
            line.push_str(key);
            line.push_str("\":");
            printable::push_json(&mut line, value);
        }
    }
    line.push_str("}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_what_was_set() {
        let live = LiveFormat::default();
        assert_eq!(live.get(), LogFormat::Text);
        for format in [
            LogFormat::Json,
            LogFormat::Combined,
            LogFormat::Common,
            LogFormat::Text,
        ] {
            live.set(format);
            assert_eq!(live.get(), format);
        }
    }

    #[test]
    fn any_message_is_an_object_on_one_line() {
        let subject = Subject {
            handler: Some("a\"b\n"),
            request_id: None,
        };
        let message = "x\r\n{\"level\":\"ERROR\"}\u{1b}\\\u{2028}\u{e0041}é";
        let line = json_line("WARN", subject, message);
        let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(object["message"], message);
        assert_eq!(object["handler"], "a\"b\n");
        assert_eq!(object["level"], "WARN");
        assert!(object.get("request-id").is_none());
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert!(
            !line.contains(['\u{1b}', '\u{2028}', '\u{e0041}']),
            "{line:?}"
        );
    }
}
