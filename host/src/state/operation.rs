//! What can be asked of a store, and what it replies. All operations are atomic.

use std::fmt;

use super::bucket::BucketId;
use super::options::Limits;

/// The maximum number of keys in a batch, and in one reply with keys.
pub const MAX_BATCH_COUNT: usize = 1000;

/// The maximum size of the values in a batch together, and the largest permitted value, in bytes:
/// the host holds as much for each guest that waits.
pub const MAX_BATCH_BYTES: u64 = 4 << 20;

/// The length of the longest permitted key, in bytes. A cursor is a key, too.
pub const MAX_KEY_BYTES: u64 = 16 << 10;

/// The maximum size of the keys in one reply together, in bytes. A single longer key is permitted.
pub(super) const MAX_PAGE_BYTES: usize = 256 << 10;

/// A digest of a value: a swap replaces a value only if its digest is this one.
pub type Digest = [u8; 32];

/// An operation in one bucket, with the limits that apply to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The bucket.
    pub bucket: BucketId,
    /// The maximum number of keys in the bucket after it.
    pub keys_count: u64,
    /// The maximum size of the bucket after it, in bytes.
    pub bucket_bytes: u64,
    /// The maximum size of all buckets after it, in bytes.
    pub total_bytes: u64,
    /// The operation.
    pub operation: Operation,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Returns the value of a key: [`Reply::Value`].
    Get(String),
    /// Returns whether a key exists: [`Reply::Flag`].
    Exists(String),
    /// Returns keys in ascending order, after a key: [`Reply::Keys`].
    Keys(Option<String>),
    /// Returns the values of keys: [`Reply::Values`].
    GetMany(Vec<String>),
    /// Sets the value of a key: [`Reply::Done`].
    Set(String, Vec<u8>),
    /// Deletes a key, if it exists: [`Reply::Done`].
    Delete(String),
    /// Adds to the number that is the value of a key, in decimal notation; a missing key counts as
    /// 0: [`Reply::Number`] with the sum.
    Increment(String, i64),
    /// Sets the value of a key if its value has this digest, or if it doesn't exist and there is
    /// none: [`Reply::Flag`], false if nothing was set.
    Swap(String, Option<Digest>, Vec<u8>),
    /// Sets the values of keys: [`Reply::Done`].
    SetMany(Vec<(String, Vec<u8>)>),
    /// Deletes keys: [`Reply::Done`].
    DeleteMany(Vec<String>),
    /// Returns all buckets, whatever the request's bucket: [`Reply::Buckets`].
    Buckets,
}

/// The result of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The operation is done, and durable if it was a write.
    Done,
    /// A value, if the key exists.
    Value(Option<Vec<u8>>),
    /// Yes or no.
    Flag(bool),
    /// Keys, and whether there are more after them.
    Keys(Vec<String>, bool),
    /// The values of the requested keys, in their order.
    Values(Vec<Option<Vec<u8>>>),
    /// A number.
    Number(i64),
    /// All buckets, by identifier.
    Buckets(Vec<BucketStatistics>),
}

/// A bucket and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketStatistics {
    /// The identifier.
    pub bucket: String,
    /// The number of keys.
    pub keys_count: u64,
    /// The size of its keys and values together, in bytes.
    pub bytes: u64,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bucket's identifier.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
}

/// The reason for which an operation has failed: one line, for the author of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl Failure {
    /// Returns the failure of an operation while the store is not available. A handler must not
    /// learn where it is: the log says that, and the reason.
    pub(super) fn unavailable() -> Self {
        Self::new("the store is not available; the server's log says why")
    }

    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl Operation {
    /// Returns the name of the operation, as in the interface of the guest.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Get(_) => "get",
            Self::Exists(_) => "exists",
            Self::Keys(_) => "list-keys",
            Self::GetMany(_) => "get-many",
            Self::Set(..) => "set",
            Self::Delete(_) => "delete",
            Self::Increment(..) => "increment",
            Self::Swap(..) => "swap",
            Self::SetMany(_) => "set-many",
            Self::DeleteMany(_) => "delete-many",
            Self::Buckets => "buckets",
        }
    }

    /// Reports whether it changes nothing, so that it can be repeated.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Get(_) | Self::Exists(_) | Self::Keys(_) | Self::GetMany(_) | Self::Buckets
        )
    }

    /// Returns the size of its keys and values, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let of_pair = |(key, value): &(String, Vec<u8>)| key.len() + value.len();
        match self {
            Self::Get(key)
            | Self::Exists(key)
            | Self::Delete(key)
            | Self::Increment(key, _)
            | Self::Keys(Some(key)) => key.len(),
            Self::Keys(None) | Self::Buckets => 0,
            Self::GetMany(keys) | Self::DeleteMany(keys) => keys.iter().map(String::len).sum(),
            Self::Set(key, value) | Self::Swap(key, _, value) => key.len() + value.len(),
            Self::SetMany(pairs) => pairs.iter().map(of_pair).sum(),
        }
    }

    /// Checks the sizes of keys and values.
    ///
    /// # Errors
    ///
    /// Fails with the limit that is exceeded.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), Failure> {
        let check_keys = |keys: &[String]| {
            check_count(keys.len())?;
            keys.iter().try_for_each(|key| check_key(key, limits))
        };
        match self {
            // A key that can't exist is simply not found.
            Self::Keys(Some(after)) if after.len() as u64 > MAX_KEY_BYTES => {
                Err(Failure::new("the cursor is not one of this bucket's keys"))
            }
            Self::Keys(_) | Self::Buckets => Ok(()),
            Self::Get(key) | Self::Exists(key) | Self::Delete(key) | Self::Increment(key, _) => {
                check_key(key, limits)
            }
            Self::Set(key, value) | Self::Swap(key, _, value) => {
                check_key(key, limits)?;
                check_value(value, limits)
            }
            Self::GetMany(keys) | Self::DeleteMany(keys) => check_keys(keys),
            Self::SetMany(pairs) => {
                check_count(pairs.len())?;
                let mut bytes = 0;
                for (key, value) in pairs {
                    check_key(key, limits)?;
                    check_value(value, limits)?;
                    bytes += value.len() as u64;
                }
                check_batch(bytes)
            }
        }
    }
}

fn check_key(key: &str, limits: &Limits) -> Result<(), Failure> {
    let (length, limit) = (key.len() as u64, limits.key_bytes);
    match length <= limit {
        true => Ok(()),
        false => Err(Failure(format!(
            "the key has {length} bytes; the limit is {limit} (state.key-size)"
        ))),
    }
}

fn check_value(value: &[u8], limits: &Limits) -> Result<(), Failure> {
    let (length, limit) = (value.len() as u64, limits.value_bytes);
    match length <= limit {
        true => Ok(()),
        false => Err(Failure(format!(
            "the value has {length} bytes; the limit is {limit} (state.value-size)"
        ))),
    }
}

fn check_count(count: usize) -> Result<(), Failure> {
    match count <= MAX_BATCH_COUNT {
        true => Ok(()),
        false => Err(Failure(format!(
            "the batch has {count} keys; the limit is {MAX_BATCH_COUNT}"
        ))),
    }
}

/// Checks the size of the values in a batch together.
pub(super) fn check_batch(bytes: u64) -> Result<(), Failure> {
    match bytes <= MAX_BATCH_BYTES {
        true => Ok(()),
        false => Err(Failure(format!(
            "the values of the batch have {bytes} bytes or more; the limit is {MAX_BATCH_BYTES}"
        ))),
    }
}

impl Request {
    /// Checks the size of the bucket after the operation.
    ///
    /// # Errors
    ///
    /// Fails with the limit that is exceeded.
    pub(super) fn check_bucket(
        &self,
        before: (u64, u64),
        after: (u64, u64),
    ) -> Result<(), Failure> {
        // A bucket that is above a lowered limit may still shrink.
        if after.0 > self.keys_count && after.0 > before.0 {
            return Err(too_many_keys(self.keys_count));
        }
        if after.1 > self.bucket_bytes && after.1 > before.1 {
            return Err(too_many_bytes(self.bucket_bytes));
        }
        Ok(())
    }

    /// Checks the size of all buckets after the operation, in bytes.
    ///
    /// # Errors
    ///
    /// Fails with the limit, if that is exceeded.
    pub(super) fn check_total(&self, before: u64, after: u64) -> Result<(), Failure> {
        match after > self.total_bytes && after > before {
            true => Err(too_many_in_total(self.total_bytes)),
            false => Ok(()),
        }
    }
}

pub(super) fn too_many_keys(limit: u64) -> Failure {
    Failure(format!(
        "the bucket is full: it may have {limit} keys (state.keys)"
    ))
}

pub(super) fn too_many_bytes(limit: u64) -> Failure {
    Failure(format!(
        "the bucket is full: it may have {limit} bytes (state.bucket-size)"
    ))
}

pub(super) fn too_many_in_total(limit: u64) -> Failure {
    Failure(format!(
        "the store is full: all buckets may have {limit} bytes together (state.total-size)"
    ))
}

/// Adds to a number in decimal notation, as Redis does: no sign but `-`, no leading zeros, the
/// range of 64 bits.
///
/// # Errors
///
/// Fails if the value is not such a number, or the sum is beyond the range.
pub(super) fn add(value: Option<&[u8]>, delta: i64) -> Result<i64, Failure> {
    let number = match value {
        None => 0,
        Some(value) => number(value).ok_or_else(not_a_number)?,
    };
    number.checked_add(delta).ok_or_else(out_of_range)
}

fn number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

pub(super) fn not_a_number() -> Failure {
    Failure::new("the value is not a number in decimal notation, within 64 bits")
}

pub(super) fn out_of_range() -> Failure {
    Failure::new("the sum is beyond the range of 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_a_limit_is_rejected_with_its_name() {
        let limits = Limits {
            key_bytes: 3,
            value_bytes: 2,
            ..Limits::default()
        };
        let key = |key: &str| key.to_owned();
        for good in [
            Operation::Get(key("abc")),
            Operation::Set(key(""), vec![0; 2]),
            Operation::SetMany(vec![(key("a"), vec![0; 2]); MAX_BATCH_COUNT]),
            Operation::Keys(Some(key("longer than a key"))),
        ] {
            assert_eq!(good.check(&limits), Ok(()), "{good:?}");
        }
        for (bad, limit) in [
            (Operation::Get(key("abcd")), "state.key-size"),
            (Operation::Exists(key("abcd")), "state.key-size"),
            (Operation::Delete(key("abcd")), "state.key-size"),
            (Operation::Increment(key("abcd"), 1), "state.key-size"),
            (Operation::GetMany(vec![key("abcd")]), "state.key-size"),
            (Operation::DeleteMany(vec![key("abcd")]), "state.key-size"),
            (Operation::Set(key("a"), vec![0; 3]), "state.value-size"),
            (
                Operation::Swap(key("a"), None, vec![0; 3]),
                "state.value-size",
            ),
            (
                Operation::SetMany(vec![(key("a"), vec![0; 3])]),
                "state.value-size",
            ),
            (
                Operation::GetMany(vec![key("a"); MAX_BATCH_COUNT + 1]),
                "the limit is 1000",
            ),
            (
                Operation::Keys(Some("k".repeat(MAX_KEY_BYTES as usize + 1))),
                "cursor",
            ),
        ] {
            let error = bad.check(&limits).expect_err("too much");
            assert!(error.0.contains(limit), "{error}");
        }
        let limits = Limits {
            value_bytes: MAX_BATCH_BYTES,
            ..Limits::default()
        };
        let half = vec![0; MAX_BATCH_BYTES as usize / 2 + 1];
        let batch = Operation::SetMany(vec![(key("a"), half.clone()), (key("b"), half)]);
        assert!(batch.check(&limits).is_err());
    }

    #[test]
    fn a_sum_is_exact_or_an_error() {
        for (value, delta, sum) in [
            (None, 5, 5),
            (Some("41"), 1, 42),
            (Some("-1"), 1, 0),
            (Some("0"), i64::MIN, i64::MIN),
            (Some("9223372036854775806"), 1, i64::MAX),
        ] {
            assert_eq!(add(value.map(str::as_bytes), delta), Ok(sum), "{value:?}");
        }
        for value in [
            "",
            " 1",
            "+1",
            "01",
            "-0",
            "1.0",
            "9223372036854775808",
            "x",
        ] {
            assert_eq!(
                add(Some(value.as_bytes()), 0),
                Err(not_a_number()),
                "{value:?}"
            );
        }
        assert_eq!(add(Some(b"\xff"), 0), Err(not_a_number()));
        assert_eq!(add(Some(b"9223372036854775807"), 1), Err(out_of_range()));
        assert_eq!(add(Some(b"-2"), i64::MIN), Err(out_of_range()));
    }
}
