//! What a handler attempts with key-value buckets, in both drafts of `wasi:keyvalue`.

/// Attempts `BUCKET,ACTION,KEY,VALUE` in the version 0.2.0-draft2.
pub(crate) fn attempt(argument: &str) -> String {
    draft2::attempt(argument).unwrap_or_else(|error| format!("error: {error}"))
}

/// Attempts `BUCKET,ACTION,KEY,VALUE` in the version 0.2.0-draft.
pub(crate) fn attempt_draft(argument: &str) -> String {
    draft::attempt(argument).unwrap_or_else(|error| format!("error: {error}"))
}

/// The parts of an argument. A value `*N` is N bytes long.
struct Parts<'a> {
    bucket: &'a str,
    action: &'a str,
    key: String,
    value: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn parse(argument: &'a str) -> Self {
        let mut parts = argument.splitn(4, ',');
        let mut part = || parts.next().unwrap_or("");
        let (bucket, action, key, value) = (part(), part(), part(), part());
        let long = |text: &str| match text.strip_prefix('*') {
            Some(count) => "x".repeat(count.parse().unwrap_or(0)),
            None => text.to_owned(),
        };
        Self {
            bucket,
            action,
            key: long(key),
            value: long(value).into_bytes(),
        }
    }
}

fn text(value: Option<Vec<u8>>) -> String {
    match value {
        Some(value) => String::from_utf8_lossy(&value).into_owned(),
        None => "none".to_owned(),
    }
}

/// Defines what is attempted alike in both drafts, whose modules must be in scope.
macro_rules! attempts_of_both {
    () => {
        fn show(error: store::Error) -> String {
            match error {
                store::Error::NoSuchStore => "no such store".to_owned(),
                store::Error::AccessDenied => "access denied".to_owned(),
                store::Error::Other(why) => why,
            }
        }

        pub(super) fn attempt(argument: &str) -> Result<String, String> {
            let Parts {
                bucket,
                action,
                key,
                value,
            } = Parts::parse(argument);
            let bucket = &store::open(bucket).map_err(show)?;
            let (key, value) = (&*key, &*value);
            match action {
                "get" => bucket.get(key).map(text).map_err(show),
                "set" => bucket
                    .set(key, value)
                    .map(|()| "set".to_owned())
                    .map_err(show),
                "delete" => bucket
                    .delete(key)
                    .map(|()| "deleted".to_owned())
                    .map_err(show),
                "exists" => bucket.exists(key).map(|it| it.to_string()).map_err(show),
                "add" => {
                    let delta = String::from_utf8_lossy(value).parse().unwrap_or(1);
                    let sum = atomics::increment(bucket, key, delta);
                    sum.map(|sum| sum.to_string()).map_err(show)
                }
                _ => attempt_own(bucket, action, key, value),
            }
        }
    };
}

mod draft2 {
    use super::{Parts, text};

    #[allow(unsafe_code, unreachable_pub, missing_docs, clippy::all, unused)]
    mod bindings {
        wit_bindgen::generate!({
            path: "../../wit/keyvalue/draft2.wit",
            world: "imports",
            generate_all,
        });
    }

    use bindings::wasi::keyvalue::{atomics, batch, store};

    attempts_of_both!();

    /// Attempts what only this draft has, or what differs.
    fn attempt_own(
        bucket: &store::Bucket,
        action: &str,
        key: &str,
        value: &[u8],
    ) -> Result<String, String> {
        match action {
            // Compare-and-swap in place of an increment.
            "swap" => {
                let mut cas = atomics::Cas::new(bucket, key).map_err(show)?;
                loop {
                    let old = cas.current().map_err(show)?.unwrap_or_default();
                    let old: i64 = String::from_utf8_lossy(&old).parse().unwrap_or(0);
                    match atomics::swap(cas, (old + 1).to_string().as_bytes()) {
                        Ok(()) => return Ok((old + 1).to_string()),
                        Err(atomics::CasError::CasFailed(again)) => cas = again,
                        Err(atomics::CasError::StoreError(error)) => return Err(show(error)),
                    }
                }
            }
            // A swap after another change.
            "stale" => {
                let cas = atomics::Cas::new(bucket, key).map_err(show)?;
                bucket.set(key, b"changed").map_err(show)?;
                match atomics::swap(cas, b"swapped") {
                    Ok(()) => Ok("swapped".to_owned()),
                    Err(atomics::CasError::CasFailed(again)) => {
                        let current = again.current().map_err(show)?;
                        atomics::swap(again, b"again").map_err(|_| "failed twice")?;
                        Ok(format!("refused: {}", text(current)))
                    }
                    Err(atomics::CasError::StoreError(error)) => Err(show(error)),
                }
            }
            "keys" => {
                let (mut keys, mut cursor) = (Vec::new(), None);
                loop {
                    let page = bucket.list_keys(cursor.as_deref()).map_err(show)?;
                    keys.extend(page.keys);
                    cursor = page.cursor;
                    if cursor.is_none() {
                        return Ok(keys.join(" "));
                    }
                }
            }
            "batch" => {
                let pairs = [("b1", "one"), ("b2", "two")];
                let pairs = pairs.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
                batch::set_many(bucket, &pairs).map_err(show)?;
                let keys = ["b2", "none", "b1"].map(str::to_owned);
                let found = batch::get_many(bucket, &keys).map_err(show)?;
                batch::delete_many(bucket, &keys).map_err(show)?;
                let show = |pair: Option<(String, Vec<u8>)>| match pair {
                    Some((key, value)) => format!("{key}={}", text(Some(value))),
                    None => "none".to_owned(),
                };
                Ok(found.into_iter().map(show).collect::<Vec<_>>().join(" "))
            }
            // Sets two keys together.
            "both" => {
                let keys = [format!("first-{key}"), format!("last-{key}")];
                let pairs = keys.map(|key| (key, value.to_vec()));
                batch::set_many(bucket, &pairs).map_err(show)?;
                Ok("set".to_owned())
            }
            // Asks for the first page without end.
            "endless-keys" => loop {
                bucket.list_keys(None).map_err(show)?;
            },
            // More handles than an instance may have.
            "handles" => {
                let mut all = Vec::new();
                for _ in 0..1_000_000 {
                    all.push(store::open("default").map_err(show)?);
                }
                Ok(all.len().to_string())
            }
            _ => Err(format!("unknown: {action}")),
        }
    }
}

mod draft {
    use super::{Parts, text};

    #[allow(unsafe_code, unreachable_pub, missing_docs, clippy::all, unused)]
    mod bindings {
        wit_bindgen::generate!({
            path: "../../wit/keyvalue/draft.wit",
            world: "imports",
            generate_all,
        });
    }

    use bindings::wasi::keyvalue::{atomics, batch, store};

    attempts_of_both!();

    /// Attempts what only this draft has, or what differs.
    fn attempt_own(
        bucket: &store::Bucket,
        action: &str,
        _key: &str,
        _value: &[u8],
    ) -> Result<String, String> {
        match action {
            "fill" => {
                for first in 0..3 {
                    let pairs: Vec<(String, Vec<u8>)> = (0..900)
                        .map(|at| (format!("{first}-{at:03}"), Vec::new()))
                        .collect();
                    batch::set_many(bucket, &pairs).map_err(show)?;
                }
                Ok("filled".to_owned())
            }
            "keys" => {
                let (mut keys, mut cursor) = (Vec::new(), None);
                loop {
                    let page = bucket.list_keys(cursor).map_err(show)?;
                    keys.extend(page.keys);
                    cursor = page.cursor;
                    if cursor.is_none() {
                        return Ok(keys.join(" "));
                    }
                }
            }
            "cursor" => {
                let page = bucket.list_keys(Some(7)).map_err(show)?;
                Ok(page.keys.join(" "))
            }
            _ => Err(format!("unknown: {action}")),
        }
    }
}
