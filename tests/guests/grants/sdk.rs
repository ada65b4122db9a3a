//! Responds with the granted variable that its query names, or counts in a granted bucket, through
//! the SDK.

use wasgi_sdk::{Environ, Result, StartResponse, kv};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let query = environ.get("QUERY_STRING").unwrap_or_default();
    let query = String::from_utf8_lossy(&query);
    let value = match query.strip_prefix("kv=") {
        Some(bucket) => Some(use_bucket(bucket).unwrap_or_else(|error| format!("error: {error}"))),
        None => wasgi_sdk::variable(&query),
    };
    start_response.call("200 OK", &TEXT)?;
    Ok(value.unwrap_or_else(|| "not set".to_owned()))
}

/// Uses each function of the SDK once.
fn use_bucket(name: &str) -> kv::Result<String> {
    let bucket = kv::open(name)?;
    bucket.set("a", "one")?;
    bucket.set_many(&[("b", b"two"), ("c", b"")])?;
    let many = bucket.get_many(&["b", "none"])?.len();
    bucket.delete("c")?;
    let exists = (bucket.exists("a")?, bucket.exists("c")?);
    let sum = bucket.increment("n", 2)?;
    let new = bucket.update("b", |old| [old.unwrap_or_default(), b"!".to_vec()].concat())?;
    let swapped = (
        bucket.compare_and_swap("a", Some(b"x"), "y")?,
        bucket.compare_and_swap("a", Some(b"one"), "y")?,
    );
    let keys: Vec<String> = bucket.keys().collect::<kv::Result<_>>()?;
    let text = bucket.get_text("a")?;
    bucket.delete_many(&["a", "b", "n"])?;
    let new = String::from_utf8_lossy(&new).into_owned();
    Ok(format!(
        "{many} {exists:?} {sum} {new} {swapped:?} {keys:?} {text:?}"
    ))
}
