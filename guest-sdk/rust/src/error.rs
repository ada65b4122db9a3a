//! The errors of a handler, as the server logs them.
//!
//! [`Error`] holds any error, like `anyhow::Error`: `?` converts every [`std::error::Error`] to it
//! and records the place. At the end it is converted to an [`Exception`], the contract's type.

use std::any::type_name;
use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;

/// The result of a fallible function of a handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error, with the place of the `?` that converted it.
///
/// If a handler returns an error, the server logs it as an exception and responds with status 500,
/// or cuts the connection if the head has already been sent. To respond with another status, return
/// a response that has it.
///
/// Like `anyhow::Error`, this type doesn't implement [`std::error::Error`], so that `?` can convert
/// every type that does.
pub struct Error(Box<Raised>);

struct Raised {
    kind: String,
    cause: Box<dyn StdError>,
    place: Option<&'static Location<'static>>,
}

/// An error in the contract's form. The server logs it and, if configured to, shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// The name of the error's type, such as `ParseIntError`, or `panic`.
    pub kind: String,
    /// The error message.
    pub message: String,
    /// The place where the error was raised, if known, and its causes, one per line.
    pub traceback: String,
}

impl Error {
    /// Creates an error with this message.
    #[track_caller]
    pub fn msg(message: impl fmt::Display) -> Self {
        Self::new("Error", message)
    }

    /// Creates an error of any kind, such as `ConfigError`.
    #[track_caller]
    pub fn new(kind: impl Into<String>, message: impl fmt::Display) -> Self {
        let cause = Box::new(Message(message.to_string()));
        Self(Box::new(Raised {
            kind: kind.into(),
            cause,
            place: Some(Location::caller()),
        }))
    }

    /// Converts the error of a handler that returns another type. The place is unknown.
    pub(crate) fn returned<E: Into<Box<dyn StdError>>>(error: E) -> Self {
        match error.into().downcast::<Boxed>() {
            Ok(boxed) => boxed.0,
            Err(cause) => Self(Box::new(Raised {
                kind: kind_of::<E>(),
                cause,
                place: None,
            })),
        }
    }

    /// Returns the error that this was converted from.
    pub fn cause(&self) -> &(dyn StdError + 'static) {
        &*self.0.cause
    }

    /// Returns the exception that the server logs.
    pub fn exception(&self) -> Exception {
        let mut traceback = self
            .0
            .place
            .map(|place| format!("{place}"))
            .unwrap_or_default();
        let mut cause = self.0.cause.source();
        while let Some(error) = cause {
            if !traceback.is_empty() {
                traceback.push('\n');
            }
            traceback.push_str("caused by: ");
            traceback.push_str(&error.to_string());
            cause = error.source();
        }
        Exception {
            kind: self.0.kind.clone(),
            message: self.0.cause.to_string(),
            traceback,
        }
    }
}

impl<E: StdError + 'static> From<E> for Error {
    #[track_caller]
    fn from(error: E) -> Self {
        let place = Some(Location::caller());
        Self(Box::new(Raised {
            kind: kind_of::<E>(),
            cause: Box::new(error),
            place,
        }))
    }
}

/// Lets a handler return this error as a `Box<dyn Error>`.
impl From<Error> for Box<dyn StdError> {
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.cause.fmt(formatter)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exception {
            kind,
            message,
            traceback,
        } = self.exception();
        write!(formatter, "{kind}: {message}")?;
        traceback
            .lines()
            .try_for_each(|line| write!(formatter, "\n    {line}"))
    }
}

struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl StdError for Message {}

/// An [`Error`] in a `Box<dyn Error>`, from which `Error::returned` extracts it.
struct Boxed(Error);

impl fmt::Display for Boxed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for Boxed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl StdError for Boxed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.0.cause.source()
    }
}

/// Returns the name of an error's type: `ParseIntError`, or the path if the name is only `Error`,
/// as in `std::io::error::Error`. A box hides the type, so the name is `Error`.
fn kind_of<E>() -> String {
    let path = type_name::<E>();
    let path = &path[..path.find('<').unwrap_or(path.len())];
    let name = &path[path.rfind(':').map_or(0, |colon| colon + 1)..];
    match name {
        "Box" => "Error".to_owned(),
        "Error" => path.to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("no such page")
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    const LINE_OF_QUESTION_MARK: u32 = line!() + 3;

    fn number(text: &str) -> Result<u32> {
        Ok(text.parse::<u32>()?)
    }

    fn outer() -> Result<u32> {
        Ok("x".parse().map_err(Outer)?)
    }

    #[test]
    fn a_question_mark_notes_type_message_and_place() {
        let exception = number("x").unwrap_err().exception();
        assert_eq!(exception.kind, "ParseIntError");
        assert_eq!(exception.message, "invalid digit found in string");
        let (file, place) = exception.traceback.split_once(':').unwrap();
        assert!(file.ends_with("error.rs"), "{file}");
        assert!(
            place.starts_with(&format!("{LINE_OF_QUESTION_MARK}:")),
            "{place}"
        );
    }

    #[test]
    fn causes_follow_the_place() {
        let exception = outer().unwrap_err().exception();
        assert_eq!(
            (&*exception.kind, &*exception.message),
            ("Outer", "no such page")
        );
        let (_, causes) = exception.traceback.split_once('\n').unwrap();
        assert_eq!(causes, "caused by: invalid digit found in string");
    }

    #[test]
    fn an_error_named_error_keeps_its_path() {
        let error = Error::from(std::io::Error::other("disk"));
        assert_eq!(error.exception().kind, "std::io::error::Error");
    }

    #[test]
    fn a_box_of_an_error_is_unpacked() {
        let error = Error::returned(Error::new("ConfigError", "no key"));
        assert_eq!(error.exception().kind, "ConfigError");
        assert!(error.exception().traceback.contains("error.rs:"));

        let boxed: Box<dyn StdError> = Box::new(Outer("x".parse::<u32>().unwrap_err()));
        let exception = Error::returned(boxed).exception();
        assert_eq!(
            (&*exception.kind, &*exception.message),
            ("Error", "no such page")
        );
        assert_eq!(
            exception.traceback,
            "caused by: invalid digit found in string"
        );
    }

    #[test]
    fn text_is_an_error_too() {
        let exception = Error::returned("out of tea").exception();
        assert_eq!(exception.message, "out of tea");
    }
}
