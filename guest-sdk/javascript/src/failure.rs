//! A failure of a handler's code, as the server logs it.

use rquickjs::{CaughtError, Ctx, Error, Function, Object, Value};

use crate::bindings::wasgi::gateway::gateway::Exception;
use crate::engine::Platform;

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
        Self {
            kind: failure.kind,
            message: failure.message,
            traceback: failure.stack,
        }
    }
}
