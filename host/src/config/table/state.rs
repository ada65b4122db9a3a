//! The keys of `[state]`.

use super::super::Config;
use super::super::key::{Key, Place, key, place};
use super::super::value::Field;
use super::at::at;
use super::bounds::KIB;
use crate::state::{MAX_BATCH_BYTES, MAX_KEY_BYTES};
use crate::units::size;

pub(super) const STATE_KEYS: &[Key<Config>] = &[
    key("state.folder", at!(state.folder))
        .unset("the site's `state`")
        .restart()
        .doc("the folder of the embedded store, which is created when it is first used"),
    key("state.url", at!(state.url))
        .unset("none: the embedded store")
        .restart()
        .doc("a Redis server to use instead: `redis://HOST:PORT/DATABASE`, or `unix:///PATH`"),
    key("state.prefix", at!(state.prefix))
        .restart()
        .doc("the front of the names of all keys in Redis"),
    key("state.key-size", at!(buckets.key_bytes))
        .size(1, MAX_KEY_BYTES)
        .doc("length of a key, {bounds}; see [state](state.md#limits)"),
    key("state.value-size", at!(buckets.value_bytes))
        .size(1, MAX_BATCH_BYTES)
        .doc("size of a value, {bounds}"),
    key("state.keys", at!(buckets.keys_count))
        .count(1, 1_000_000_000)
        .doc("keys in one bucket, {bounds}"),
    key("state.bucket-size", at!(buckets.bucket_bytes))
        .size(KIB, size::MAX_BYTES)
        .doc("size of all keys and values in one bucket, {bounds}"),
    key("state.total-size", at!(buckets.total_bytes))
        .size(KIB, size::MAX_BYTES)
        .doc("size of all keys and values in all buckets together, {bounds}"),
];
