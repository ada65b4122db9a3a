//! HTML: a body with its media type, and escaping.

use crate::body::{Body, IntoBody};

/// An HTML body. Sets `Content-Type` to `text/html` if the response has none.
#[derive(Clone, Debug)]
pub struct Html<T>(pub T);

impl<T: IntoBody> IntoBody for Html<T> {
    const CONTENT_TYPE: Option<&'static str> = Some("text/html; charset=utf-8");

    fn into_body(self) -> Body {
        self.0.into_body()
    }
}

/// Escapes text for an HTML element or a quoted attribute: `<` becomes `&lt;`, and so on. Escape
/// all text that comes from a client.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_html_is_escaped() {
        assert_eq!(
            escape("<a href=\"x\">Tom & 'Jerry'</a> ü"),
            "&lt;a href=&quot;x&quot;&gt;Tom &amp; &#39;Jerry&#39;&lt;/a&gt; ü"
        );
    }
}
