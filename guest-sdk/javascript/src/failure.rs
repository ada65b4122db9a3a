//! A failure of a handler's code, as the server logs it.

use std::cell::RefCell;

use rquickjs::{CaughtError, Ctx, Error, Function, Object, Value};

use crate::bindings::wasgi::gateway::gateway::Exception;
use crate::engine::Platform;

/// Objects of other platforms that have a program's environment variables.
const OTHER_PLATFORMS: [&str; 3] = ["process", "Deno", "Bun"];

thread_local! {
    /// The line of `wasgi.toml` that begins the table of this handler's grants; empty if the server
    /// has not said it.
    static TABLE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Sets the line of `wasgi.toml` that begins the table of this handler's grants.
pub(crate) fn set_table(table: &str) {
    TABLE.set(table.to_owned());
}

/// An error of the handler's code.
pub(crate) struct Failure {
    /// The name of the error, such as `TypeError`.
    pub(crate) kind: String,
    pub(crate) message: String,
    /// The places, one per line, such as `at fetch (hello.js:3:5)`.
    pub(crate) stack: String,
}

impl Failure {
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            message: message.into(),
            stack: String::new(),
        }
    }

    /// Describes an error of the interpreter, and clears it there.
    pub(crate) fn from_error<'js>(cx: &Ctx<'js>, platform: &Platform<'js>, error: Error) -> Self {
        match CaughtError::from_error(cx, error) {
            CaughtError::Exception(exception) => {
                Self::from_value(cx, &platform.describe, exception.into_object().into_value())
            }
            CaughtError::Value(value) => Self::from_value(cx, &platform.describe, value),
            CaughtError::Error(error) => Self::new("Error", error.to_string()),
        }
    }

    /// Describes a thrown value.
    pub(crate) fn from_value<'js>(
        cx: &Ctx<'js>,
        describe: &Function<'js>,
        value: Value<'js>,
    ) -> Self {
        let described = describe.call::<_, Object<'_>>((value,));
        let Ok(described) = described else {
            // Describing it failed as well, for lack of memory or stack.
            cx.catch();
            return Self::new("Error", "an error that can't be described");
        };
        let text = |name| described.get::<_, String>(name).unwrap_or_default();
        let stack = text("stack");
        let is_own = |line: &&str| {
            !line.is_empty() && !line.contains("(wasgi:") && !line.contains("(native)")
        };
        let lines = stack.lines().map(str::trim).filter(is_own);
        Self {
            kind: text("kind"),
            message: text("message"),
            stack: lines.collect::<Vec<_>>().join("\n"),
        }
    }

    /// Returns what to do about code that looks for variables as on other platforms. Empty for
    /// other failures.
    pub(crate) fn hint(&self) -> String {
        let name = self.message.strip_suffix(" is not defined");
        if !name.is_some_and(|name| OTHER_PLATFORMS.contains(&name)) {
            return String::new();
        }
        let table = TABLE.with_borrow(|table| match table.is_empty() {
            true => "[handlers.NAME]".to_owned(),
            false => table.clone(),
        });
        format!(
            "; variables are the second argument of fetch, and {table} environment = {{ NAME = \
             \"value\" }} in wasgi.toml grants them"
        )
    }

    /// Returns the kind, the message and the innermost place in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = self.kind.clone();
        if !self.message.is_empty() {
            line += ": ";
            line += &self.message;
        }
        if let Some(place) = self.stack.lines().next().and_then(place) {
            line += &format!(" ({place})");
        }
        line
    }
}

/// Returns the place in a line of a stack, `at name (file:line:column)` or `at file:line:column`.
fn place(line: &str) -> Option<&str> {
    let inside = line
        .rsplit_once('(')
        .and_then(|(_, place)| place.strip_suffix(')'));
    inside.or_else(|| line.strip_prefix("at "))
}

impl From<Failure> for Exception {
    fn from(failure: Failure) -> Self {
        let hint = failure.hint();
        Self {
            kind: failure.kind,
            message: failure.message + &hint,
            traceback: failure.stack,
        }
    }
}
