//! Buckets in memory, one set for each thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::error::{Error, Result};

/// The number of keys in a page: that of the server.
const PAGE_KEYS: usize = 1000;

type Values = BTreeMap<String, Vec<u8>>;

thread_local! {
    static BUCKETS: RefCell<BTreeMap<String, Values>> = RefCell::default();
}

#[derive(Debug)]
pub(super) struct Bucket(String);

impl Bucket {
    #[allow(clippy::unnecessary_wraps, reason = "the server's can fail")]
    pub(super) fn open(name: &str) -> Result<Self> {
        Ok(Self(name.to_owned()))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Values) -> T) -> T {
        BUCKETS.with_borrow_mut(|buckets| work(buckets.entry(self.0.clone()).or_default()))
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.with(|values| values.get(key).cloned()))
    }

    pub(super) fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        self.with(|values| values.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }

    pub(super) fn delete(&self, key: &str) -> Result<()> {
        self.with(|values| values.remove(key));
        Ok(())
    }

    pub(super) fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.with(|values| values.contains_key(key)))
    }

    pub(super) fn keys(&self, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>)> {
        let first = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.with(|values| {
            let rest = values
                .range::<str, _>((first, Bound::Unbounded))
                .map(|(key, _)| key);
            let mut keys: Vec<String> = rest.take(PAGE_KEYS + 1).cloned().collect();
            let has_more = keys.len() > PAGE_KEYS;
            keys.truncate(PAGE_KEYS);
            let cursor = keys.last().filter(|_| has_more).cloned();
            (keys, cursor)
        }))
    }

    pub(super) fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        self.with(|values| {
            let number = match values.get(key) {
                None => Some(0),
                Some(value) => std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok()),
            };
            let not_a_number = || Error::Other("the value is not a number".to_owned());
            let sum = number.ok_or_else(not_a_number)?.checked_add(delta);
            let beyond = || Error::Other("the sum is beyond the range of 64 bits".to_owned());
            let sum = sum.ok_or_else(beyond)?;
            values.insert(key.to_owned(), sum.to_string().into_bytes());
            Ok(sum)
        })
    }

    pub(super) fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<bool> {
        if self.get(key)?.as_deref() != expected {
            return Ok(false);
        }
        self.set(key, value)?;
        Ok(true)
    }

    pub(super) fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    pub(super) fn set_many(&self, pairs: &[(&str, &[u8])]) -> Result<()> {
        pairs
            .iter()
            .try_for_each(|(key, value)| self.set(key, value))
    }

    pub(super) fn delete_many(&self, keys: &[&str]) -> Result<()> {
        keys.iter().try_for_each(|key| self.delete(key))
    }
}
