//! Key-value buckets, for the module `wasgi:kv`.
//!
//! The platform's code calls one function with the name of an operation, a bucket and arguments,
//! and gets a pair: why it failed, or an empty text, and the result.
//!
//! The Rust SDK has the same calls in `wasgi_sdk::kv`. They are not shared: each crate has the
//! bindings of its own world, whose types are different ones, and a value is copied from the
//! interpreter's memory here and taken from the caller there.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rquickjs::function::{Opt, Rest};
use rquickjs::{Array, Ctx, Exception, Function, IntoJs, Null, Object, Result, TypedArray, Value};

use crate::bindings::key_value::wasi::keyvalue::{atomics, batch, store};
use crate::foreign::copy;
use crate::host;

/// The maximum size of a key, in bytes: the server accepts no longer ones, whatever its limits.
const MAX_KEY_BYTES: usize = 16 << 10;

/// The maximum size of a value, in bytes: the server accepts no larger ones, whatever its limits.
const MAX_VALUE_BYTES: usize = 4 << 20;

thread_local! {
    /// The buckets that the request has opened, by their names.
    static BUCKETS: RefCell<BTreeMap<String, store::Bucket>> = const { RefCell::new(BTreeMap::new()) };
}

/// Why an operation has failed.
enum Failure {
    Store(store::Error),
    /// A code and a text.
    Own(&'static str, String),
    /// An exception is pending.
    Thrown(rquickjs::Error),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<rquickjs::Error> for Failure {
    fn from(error: rquickjs::Error) -> Self {
        Self::Thrown(error)
    }
}

type Done<'js> = std::result::Result<Value<'js>, Failure>;

/// Adds the function to those of the host.
pub(crate) fn add_functions<'js>(cx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    host.set("kv", Function::new(cx.clone(), call)?)
}

/// Closes all buckets: those of another request may have been granted otherwise.
pub(crate) fn close_all() {
    BUCKETS.with_borrow_mut(BTreeMap::clear);
}

fn call<'js>(
    cx: Ctx<'js>,
    operation: String,
    name: String,
    first: Opt<Value<'js>>,
    rest: Rest<Value<'js>>,
) -> Result<Array<'js>> {
    if !host::is_serving() {
        let why = "kv: a handler has no buckets while it is loaded";
        return Err(Exception::throw_type(&cx, why));
    }
    let done = BUCKETS.with_borrow_mut(|buckets| {
        if !buckets.contains_key(&name) {
            check_length("bucket's name", name.len(), MAX_KEY_BYTES)?;
            buckets.insert(name.clone(), store::open(&name)?);
        }
        match buckets.get(&name) {
            Some(bucket) => execute(&cx, bucket, &operation, first.0, &rest.0),
            None => Err(Failure::Own("unavailable", "it is not open".into())),
        }
    });
    let pair = Array::new(cx.clone())?;
    match done {
        Ok(value) => {
            pair.set(0, "")?;
            pair.set(1, value)?;
        }
        Err(Failure::Thrown(error)) => return Err(error),
        Err(failure) => pair.set(0, told(failure))?,
    }
    Ok(pair)
}

fn execute<'js>(
    cx: &Ctx<'js>,
    bucket: &store::Bucket,
    operation: &str,
    first: Option<Value<'js>>,
    rest: &[Value<'js>],
) -> Done<'js> {
    let first = first.unwrap_or_else(|| Value::new_undefined(cx.clone()));
    match operation {
        "keys" => {
            let after: Option<String> = first.get()?;
            return keys(cx, bucket, after.as_deref());
        }
        "getMany" => return get_many(cx, bucket, &first.get::<Vec<String>>()?),
        _ => {}
    }
    let key: String = first.get()?;
    check_length("key", key.len(), MAX_KEY_BYTES)?;
    let bytes = |at: usize| match rest.get(at) {
        Some(value) if !value.is_null() => {
            let bytes: TypedArray<'js, u8> = value.get()?;
            let bytes = copy(cx, &bytes)?;
            check_length("value", bytes.len(), MAX_VALUE_BYTES)?;
            Ok::<_, Failure>(Some(bytes))
        }
        _ => Ok(None),
    };
    Ok(match operation {
        "get" => value_of(cx, bucket.get(&key)?)?,
        "exists" => bucket.exists(&key)?.into_js(cx)?,
        "delete" => {
            bucket.delete(&key)?;
            Value::new_undefined(cx.clone())
        }
        "set" => {
            bucket.set(&key, &bytes(0)?.unwrap_or_default())?;
            Value::new_undefined(cx.clone())
        }
        "increment" => {
            let delta: Option<String> = rest.first().map(Value::get).transpose()?;
            let delta = delta.and_then(|delta| delta.parse::<i64>().ok());
            let beyond = "the delta is beyond the range of 64 bits";
            let delta = delta.ok_or(Failure::Own("not-a-number", beyond.into()))?;
            let sum = atomics::increment(bucket, &key, delta)?;
            sum.to_string().into_js(cx)?
        }
        "swap" => swap(bucket, &key, bytes(0)?.as_deref(), &bytes(1)?.unwrap_or_default())?
            .into_js(cx)?,
        _ => return Err(Failure::Own("unavailable", "no such operation".into())),
    })
}

fn keys<'js>(cx: &Ctx<'js>, bucket: &store::Bucket, after: Option<&str>) -> Done<'js> {
    let page = bucket.list_keys(after)?;
    let result = Object::new(cx.clone())?;
    result.set("keys", page.keys)?;
    match page.cursor {
        Some(cursor) => result.set("cursor", cursor)?,
        None => result.set("cursor", Null)?,
    }
    Ok(result.into_value())
}

fn get_many<'js>(cx: &Ctx<'js>, bucket: &store::Bucket, keys: &[String]) -> Done<'js> {
    for key in keys {
        check_length("key", key.len(), MAX_KEY_BYTES)?;
    }
    let values = Array::new(cx.clone())?;
    for (at, pair) in batch::get_many(bucket, keys)?.into_iter().enumerate() {
        values.set(at, value_of(cx, pair.map(|(_, value)| value))?)?;
    }
    Ok(values.into_value())
}

fn swap(
    bucket: &store::Bucket,
    key: &str,
    expected: Option<&[u8]>,
    value: &[u8],
) -> std::result::Result<bool, Failure> {
    let cas = atomics::Cas::new(bucket, key)?;
    if cas.current()?.as_deref() != expected {
        return Ok(false);
    }
    match atomics::swap(cas, value) {
        Ok(()) => Ok(true),
        Err(atomics::CasError::CasFailed(_)) => Ok(false),
        Err(atomics::CasError::StoreError(error)) => Err(error.into()),
    }
}

fn value_of<'js>(cx: &Ctx<'js>, value: Option<Vec<u8>>) -> Result<Value<'js>> {
    match value {
        Some(value) => Ok(TypedArray::new(cx.clone(), value)?.into_value()),
        None => Ok(Value::new_null(cx.clone())),
    }
}

fn check_length(what: &str, length: usize, max: usize) -> std::result::Result<(), Failure> {
    match length <= max {
        true => Ok(()),
        false => {
            let text = format!("the {what} has {length} bytes; the limit is {max} or less");
            Err(Failure::Own("limit", text))
        }
    }
}

/// Returns a code and a text.
fn told(failure: Failure) -> String {
    match failure {
        Failure::Store(store::Error::AccessDenied) => "access-denied the bucket is not granted to \
             this handler; the server's log has the line to add"
            .into(),
        Failure::Store(store::Error::NoSuchStore) => "unavailable there is no such store".into(),
        Failure::Store(store::Error::Other(why)) => format!("{} {why}", code_of(&why)),
        Failure::Own(code, why) => format!("{code} {why}"),
        Failure::Thrown(error) => format!("unavailable {error}"),
    }
}

/// Returns the code of a message of the server.
fn code_of(why: &str) -> &'static str {
    let has = |part| why.contains(part);
    if has("the limit is") || has("the bucket is full") {
        "limit"
    } else if has("is not a number") || has("beyond the range") {
        "not-a-number"
    } else {
        "unavailable"
    }
}
