//! Hides passwords in URLs, for text that is shown or logged.

use std::borrow::Cow;

/// What stands in place of a password.
const HIDDEN: &str = "***";

/// The start of a URL's authority (RFC 3986 section 3.2).
const AUTHORITY: &str = "://";

/// The query parameter that has a password in a URL of a Unix socket.
const PASSWORD_PARAMETER: &str = "pass=";

/// Replaces the user information of each URL in a text, and a password in its query, with `***`.
///
/// A URL ends at a quote or at the end of its line. Its user information is taken to end at the
/// last `@`, so that a password that should have been percent-encoded is hidden as a whole.
pub(crate) fn urls(text: &str) -> Cow<'_, str> {
    if !text.contains(AUTHORITY) {
        return Cow::Borrowed(text);
    }
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(AUTHORITY) {
        let (before, after) = rest.split_at(at + AUTHORITY.len());
        let end = after.find(['"', '\'', '\n']).unwrap_or(after.len());
        let (url, further) = after.split_at(end);
        hidden.push_str(before);
        hide(url, &mut hidden);
        rest = further;
    }
    hidden.push_str(rest);
    Cow::Owned(hidden)
}

/// Appends a URL without its scheme, with its passwords hidden.
fn hide(url: &str, hidden: &mut String) {
    let url = match url.rsplit_once('@') {
        Some((_, host)) => {
            hidden.push_str(HIDDEN);
            hidden.push('@');
            host
        }
        None => url,
    };
    let Some((path, query)) = url.split_once('?') else {
        hidden.push_str(url);
        return;
    };
    hidden.push_str(path);
    let mut separator = '?';
    for parameter in query.split('&') {
        hidden.push(separator);
        separator = '&';
        match parameter.starts_with(PASSWORD_PARAMETER) {
            true => {
                hidden.push_str(PASSWORD_PARAMETER);
                hidden.push_str(HIDDEN);
            }
            false => hidden.push_str(parameter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_hidden() {
        for (text, shown) in [
            ("redis://:pw@host:6379/0", "redis://***@host:6379/0"),
            ("redis://user:p@w/d?x#y@host/0", "redis://***@host/0"),
            ("redis://host/0", "redis://host/0"),
            (
                "unix:///run/redis.sock?db=1&pass=pw&user=u",
                "unix:///run/redis.sock?db=1&pass=***&user=u",
            ),
            (
                "url = [\"a://u:pw@b\", 'c://pw@d'] # e",
                "url = [\"a://***@b\", 'c://***@d'] # e",
            ),
            (
                "url = \"redis://:pw with space@host",
                "url = \"redis://***@host",
            ),
            ("ada@example.com", "ada@example.com"),
            ("", ""),
        ] {
            assert_eq!(urls(text), shown);
        }
    }
}
