//! Granted key-value buckets.

use serde::{Deserialize, Serialize};

use crate::host_name;
use crate::state::{BucketId, check_bucket_name};

/// A bucket, as written in `wasgi.toml`: `"NAME"` or `{ name = "NAME", shared = "NAME" }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum BucketOptions {
    /// A bucket of each handler's own.
    Own(String),
    /// A bucket that all handlers share to which it is granted under this name.
    Shared(SharedBucket),
}

/// A shared bucket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SharedBucket {
    /// The name under which the handler opens it.
    pub name: String,
    /// The name that the handlers share.
    pub shared: String,
}

impl BucketOptions {
    /// Returns the name under which the handler opens it.
    pub fn name(&self) -> &str {
        match self {
            Self::Own(name) => name,
            Self::Shared(shared) => &shared.name,
        }
    }

    /// Returns its identifier in the store, for the handler with this full name. A virtual host
    /// shares none with others.
    pub(super) fn id(&self, handler: &str) -> BucketId {
        match self {
            Self::Own(name) => BucketId::of_handler(handler, name),
            Self::Shared(shared) => {
                BucketId::shared(&format!("{}{}", host_name::front(handler), shared.shared))
            }
        }
    }

    /// Checks the names, and that no other bucket has the same.
    ///
    /// # Errors
    ///
    /// Fails with the reason.
    pub(super) fn check(&self, earlier: &[Self]) -> Result<(), String> {
        check_bucket_name(self.name())?;
        if let Self::Shared(shared) = self {
            check_bucket_name(&shared.shared)?;
        }
        match earlier.iter().any(|earlier| earlier.name() == self.name()) {
            true => Err(format!("{:?} is granted twice", self.name())),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_one_name_for_its_handler() {
        let own = |name: &str| BucketOptions::Own(name.into());
        let shared = |name: &str, shared: &str| {
            BucketOptions::Shared(SharedBucket {
                name: name.into(),
                shared: shared.into(),
            })
        };
        assert_eq!(own("a").check(&[own("b")]), Ok(()));
        assert_eq!(shared("a", "x").check(&[shared("b", "x")]), Ok(()));
        for bad in [own("a"), shared("a", "x"), own("a/b"), shared("c", "")] {
            assert!(bad.check(&[shared("a", "y")]).is_err(), "{bad:?}");
        }
        assert_ne!(own("x").id("a"), own("x").id("b"));
        assert_eq!(shared("a", "x").id("a"), shared("b", "x").id("b"));
        assert_ne!(shared("x", "x").id("a"), own("x").id("a"));
        let of_host = ["//a.test/a", "//b.test/a", "a"].map(|name| shared("a", "x").id(name));
        let own = ["//a.test/a", "//b.test/a", "a"].map(|name| own("x").id(name));
        let all: std::collections::BTreeSet<_> = of_host.iter().chain(&own).collect();
        assert_eq!(all.len(), 6, "{all:?}");
        for id in all {
            assert_eq!(BucketId::parse(id.as_str()).as_ref(), Ok(id));
        }
    }
}
