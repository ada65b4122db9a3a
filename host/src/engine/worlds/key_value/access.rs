//! Access to granted buckets, for both drafts.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::opened::{Bucket, KeyValue};
use crate::engine::call::refusals::Thing;
use crate::engine::call::state::HostState;
use crate::engine::worlds::refused::ungranted;
use crate::printable;
use crate::state::{
    BucketId, Digest, Failure, MAX_KEY_BYTES, Operation, Reply, Store, check_bucket_name,
};
use crate::traces::{ActiveSpan, Attribute};

/// The maximum length of a bucket's name in the log, in bytes.
const NAME_BYTES: usize = 64;

/// The name that an empty name stands for.
const DEFAULT: &str = "default";

/// Why an operation has failed, in either draft.
pub(super) enum Denied {
    Access,
    Failed(Failure),
}

/// The result of a function of either draft.
pub(super) type Answer<T> = std::result::Result<T, Denied>;

impl HostState {
    /// Opens a bucket that is granted.
    pub(super) fn open_bucket(&mut self, name: &str) -> Result<Answer<Resource<Bucket>>> {
        let name = match name {
            "" => DEFAULT,
            name => name,
        };
        let grants = self.grants();
        let granted = grants.and_then(|grants| grants.bucket(self.handler(), name));
        let Some(id) = granted else {
            let known = match check_bucket_name(name) {
                Ok(()) => name,
                Err(_) => DEFAULT,
            };
            let shown = printable::front(name, NAME_BYTES);
            let what = format!("the key-value bucket {shown:?}, which it doesn't have");
            let text = ungranted(self, &what, &format!("key-value = [\"{known}\"]"));
            self.refuse(Thing::KeyValue, &text);
            return Ok(Err(Denied::Access));
        };
        let Some(key_value) = &mut self.key_value else {
            return Ok(Err(failed("there is no store here")));
        };
        Ok(Ok(key_value.table.push(Bucket(id))?))
    }

    pub(super) fn bucket(&mut self, bucket: &Resource<Bucket>) -> Result<BucketId> {
        Ok(self.opened()?.table.get(bucket)?.0.clone())
    }

    /// Returns what the instance has opened. It has at least one bucket then.
    pub(super) fn opened(&mut self) -> Result<&mut KeyValue> {
        let none = || wasmtime::format_err!("no bucket is open");
        self.key_value.as_deref_mut().ok_or_else(none)
    }

    /// Executes an operation while the guest waits.
    pub(super) async fn ask(
        &mut self,
        bucket: BucketId,
        operation: Operation,
    ) -> Result<Answer<Reply>> {
        let store = self.opened()?.store.clone();
        let mut span = self.state_span(&store, &bucket, &operation);
        let reply = store.call(bucket, operation).await;
        if let (Some(span), Err(_)) = (&mut span, &reply) {
            span.fail("failed");
        }
        Ok(reply.map_err(Denied::Failed))
    }

    /// Begins the span of an operation, if the trace of the request is recorded. Keys and values
    /// are not part of it.
    fn state_span(
        &self,
        store: &Store,
        bucket: &BucketId,
        operation: &Operation,
    ) -> Option<ActiveSpan> {
        // Without a trace, nothing is formatted.
        self.environ.trace.as_ref()?;
        let mut span = self.client_span(format!("{} {bucket}", operation.name()))?;
        for (key, value) in [
            ("db.system.name", store.system()),
            ("db.operation.name", operation.name()),
            ("db.collection.name", bucket.as_str()),
        ] {
            span.set(Attribute::text(key, value.as_bytes()));
        }
        Some(span)
    }

    /// Returns the value of a key.
    pub(super) async fn value(
        &mut self,
        bucket: BucketId,
        key: String,
    ) -> Result<Answer<Option<Vec<u8>>>> {
        let reply = self.ask(bucket, Operation::Get(key)).await?;
        Ok(reply.and_then(|reply| match reply {
            Reply::Value(value) => Ok(value),
            _ => Err(unexpected()),
        }))
    }

    /// Returns a page of keys, and the last of them unless there are no more.
    pub(super) async fn keys(
        &mut self,
        bucket: &Resource<Bucket>,
        after: Option<String>,
    ) -> Result<Answer<(Vec<String>, Option<String>)>> {
        let bucket = self.bucket(bucket)?;
        let reply = self.ask(bucket, Operation::Keys(after)).await?;
        Ok(reply.and_then(|reply| match reply {
            Reply::Keys(keys, has_more) => {
                let last = keys.last().filter(|_| has_more).cloned();
                Ok((keys, last))
            }
            _ => Err(unexpected()),
        }))
    }

    /// Executes an operation without a result.
    pub(super) async fn execute(
        &mut self,
        bucket: &Resource<Bucket>,
        operation: Operation,
    ) -> Result<Answer<()>> {
        let bucket = self.bucket(bucket)?;
        let reply = self.ask(bucket, operation).await?;
        Ok(reply.map(drop))
    }

    pub(super) async fn has_key(
        &mut self,
        bucket: &Resource<Bucket>,
        key: String,
    ) -> Result<Answer<bool>> {
        let bucket = self.bucket(bucket)?;
        let reply = self.ask(bucket, Operation::Exists(key)).await?;
        Ok(reply.and_then(|reply| match reply {
            Reply::Flag(exists) => Ok(exists),
            _ => Err(unexpected()),
        }))
    }

    pub(super) async fn add(
        &mut self,
        bucket: &Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<Answer<i64>> {
        let bucket = self.bucket(bucket)?;
        let reply = self.ask(bucket, Operation::Increment(key, delta)).await?;
        Ok(reply.and_then(|reply| match reply {
            Reply::Number(sum) => Ok(sum),
            _ => Err(unexpected()),
        }))
    }

    pub(super) async fn many(
        &mut self,
        bucket: &Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Answer<Vec<Option<(String, Vec<u8>)>>>> {
        let bucket = self.bucket(bucket)?;
        let reply = self.ask(bucket, Operation::GetMany(keys.clone())).await?;
        Ok(reply.and_then(|reply| match reply {
            Reply::Values(values) => {
                let pairs = keys.into_iter().zip(values);
                Ok(pairs.map(|(key, value)| Some((key, value?))).collect())
            }
            _ => Err(unexpected()),
        }))
    }

    pub(super) fn close_bucket(&mut self, bucket: Resource<Bucket>) -> Result<()> {
        self.opened()?.table.delete(bucket)?;
        Ok(())
    }
}

/// Checks a cursor before it is copied further.
pub(super) fn check_cursor(cursor: &Option<String>) -> Answer<()> {
    match cursor {
        Some(cursor) if cursor.len() as u64 > MAX_KEY_BYTES => {
            Err(failed("there is no such cursor"))
        }
        _ => Ok(()),
    }
}

pub(super) fn failed(text: &str) -> Denied {
    Denied::Failed(Failure(text.to_owned()))
}

pub(super) fn unexpected() -> Denied {
    failed("the store has sent an unexpected reply")
}

/// Returns the digest of a value.
pub(super) fn digest(value: Option<&[u8]>) -> Option<Digest> {
    value.map(|value| *blake3::hash(value).as_bytes())
}
