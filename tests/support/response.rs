//! A strict parser of responses: the test fails for anything that a server must not send.

/// A status line and its fields.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) reason: String,
    fields: Vec<(String, String)>,
}

/// How the end of a body is determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
    Close,
}

/// A complete response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
}

impl Head {
    /// Parses the bytes of a head, without the empty line at its end.
    #[track_caller]
    pub(crate) fn parse(bytes: &[u8]) -> Head {
        let text = std::str::from_utf8(bytes).expect("the head is text");
        let mut lines = text.split("\r\n");
        let status_line = lines.next().expect("split gives one at least");
        let mut words = status_line.splitn(3, ' ');
        let (version, status) = (words.next(), words.next());
        let head = Head {
            version: version.unwrap_or_default().to_owned(),
            status: status.and_then(|code| code.parse().ok()).unwrap_or(0),
            reason: words.next().unwrap_or_default().to_owned(),
            fields: lines.map(field).collect(),
        };
        assert_eq!(head.version, "HTTP/1.1", "in {status_line:?}");
        assert!((100..1000).contains(&head.status), "in {status_line:?}");
        head
    }

    /// Returns the value of a field, or none if it is absent. Panics if the field is repeated.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "{name} is there {} times", values.len());
        values.first().copied()
    }

    /// Returns all values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        let fields = self.fields.iter().filter(named);
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// Returns the names of all fields, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Returns how the body's end is determined (RFC 9112 section 6.3) in a response to this
    /// method.
    #[track_caller]
    pub(crate) fn framing(&self, method: &str) -> Framing {
        let length = self.field("Content-Length");
        let coding = self.field("Transfer-Encoding");
        assert!(length.is_none() || coding.is_none(), "both: {self:?}");
        let bodiless = method == "HEAD" || self.status < 200 || matches!(self.status, 204 | 304);
        match (length, coding) {
            _ if bodiless => Framing::None,
            (_, Some(coding)) => {
                assert_eq!(coding, "chunked");
                Framing::Chunked
            }
            (Some(length), None) => Framing::Length(length.parse().expect("a number")),
            (None, None) => Framing::Close,
        }
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').expect("a field has a colon");
    assert!(!name.is_empty() && !name.contains(' '), "in {line:?}");
    assert!(!line.contains(['\r', '\n']), "in {line:?}");
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    /// Returns the value of a field, as [`Head::field`] does.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// Returns the body as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
}
