//! The cookies that a client keeps between the requests of a test file (RFC 6265, without domains,
//! paths and dates).

use std::collections::BTreeMap;

/// The cookies of one test file.
#[derive(Debug, Default)]
pub(super) struct Cookies(BTreeMap<String, String>);

impl Cookies {
    /// Keeps the cookie of a `Set-Cookie` field, or removes it if its `Max-Age` is 0 or below.
    pub(super) fn receive(&mut self, field: &str) {
        let (pair, attributes) = field.split_once(';').unwrap_or((field, ""));
        let Some((name, value)) = pair.split_once('=') else {
            return;
        };
        let is_removed = attributes.split(';').any(|attribute| {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let age = value.trim().parse::<i64>();
            name.trim().eq_ignore_ascii_case("max-age") && age.is_ok_and(|age| age <= 0)
        });
        match is_removed {
            true => self.0.remove(name.trim()),
            false => self
                .0
                .insert(name.trim().to_owned(), value.trim().to_owned()),
        };
    }

    /// Returns the value of the `Cookie` field with these additional cookies, which take
    /// precedence. None without cookies.
    pub(super) fn field(&self, additional: &[(String, String)]) -> Option<String> {
        let mut all = self.0.clone();
        all.extend(additional.iter().cloned());
        let pairs: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_until_they_are_removed() {
        let mut cookies = Cookies::default();
        assert_eq!(cookies.field(&[]), None);
        cookies.receive("a=1; Path=/; HttpOnly");
        cookies.receive("b=2");
        cookies.receive("no cookie");
        assert_eq!(cookies.field(&[]).as_deref(), Some("a=1; b=2"));
        let additional = [("a".to_owned(), "3".to_owned())];
        assert_eq!(cookies.field(&additional).as_deref(), Some("a=3; b=2"));
        cookies.receive("a=; Max-Age=0");
        assert_eq!(cookies.field(&[]).as_deref(), Some("b=2"));
    }
}
