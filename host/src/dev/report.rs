//! Reports of failures for people: what happened, in which handler, where in its source, with its
//! last lines and the request.

use std::num::NonZeroU64;
use std::path::Path;

use serde::Serialize;

use super::Dev;
use super::answer::answer;
use super::source::{self, Excerpt};
use crate::gateway::Failure;
use crate::http1::RequestHead;
use crate::printable;
use crate::router::RequestPath;
use crate::static_files::{Answer, escape};

/// The maximum length of a message in a report, in bytes: compilers write long ones.
const MAX_MESSAGE_BYTES: usize = 32 * 1024;

/// The maximum length of a request target in a report, in bytes.
const MAX_TARGET_BYTES: usize = 1_000;

/// The editor's link for a position, if `WASGI_EDITOR` is not set.
const DEFAULT_EDITOR: &str = "vscode://file{file}:{line}:{column}";

/// A failure, as it is shown in a browser. All texts are plain, without control characters except
/// line ends.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// `load` or `request`.
    kind: &'static str,
    /// The handler's name.
    handler: String,
    /// The file of the handler, relative to the folder of handlers.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// What happened, in a few words.
    title: String,
    message: String,
    /// The place in the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Excerpt>,
    /// The link that opens the editor there.
    #[serde(skip_serializing_if = "Option::is_none")]
    editor: Option<String>,
    /// The last lines that the handler wrote during the request.
    pub(super) log: Vec<String>,
    /// The request: method and target.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    /// The request's name in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// A failed request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed<'a> {
    /// The handler's name.
    pub(crate) handler: &'a str,
    /// Its file, relative to the folder of handlers.
    pub(crate) file: &'a str,
    /// The request.
    pub(crate) head: &'a RequestHead,
    /// Its name in the log.
    pub(crate) id: &'a str,
    /// Its number.
    pub(crate) number: Option<NonZeroU64>,
}

impl Dev {
    /// Returns the report of a handler that could not be loaded.
    pub(super) fn report_of_load(&self, name: &str, file: &str, message: &str) -> Report {
        self.report(
            Report {
                kind: "load",
                handler: printable::one_line(name).to_string(),
                file: Some(printable::one_line(file).to_string()),
                title: "could not be loaded".to_owned(),
                message: plain(message),
                source: None,
                editor: None,
                log: Vec::new(),
                request: None,
                id: None,
            },
            name,
            file,
            message,
        )
    }

    /// Records a failed request, and returns its report.
    pub(crate) fn request_failed(&self, failed: Failed<'_>, failure: &Failure) -> Report {
        let message = failure.to_string();
        let (title, rest) = titled(failure, &message);
        let target = printable::front(failed.head.target(), MAX_TARGET_BYTES);
        let report = self.report(
            Report {
                kind: "request",
                handler: printable::one_line(failed.handler).to_string(),
                file: Some(printable::one_line(failed.file).to_string()),
                title: title.to_owned(),
                message: plain(rest),
                source: None,
                editor: None,
                log: failed
                    .number
                    .map_or_else(Vec::new, |number| self.lines.last(number)),
                request: Some(format!(
                    "{} {}",
                    failed.head.method(),
                    printable::one_line(target)
                )),
                id: Some(failed.id.to_owned()),
            },
            failed.handler,
            failed.file,
            &message,
        );
        self.events.publish("failed", &report);
        report
    }

    /// Records that the response to a request violated the contract, and returns the report.
    pub(crate) fn violated(&self, handler: &str, request: String, why: &str) -> Report {
        let report = Report {
            kind: "request",
            handler: printable::one_line(handler).to_string(),
            file: None,
            title: "violated the contract".to_owned(),
            message: why.to_owned(),
            source: None,
            editor: None,
            log: Vec::new(),
            request: Some(request),
            id: None,
        };
        self.events.publish("failed", &report);
        report
    }

    /// Adds the place in the source.
    fn report(&self, mut report: Report, name: &str, file: &str, message: &str) -> Report {
        let message = printable::front(message, MAX_MESSAGE_BYTES);
        if let Some(found) = source::find(&self.handlers, name, file, message) {
            report.editor = self
                .editor
                .link(&found.path, found.excerpt.line, found.column);
            report.source = Some(found.excerpt);
        }
        report
    }

    /// Returns the report of a handler that could not be loaded and would answer at this
    /// percent-encoded path.
    pub(crate) fn failure_at(&self, path: &[u8]) -> Option<Report> {
        let path = RequestPath::parse(path).ok()?;
        let path = path.decoded();
        let failures = self.failures();
        failures
            .values()
            .find(|report| covers(&report.handler, path))
            .cloned()
    }

    /// Returns the reports of the handlers whose last version could not be loaded.
    pub(super) fn current_failures(&self) -> Vec<Report> {
        self.failures().values().cloned().collect()
    }
}

impl Report {
    /// Returns the lines of the source, for a terminal. Empty if the source is unknown.
    pub(crate) fn excerpt(&self) -> String {
        let source = self.source.as_ref();
        source.map_or(String::new(), Excerpt::indented)
    }

    /// Returns the report as plain text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}\n{}\n", self.handler, self.title, self.message);
        if let Some(source) = &self.source {
            text.push_str(&format!("\n{}\n", source.text()));
        }
        if !self.log.is_empty() {
            text.push_str(&format!("\nlog:\n{}\n", self.log.join("\n")));
        }
        text
    }
}

impl Report {
    /// Returns the report as a page, for a browser that requested a document. The script of `wasgi
    /// dev`, which is put in later, shows it as it does on other pages; without scripts, it is
    /// plain text.
    pub(crate) fn page(&self, status: u16) -> Answer {
        let title = format!("{}: {}", self.handler, self.title);
        // Within a script element, only `<` can end the data.
        let json = serde_json::to_string(self).unwrap_or_default();
        let json = json.replace('<', "\\u003c");
        let page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{status} {title}</title>\n\
             <style>body {{ margin: 2rem; font: 1rem/1.5 system-ui, sans-serif }} \
             pre {{ white-space: pre-wrap; overflow-wrap: anywhere }}</style>\n</head>\n<body>\n\
             <main>\n<h1>{title}</h1>\n<pre>{text}</pre>\n</main>\n\
             <script type=\"application/json\" id=\"wasgi-failure\">{json}</script>\n\
             </body>\n</html>\n",
            title = escape(&title),
            text = escape(&self.text()),
        );
        answer(status, "text/html; charset=utf-8", page.into_bytes().into())
    }

    /// Returns the report as plain text, for any other client.
    pub(crate) fn plain(&self, status: u16) -> Answer {
        let text = self.text().into_bytes();
        answer(status, "text/plain; charset=utf-8", text.into())
    }
}

/// Returns what happened in a few words, and the rest of the message.
fn titled<'m>(failure: &Failure, message: &'m str) -> (&'static str, &'m str) {
    let (title, front) = match failure {
        Failure::Exception(_) => ("raised an exception", "raised "),
        Failure::Panic(_) => ("panicked", "panicked: "),
        Failure::Trap(_) => ("trapped", "trapped: "),
        Failure::Memory(_) | Failure::BodyMemory { .. } => ("ran out of memory", ""),
        Failure::CpuTime(_) | Failure::WallTime(_) => ("ran out of time", ""),
        Failure::NotStarted | Failure::BadResponse(_) => ("violated the contract", ""),
        Failure::Exit(_) => ("ended with an error", ""),
        Failure::Instantiation(_) => ("could not be started", ""),
        Failure::Busy(_)
        | Failure::NoRoom
        | Failure::NoMemory(_)
        | Failure::NoDescriptor(_)
        | Failure::TotalMemory(_) => ("is at its limit", ""),
        Failure::ClientGone => ("was stopped", ""),
    };
    (title, message.strip_prefix(front).unwrap_or(message))
}

/// Returns a text without control characters, cut at its maximum length.
fn plain(text: &str) -> String {
    printable::block(printable::front(text, MAX_MESSAGE_BYTES)).to_string()
}

/// Returns whether a handler of this name answers at a path: `users/[id]` at `/users/7`.
fn covers(name: &str, path: &[u8]) -> bool {
    let name = match name.strip_suffix("/index") {
        Some(folder) => folder,
        None if name == "index" => "",
        None => name,
    };
    let mut parts = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty());
    name.split('/').filter(|part| !part.is_empty()).all(|part| {
        let is_rest = part.starts_with("[...");
        match parts.next() {
            Some(given) => part.starts_with('[') || given == part.as_bytes(),
            None => is_rest,
        }
    })
}

/// The link that opens an editor.
#[derive(Debug)]
pub(super) struct Editor {
    template: String,
}

impl Editor {
    /// Returns the editor of `WASGI_EDITOR`: a link with `{file}`, `{line}` and `{column}`, the
    /// scheme of an editor that takes such links as Visual Studio Code does, or `none`.
    pub(super) fn from_environment() -> Self {
        Self::new(&std::env::var("WASGI_EDITOR").unwrap_or_default())
    }

    fn new(setting: &str) -> Self {
        let template = match setting.trim() {
            "" => DEFAULT_EDITOR.to_owned(),
            "none" => String::new(),
            link if link.contains("{file}") => link.to_owned(),
            scheme => format!(
                "{}://file{{file}}:{{line}}:{{column}}",
                scheme.trim_end_matches("://")
            ),
        };
        Self { template }
    }

    /// Returns the link to a position. `None` if there is no editor, or the link would run a
    /// script.
    fn link(&self, file: &Path, line: usize, column: usize) -> Option<String> {
        let (scheme, _) = self.template.split_once(':')?;
        let is_scheme = scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let is_active = ["javascript", "data", "vbscript"]
            .iter()
            .any(|active| scheme.eq_ignore_ascii_case(active));
        if !is_scheme || is_active {
            return None;
        }
        let file: String = file
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .map(|&byte| match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
                byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            })
            .collect();
        Some(
            self.template
                .replace("{line}", &line.to_string())
                .replace("{column}", &column.to_string())
                .replace("{file}", &file),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::static_files::Content;

    fn link(setting: &str, file: &str) -> Option<String> {
        Editor::new(setting).link(Path::new(file), 7, 3)
    }

    #[test]
    fn the_editor_is_visual_studio_code_or_what_is_set() {
        let file = "/site/handlers/a b'\"<.py";
        let shown = "/site/handlers/a%20b%27%22%3C.py";
        assert_eq!(link("", file), Some(format!("vscode://file{shown}:7:3")));
        assert_eq!(link("zed", file), Some(format!("zed://file{shown}:7:3")));
        assert_eq!(
            link("idea://open?file={file}&line={line}", file),
            Some(format!("idea://open?file={shown}&line=7"))
        );
        assert_eq!(link("none", file), None);
    }

    #[test]
    fn a_link_never_runs_a_script() {
        for setting in [
            "javascript:alert('{file}')",
            "JavaScript",
            "data:text/html,{file}",
            "a b",
        ] {
            assert_eq!(link(setting, "/a"), None, "{setting}");
        }
    }

    #[test]
    fn a_handler_covers_its_route() {
        for (name, path, expected) in [
            ("hello", "/hello", true),
            ("hello", "/hello/there", true),
            ("hello", "/hello2", false),
            ("hello", "/", false),
            ("users/[id]", "/users/7", true),
            ("users/[id]", "/users", false),
            ("files/[...rest]", "/files/a/b", true),
            ("api/index", "/api/", true),
            ("index", "/anything", true),
        ] {
            assert_eq!(covers(name, path.as_bytes()), expected, "{name} {path}");
        }
    }

    #[test]
    fn a_page_shows_hostile_texts_as_text() {
        let dev = Dev::new(Path::new("/nonexistent"));
        let hostile = "</script></pre><script>alert(1)</script><!--";
        let report = dev.report_of_load(hostile, hostile, hostile);
        let Content::Bytes(page) = report.page(500).body else {
            panic!("a page");
        };
        let page = String::from_utf8(page.to_vec()).expect("UTF-8");
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert_eq!(page.matches("</script").count(), 1);
        assert_eq!(page.matches("</pre").count(), 1);
        assert!(!page.contains("<!--"));
    }

    #[test]
    fn a_report_is_bounded_and_has_no_control_characters() {
        let dev = Dev::new(Path::new("/nonexistent"));
        let hostile = "</script>\u{1b}[31m\0\u{202e}\n".repeat(500_000);
        let report = dev.report_of_load(&hostile, &hostile[..1000], &hostile);
        let json = serde_json::to_string(&report.message).expect("JSON");
        assert!(json.len() < 20 * MAX_MESSAGE_BYTES, "{}", json.len());
        assert!(!report.message.contains(['\u{1b}', '\0', '\u{202e}']));
        assert!(!report.handler.contains('\n'));
    }
}
