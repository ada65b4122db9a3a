//! The functions that both drafts have with the same signature.
//!
//! The generated traits of the two versions differ in their modules alone, so that a macro
//! implements them.

/// Implements a draft's opening of buckets and its functions for several keys. `store` and `batch`
/// are its generated modules.
macro_rules! common_interfaces {
    ($store:ident, $batch:ident) => {
        type Answer<T> = std::result::Result<T, $store::Error>;

        impl From<Denied> for $store::Error {
            fn from(denied: Denied) -> Self {
                match denied {
                    Denied::Access => Self::AccessDenied,
                    Denied::Failed(failure) => Self::Other(failure.0),
                }
            }
        }

        impl $store::Host for HostState {
            async fn open(&mut self, identifier: String) -> Result<Answer<Resource<Bucket>>> {
                Ok(self.open_bucket(&identifier)?.map_err(Into::into))
            }
        }

        impl $batch::Host for HostState {
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
    };
}

/// Implements the functions of a bucket, in an implementation of the trait `HostBucket` that adds
/// the list of keys.
macro_rules! common_bucket_functions {
    () => {
        async fn get(
            &mut self,
            this: Resource<Bucket>,
            key: String,
        ) -> Result<Answer<Option<Vec<u8>>>> {
            let bucket = self.bucket(&this)?;
            Ok(self.value(bucket, key).await?.map_err(Into::into))
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

        async fn drop(&mut self, this: Resource<Bucket>) -> Result<()> {
            self.close_bucket(this)
        }
    };
}

pub(super) use {common_bucket_functions, common_interfaces};
