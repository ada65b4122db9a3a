//! The version 0.2.0-draft.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::access::{Denied, failed};
use super::bindings::draft::wasi::keyvalue::{atomics, batch, store};
use super::opened::Bucket;
use crate::engine::call::state::State;
use crate::state::Operation;

type Answer<T> = std::result::Result<T, store::Error>;

impl From<Denied> for store::Error {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Access => Self::AccessDenied,
            Denied::Failed(failure) => Self::Other(failure.0),
        }
    }
}

impl store::Host for State {
    async fn open(&mut self, identifier: String) -> Result<Answer<Resource<Bucket>>> {
        Ok(self.open_bucket(&identifier)?.map_err(Into::into))
    }
}

impl store::HostBucket for State {
    async fn get(
        &mut self,
        this: Resource<Bucket>,
        key: String,
    ) -> Result<Answer<Option<Vec<u8>>>> {
        let bucket = self.bucket(&this)?;
        Ok(State::get(self, bucket, key).await?.map_err(Into::into))
    }

    async fn set(
        &mut self,
        this: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<Answer<()>> {
        let done = self.execute(&this, Operation::Set(key, value)).await?;
        Ok(done.map_err(Into::into))
    }

    async fn delete(&mut self, this: Resource<Bucket>, key: String) -> Result<Answer<()>> {
        let done = self.execute(&this, Operation::Delete(key)).await?;
        Ok(done.map_err(Into::into))
    }

    async fn exists(&mut self, this: Resource<Bucket>, key: String) -> Result<Answer<bool>> {
        Ok(self.has_key(&this, key).await?.map_err(Into::into))
    }

    async fn list_keys(
        &mut self,
        this: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> Result<Answer<store::KeyResponse>> {
        let after = match cursor {
            None => None,
            Some(number) => match self.opened()?.cursor(number) {
                Some(key) => Some(key),
                None => return Ok(Err(failed("there is no such cursor").into())),
            },
        };
        let (keys, last) = match self.keys(&this, after).await? {
            Ok(page) => page,
            Err(denied) => return Ok(Err(denied.into())),
        };
        let opened = self.opened()?;
        let cursor = last.map(|key| opened.add_cursor(key));
        Ok(Ok(store::KeyResponse { keys, cursor }))
    }

    async fn drop(&mut self, this: Resource<Bucket>) -> Result<()> {
        self.close_bucket(this)
    }
}

impl atomics::Host for State {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> Result<Answer<u64>> {
        let Ok(delta) = i64::try_from(delta) else {
            return Ok(Err(failed("numbers have 63 bits and a sign").into()));
        };
        let sum = self.add(&bucket, key, delta).await?;
        let sum = sum.and_then(|sum| {
            let negative = |_| failed("the sum is negative, which this version can't express");
            u64::try_from(sum).map_err(negative)
        });
        Ok(sum.map_err(Into::into))
    }
}

impl batch::Host for State {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Answer<Vec<Option<(String, Vec<u8>)>>>> {
        Ok(self.many(&bucket, keys).await?.map_err(Into::into))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<Answer<()>> {
        let done = self.execute(&bucket, Operation::SetMany(pairs)).await?;
        Ok(done.map_err(Into::into))
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Answer<()>> {
        let done = self.execute(&bucket, Operation::DeleteMany(keys)).await?;
        Ok(done.map_err(Into::into))
    }
}
