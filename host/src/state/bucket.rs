//! The names of buckets.

use std::fmt;

use crate::host_name;

/// The maximum length of a bucket's name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The front of the identifiers of buckets that belong to one handler.
const OF_HANDLER: &str = "handler:";

/// The front of the identifiers of shared buckets.
const SHARED: &str = "shared:";

/// The identifier of a bucket in a store: `handler:HANDLER/NAME` or `shared:NAME`; for a virtual
/// host `handler://HOST/HANDLER/NAME` or `shared://HOST/NAME`.
///
/// A name has no slash, so the last slash ends the handler's name, and no two handlers have the
/// same identifier. A handler can't choose the front: a file that is called `shared:x.wasm` has
/// buckets such as `handler:shared:x/default`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(String);

impl BucketId {
    /// Returns the identifier of a handler's own bucket.
    pub fn of_handler(handler: &str, name: &str) -> Self {
        Self(format!("{OF_HANDLER}{handler}/{name}"))
    }

    /// Returns the identifier of a shared bucket. The name of one of a virtual host begins with
    /// `//HOST/`.
    pub fn shared(name: &str) -> Self {
        Self(format!("{SHARED}{name}"))
    }

    /// Parses an identifier as [`Display`](fmt::Display) writes it.
    ///
    /// # Errors
    ///
    /// Fails with the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = match text.strip_prefix(OF_HANDLER) {
            Some(rest) => rest.rsplit_once('/').map(|(_, name)| name),
            None => text
                .strip_prefix(SHARED)
                .map(|rest| match host_name::split(rest) {
                    (Some(_), name) => name,
                    (None, _) => rest,
                }),
        };
        let Some(name) = name else {
            return Err(format!(
                "{text:?} is no bucket: expected {OF_HANDLER}HANDLER/NAME or {SHARED}NAME"
            ));
        };
        check_bucket_name(name)?;
        Ok(Self(text.to_owned()))
    }

    /// Returns the identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks the name of a bucket: up to 64 of the characters `A`–`Z`, `a`–`z`, `0`–`9`, `.`, `_` and
/// `-`.
///
/// # Errors
///
/// Fails with the reason.
pub fn check_bucket_name(name: &str) -> Result<(), String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match name.len() {
        0 => Err("a bucket needs a name".into()),
        1..=MAX_NAME_BYTES if name.bytes().all(is_good) => Ok(()),
        1..=MAX_NAME_BYTES => Err(format!(
            "{name:?}: a bucket's name consists of letters, digits, `.`, `_` and `-`"
        )),
        _ => Err(format!(
            "a bucket's name has up to {MAX_NAME_BYTES} characters"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_handlers_have_the_same_bucket() {
        let mut seen = std::collections::BTreeSet::new();
        for handler in ["a", "a/b", "a/b/c", "shared:a", "handler:a", "", "*", "a/"] {
            for name in ["default", "b", "c"] {
                let id = BucketId::of_handler(handler, name);
                assert_eq!(BucketId::parse(id.as_str()), Ok(id.clone()));
                assert!(seen.insert(id.clone()), "{id}");
                assert!(!id.as_str().starts_with("shared:"), "{id}");
            }
        }
        for name in ["default", "a"] {
            assert!(seen.insert(BucketId::shared(name)));
        }
    }

    #[test]
    fn a_name_is_short_and_has_no_slash() {
        for good in ["a", "default", "A.b_c-9", &"x".repeat(64)] {
            assert_eq!(check_bucket_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a/b", "a:b", "ä", "a b", "*", "a\0", &"x".repeat(65)] {
            assert!(check_bucket_name(bad).is_err(), "{bad:?}");
        }
        for bad in [
            "default",
            "shared:",
            "shared:a/b",
            "handler:a",
            "handler:a/",
        ] {
            assert!(BucketId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
