//! The version 0.2.0-draft2.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::access::{Denied, check_cursor, digest, unexpected};
use super::bindings::draft2::wasi::keyvalue::{atomics, batch, store};
use super::opened::{Bucket, Cas};
use crate::engine::call::state::State;
use crate::state::{Operation, Reply};

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
        cursor: Option<String>,
    ) -> Result<Answer<store::KeyResponse>> {
        if let Err(denied) = check_cursor(&cursor) {
            return Ok(Err(denied.into()));
        }
        let page = self.keys(&this, cursor).await?;
        let page = page.map(|(keys, cursor)| store::KeyResponse { keys, cursor });
        Ok(page.map_err(Into::into))
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
        delta: i64,
    ) -> Result<Answer<i64>> {
        Ok(self.add(&bucket, key, delta).await?.map_err(Into::into))
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> Result<std::result::Result<(), atomics::CasError>> {
        let Cas {
            bucket,
            key,
            digest: expected,
        } = self.opened()?.table.delete(cas)?;
        let swap = Operation::Swap(key.clone(), expected, value);
        let swapped = match self.ask(bucket.clone(), swap).await? {
            Ok(Reply::Flag(swapped)) => swapped,
            Ok(_) => return Ok(Err(store_error(unexpected()))),
            Err(denied) => return Ok(Err(store_error(denied))),
        };
        if swapped {
            return Ok(Ok(()));
        }
        match State::get(self, bucket.clone(), key.clone()).await? {
            Ok(value) => {
                let digest = digest(value.as_deref());
                let cas = Cas {
                    bucket,
                    key,
                    digest,
                };
                let cas = self.opened()?.table.push(cas)?;
                Ok(Err(atomics::CasError::CasFailed(cas)))
            }
            Err(denied) => Ok(Err(store_error(denied))),
        }
    }
}

fn store_error(denied: Denied) -> atomics::CasError {
    atomics::CasError::StoreError(denied.into())
}

impl atomics::HostCas for State {
    async fn new(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Answer<Resource<Cas>>> {
        let bucket = self.bucket(&bucket)?;
        let value = State::get(self, bucket.clone(), key.clone()).await?;
        let value = match value {
            Ok(value) => value,
            Err(denied) => return Ok(Err(denied.into())),
        };
        let digest = digest(value.as_deref());
        let cas = Cas {
            bucket,
            key,
            digest,
        };
        Ok(Ok(self.opened()?.table.push(cas)?))
    }

    async fn current(&mut self, this: Resource<Cas>) -> Result<Answer<Option<Vec<u8>>>> {
        let cas = self.opened()?.table.get(&this)?;
        let (bucket, key) = (cas.bucket.clone(), cas.key.clone());
        let value = State::get(self, bucket, key).await?;
        if let Ok(value) = &value {
            self.opened()?.table.get_mut(&this)?.digest = digest(value.as_deref());
        }
        Ok(value.map_err(Into::into))
    }

    async fn drop(&mut self, this: Resource<Cas>) -> Result<()> {
        self.opened()?.table.delete(this)?;
        Ok(())
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
