//! The version 0.2.0-draft.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::access::{Denied, failed};
use super::bindings::draft::wasi::keyvalue::{atomics, batch, store};
use super::common::{common_bucket_functions, common_interfaces};
use super::opened::Bucket;
use crate::engine::call::state::HostState;
use crate::state::Operation;

common_interfaces!(store, batch);

impl store::HostBucket for HostState {
    common_bucket_functions!();

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
}

impl atomics::Host for HostState {
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
