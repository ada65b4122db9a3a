//! Keys and values that outlive the request: `wasi:keyvalue`.
//!
//! The server's operator grants a handler buckets, in `wasgi.toml`:
//!
//! ```toml
//! [handlers.guestbook]
//! key-value = ["default"]
//! ```
//!
//! ```
//! use wasgi_sdk::{Request, Result, kv};
//!
//! #[wasgi_sdk::handler]
//! fn visits(_: Request) -> Result<String> {
//!     let visits = kv::open("default")?.increment("visits", 1)?;
//!     Ok(format!("You are visitor number {visits}.\n"))
//! }
//! ```
//!
//! An operation that returns without an error is done, also if the machine fails right after it.
//! Each one is atomic. To change a value that depends on the old one, use [`Bucket::increment`] or
//! [`Bucket::update`]: between a `get` and a `set`, another request may change the value.
//!
//! In native builds, each thread has its own store in memory, in which every bucket is granted, so
//! that handlers can be tested as normal functions.

mod error;
#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(not(target_arch = "wasm32"))]
use native as backend;
#[cfg(target_arch = "wasm32")]
use wasm as backend;

pub use error::{Error, Result};

/// A bucket of keys and values.
#[derive(Debug)]
pub struct Bucket(backend::Bucket);

/// Opens a bucket by the name under which it is granted.
///
/// # Errors
/// Fails with [`Error::AccessDenied`] if it is not granted.
pub fn open(name: &str) -> Result<Bucket> {
    backend::Bucket::open(name).map(Bucket)
}

/// Keys of a bucket, in the order of their bytes. They are requested in pages, so that keys that
/// are set or deleted meanwhile may be among them or not.
#[derive(Debug)]
pub struct Keys<'b> {
    bucket: &'b Bucket,
    page: std::vec::IntoIter<String>,
    cursor: Option<String>,
    has_more: bool,
}

impl Bucket {
    /// Returns the value of a key, if it exists.
    ///
    /// # Errors
    /// Fails if the store is not available or the key is too long.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.0.get(key)
    }

    /// Returns the value of a key as text, if it exists.
    ///
    /// # Errors
    /// Fails if the value is not UTF-8, the store is not available, or the key is too long.
    pub fn get_text(&self, key: &str) -> Result<Option<String>> {
        let not_text = |_| Error::Other("the value is not text in UTF-8".to_owned());
        let value = self.get(key)?.map(String::from_utf8);
        value.transpose().map_err(not_text)
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// Fails if a limit is exceeded or the store is not available.
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<()> {
        self.0.set(key, value.as_ref())
    }

    /// Deletes a key, if it exists.
    ///
    /// # Errors
    /// Fails if the store is not available.
    pub fn delete(&self, key: &str) -> Result<()> {
        self.0.delete(key)
    }

    /// Returns whether a key exists.
    ///
    /// # Errors
    /// Fails if the store is not available.
    pub fn exists(&self, key: &str) -> Result<bool> {
        self.0.exists(key)
    }

    /// Returns all keys.
    pub fn keys(&self) -> Keys<'_> {
        Keys {
            bucket: self,
            page: Vec::new().into_iter(),
            cursor: None,
            has_more: true,
        }
    }

    /// Adds to the number that a key has as its value, in decimal notation, and returns the sum. A
    /// key that doesn't exist counts as 0.
    ///
    /// # Errors
    /// Fails if the value is not a number, the sum is beyond the range, a limit is exceeded, or the
    /// store is not available.
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        self.0.increment(key, delta)
    }

    /// Sets the value of a key if it is `expected`, where `None` means that the key doesn't exist.
    /// Returns whether the value was set.
    ///
    /// # Errors
    /// Fails if a limit is exceeded or the store is not available.
    pub fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool> {
        self.0.compare_and_swap(key, expected, value.as_ref())
    }

    /// Changes the value of a key: calls `change` with the old value, and again if another request
    /// has changed it in the meantime. Returns the new value.
    ///
    /// # Errors
    /// Fails if a limit is exceeded or the store is not available.
    pub fn update<T: AsRef<[u8]>>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<Vec<u8>>) -> T,
    ) -> Result<T> {
        loop {
            let old = self.get(key)?;
            let new = change(old.clone());
            if self.compare_and_swap(key, old.as_deref(), new.as_ref())? {
                return Ok(new);
            }
        }
    }

    /// Returns the values of up to 1,000 keys, in their order.
    ///
    /// # Errors
    /// Fails if there are too many keys, their values are too large together, or the store is not
    /// available.
    pub fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>> {
        self.0.get_many(keys)
    }

    /// Sets the values of up to 1,000 keys, of all or of none.
    ///
    /// # Errors
    /// Fails if a limit is exceeded or the store is not available.
    pub fn set_many(&self, pairs: &[(&str, &[u8])]) -> Result<()> {
        self.0.set_many(pairs)
    }

    /// Deletes up to 1,000 keys, those that exist.
    ///
    /// # Errors
    /// Fails if there are too many keys or the store is not available.
    pub fn delete_many(&self, keys: &[&str]) -> Result<()> {
        self.0.delete_many(keys)
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.page.next() {
                return Some(Ok(key));
            }
            if !self.has_more {
                return None;
            }
            match self.bucket.0.keys(self.cursor.as_deref()) {
                Ok((keys, cursor)) => {
                    self.page = keys.into_iter();
                    self.has_more = cursor.is_some();
                    self.cursor = cursor;
                }
                Err(error) => {
                    self.has_more = false;
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_in_memory_does_what_the_servers_does() {
        let bucket = open("first").expect("granted");
        assert_eq!(bucket.get("a"), Ok(None));
        bucket.set("a", "one").expect("set");
        assert_eq!(bucket.get_text("a"), Ok(Some("one".into())));
        assert_eq!(open("first").expect("granted").exists("a"), Ok(true));
        assert_eq!(open("second").expect("granted").exists("a"), Ok(false));
        bucket.delete("a").expect("deleted");
        assert_eq!(bucket.exists("a"), Ok(false));
        assert_eq!(bucket.increment("n", 5), Ok(5));
        assert_eq!(bucket.increment("n", -7), Ok(-2));
        bucket.set("n", "x").expect("set");
        assert!(bucket.increment("n", 1).is_err());
        bucket.set("raw", [0xff]).expect("set");
        assert!(bucket.get_text("raw").is_err());
    }

    #[test]
    fn an_update_is_repeated_until_nobody_else_has_changed_the_value() {
        let bucket = open("update").expect("granted");
        let mut calls = 0;
        let new = bucket.update("k", |old| {
            calls += 1;
            if calls == 1 {
                bucket.set("k", "other").expect("set");
            }
            format!("{}!", String::from_utf8_lossy(&old.unwrap_or_default()))
        });
        assert_eq!((new.as_deref(), calls), (Ok("other!"), 2));
        assert_eq!(bucket.compare_and_swap("k", None, "x"), Ok(false));
        let swapped = bucket.compare_and_swap("k", Some(b"other!"), "x");
        assert_eq!(swapped, Ok(true));
    }

    #[test]
    fn keys_come_in_order_over_several_pages() {
        let bucket = open("keys").expect("granted");
        let keys: Vec<String> = (0..2500).map(|at| format!("{at:04}")).collect();
        for key in keys.iter().rev() {
            bucket.set(key, "").expect("set");
        }
        let listed: Result<Vec<String>> = bucket.keys().collect();
        assert_eq!(listed.as_ref(), Ok(&keys));
        bucket.set_many(&[("a", b"1"), ("b", b"2")]).expect("set");
        let values = bucket.get_many(&["b", "c", "a"]).expect("read");
        assert_eq!(values, [Some(b"2".to_vec()), None, Some(b"1".to_vec())]);
        bucket.delete_many(&["a", "c"]).expect("deleted");
        assert_eq!(bucket.exists("a"), Ok(false));
    }
}
