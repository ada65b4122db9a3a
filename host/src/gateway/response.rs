//! The state of the response's head, as set by `start_response`, and its rules.

use std::fmt;

/// The checked head of a response, ready to be written to the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code, 200 to 999.
    pub status: u16,
    /// The reason phrase: bytes, as on the wire. May be empty.
    pub reason: Vec<u8>,
    /// The fields in the handler's order, with repeated ones kept, without `Content-Length`.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The `Content-Length` that the handler declared, in bytes (B3).
    pub length: Option<u64>,
}

/// The reason why a call of `start_response` was rejected. A rejected call changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// It was called before, and this call has no exc_info (R3).
    AlreadyStarted,
    /// The call has exc_info, but the head has been sent (R3).
    HeadSent,
    /// The values are not allowed (R1): which, and why.
    Refused(String),
}

/// The state of a response's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Response {
    /// `start_response` has not been called.
    #[default]
    NotStarted,
    /// The head is set, and held back until a block is sent with it (R2).
    Ready(Head),
    /// The head has been sent.
    Sent,
}

impl Response {
    /// Performs one call of `start_response`. With `exc_info`, it replaces a head that has not been
    /// sent.
    ///
    /// `limit_bytes` is the maximum size of the status and all fields together.
    ///
    /// # Errors
    ///
    /// Fails for the reasons in [`StartError`]; the response is then unchanged.
    pub fn start(
        &mut self,
        status: &[u8],
        fields: Vec<(String, Vec<u8>)>,
        exc_info: bool,
        limit_bytes: usize,
    ) -> Result<(), StartError> {
        match self {
            Self::Sent if exc_info => return Err(StartError::HeadSent),
            Self::Sent => return Err(StartError::AlreadyStarted),
            Self::Ready(_) if !exc_info => return Err(StartError::AlreadyStarted),
            Self::Ready(_) | Self::NotStarted => {}
        }
        *self = Self::Ready(Head::check(status, fields, limit_bytes)?);
        Ok(())
    }

    /// Takes the head to send it, if it is set and has not been sent.
    pub fn send(&mut self) -> Option<Head> {
        match std::mem::replace(self, Self::Sent) {
            Self::Ready(head) => Some(head),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Head {
    /// Checks the head of a handler's response (R1).
    fn check(
        status: &[u8],
        mut fields: Vec<(String, Vec<u8>)>,
        limit_bytes: usize,
    ) -> Result<Self, StartError> {
        let checked = wasgi_fields::head::check(status, &fields, limit_bytes);
        let checked = checked.map_err(StartError::Refused)?;
        if checked.length.is_some() {
            fields.retain(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
        }
        Ok(Self {
            status: checked.status,
            reason: checked.reason.to_owned(),
            fields,
            length: checked.length,
        })
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyStarted => f.write_str("start_response was already called"),
            Self::HeadSent => f.write_str("the head was already sent"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1024;

    fn start(status: &str, fields: &[(&str, &str)]) -> Result<Head, StartError> {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        let mut response = Response::default();
        response.start(status.as_bytes(), fields, false, LIMIT)?;
        Ok(response.send().expect("a head was set"))
    }

    #[test]
    fn r1_repeated_fields_are_kept_in_order() {
        let head = start(
            "200 OK",
            &[("Set-Cookie", "a=1"), ("X", "y"), ("Set-Cookie", "b=2")],
        );
        let fields = head.unwrap().fields;
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Set-Cookie", "X", "Set-Cookie"]);
    }

    #[test]
    fn r1_a_head_that_may_not_be_sent_is_refused_with_the_reason() {
        let Err(StartError::Refused(why)) = start("200 OK", &[("Connection", "close")]) else {
            panic!("it was taken");
        };
        assert!(why.contains("hop-by-hop"), "{why}");
        let long = "a".repeat(LIMIT);
        let Err(StartError::Refused(why)) = start("200 OK", &[("X", &long)]) else {
            panic!("it was taken");
        };
        assert!(why.contains("the limit is 1024"), "{why}");
    }

    #[test]
    fn b3_a_declared_length_is_taken_out_of_the_fields() {
        let head = start("200 OK", &[("Content-Length", "5"), ("X", "y")]).unwrap();
        assert_eq!(head.length, Some(5));
        assert_eq!(head.fields.len(), 1);
    }

    #[test]
    fn r3_a_second_call_needs_exc_info() {
        let mut response = Response::default();
        response.start(b"200 OK", vec![], false, LIMIT).unwrap();
        let again = response.start(b"201 Created", vec![], false, LIMIT);
        assert_eq!(again, Err(StartError::AlreadyStarted));
        response.start(b"500 Oops", vec![], true, LIMIT).unwrap();
        assert_eq!(response.send().map(|head| head.status), Some(500));
        assert_eq!(
            response.start(b"500 Oops", vec![], true, LIMIT),
            Err(StartError::HeadSent)
        );
        assert_eq!(
            response.start(b"200 OK", vec![], false, LIMIT),
            Err(StartError::AlreadyStarted)
        );
        assert_eq!(response.send(), None);
    }

    #[test]
    fn r3_a_refused_replacement_changes_nothing() {
        let mut response = Response::default();
        response.start(b"200 OK", vec![], false, LIMIT).unwrap();
        assert!(response.start(b"nonsense", vec![], true, LIMIT).is_err());
        assert_eq!(response.send().map(|head| head.status), Some(200));
    }
}
