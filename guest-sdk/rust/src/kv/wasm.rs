//! The server's buckets.

use super::error::{Error, Result};
use crate::bindings::key_value::wasi::keyvalue::{atomics, batch, store};

#[derive(Debug)]
pub(super) struct Bucket(store::Bucket);

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NoSuchStore => Self::NoSuchStore,
            store::Error::AccessDenied => Self::AccessDenied,
            store::Error::Other(why) => Self::Other(why),
        }
    }
}

impl Bucket {
    pub(super) fn open(name: &str) -> Result<Self> {
        Ok(Self(store::open(name)?))
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key)?)
    }

    pub(super) fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        Ok(self.0.set(key, value)?)
    }

    pub(super) fn delete(&self, key: &str) -> Result<()> {
        Ok(self.0.delete(key)?)
    }

    pub(super) fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.0.exists(key)?)
    }

    pub(super) fn keys(&self, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>)> {
        let page = self.0.list_keys(cursor)?;
        Ok((page.keys, page.cursor))
    }

    pub(super) fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        Ok(atomics::increment(&self.0, key, delta)?)
    }

    pub(super) fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<bool> {
        let cas = atomics::Cas::new(&self.0, key)?;
        if cas.current()?.as_deref() != expected {
            return Ok(false);
        }
        match atomics::swap(cas, value) {
            Ok(()) => Ok(true),
            Err(atomics::CasError::CasFailed(_)) => Ok(false),
            Err(atomics::CasError::StoreError(error)) => Err(error.into()),
        }
    }

    pub(super) fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let pairs = batch::get_many(&self.0, &keys)?;
        let value = |pair: Option<(String, Vec<u8>)>| pair.map(|(_, value)| value);
        Ok(pairs.into_iter().map(value).collect())
    }

    pub(super) fn set_many(&self, pairs: &[(&str, &[u8])]) -> Result<()> {
        let pairs = pairs.iter();
        let pairs: Vec<(String, Vec<u8>)> = pairs
            .map(|(key, value)| ((*key).to_owned(), value.to_vec()))
            .collect();
        Ok(batch::set_many(&self.0, &pairs)?)
    }

    pub(super) fn delete_many(&self, keys: &[&str]) -> Result<()> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        Ok(batch::delete_many(&self.0, &keys)?)
    }
}
