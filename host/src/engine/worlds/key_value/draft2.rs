//! The version 0.2.0-draft2.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::access::{Denied, check_cursor, digest, unexpected};
use super::bindings::draft2::wasi::keyvalue::{atomics, batch, store};
use super::common::{common_bucket_functions, common_interfaces};
use super::opened::{Bucket, Cas};
use crate::engine::call::state::HostState;
use crate::state::{Operation, Reply};

common_interfaces!(store, batch);

impl store::HostBucket for HostState {
    common_bucket_functions!();

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
}

impl atomics::Host for HostState {
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
        match self.value(bucket.clone(), key.clone()).await? {
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

impl atomics::HostCas for HostState {
    async fn new(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Answer<Resource<Cas>>> {
        let bucket = self.bucket(&bucket)?;
        let value = self.value(bucket.clone(), key.clone()).await?;
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
        let value = self.value(bucket, key).await?;
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
