//! What a handler attempts with variables, files and key-value buckets, for the handlers of each
//! kind.

use std::io::{self, Write};
use std::{env, fs};

#[path = "key_value.rs"]
mod key_value;

/// Attempts what a query asks for: `ACTION=ARGUMENT`, with a second argument after a comma. Returns
/// the result, or the kind of error.
pub(crate) fn attempt(query: &str) -> String {
    let (action, argument) = query.split_once('=').unwrap_or((query, ""));
    let (first, second) = argument.split_once(',').unwrap_or((argument, ""));
    match action {
        "variable" => env::var(first).unwrap_or_else(|_| "not set".to_owned()),
        "variables" => env::vars()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect(),
        "read" => told(fs::read_to_string(first)),
        "write" => told(fs::write(first, second).map(|()| "written".to_owned())),
        "append" => told(append(first, second)),
        "list" => told(list(first)),
        "remove" => told(fs::remove_file(first).map(|()| "removed".to_owned())),
        "rename" => told(fs::rename(first, second).map(|()| "renamed".to_owned())),
        "link" => told(fs::hard_link(first, second).map(|()| "linked".to_owned())),
        "count" => told(count(first)),
        "length" => told(fs::metadata(first).map(|file| file.len().to_string())),
        "fill" => told(fill(first)),
        "hoard" => hoard(|| fs::File::open(first), second),
        "hoard-lists" => hoard(|| fs::read_dir(first), second),
        "kv" => key_value::attempt(argument),
        "kv1" => key_value::attempt_draft(argument),
        _ => format!("unknown: {query}"),
    }
}

fn told(result: io::Result<String>) -> String {
    result.unwrap_or_else(|error| format!("error: {:?}", error.kind()))
}

/// Appends to a file without end.
fn fill(path: &str) -> io::Result<String> {
    let mut file = fs::File::options().append(true).create(true).open(path)?;
    loop {
        file.write_all(&[b'x'; 4096])?;
    }
}

/// Opens something as often as possible, also what others close meanwhile, and holds all until a
/// file exists. Returns their number and the kind of error.
fn hoard<T>(open: impl Fn() -> io::Result<T>, until: &str) -> String {
    let mut opened = Vec::new();
    loop {
        match open() {
            Ok(one) => opened.push(one),
            Err(error) if fs::metadata(until).is_ok() => {
                return format!("{} {:?}", opened.len(), error.kind());
            }
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
}

fn append(path: &str, text: &str) -> io::Result<String> {
    let mut file = fs::File::options().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok("appended".to_owned())
}

fn list(path: &str) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

/// Adds one to the number in a file, without a lock: requests at the same time lose some.
fn count(path: &str) -> io::Result<String> {
    let count: u64 = match fs::read_to_string(path) {
        Ok(text) => text.parse().map_err(io::Error::other)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    fs::write(path, (count + 1).to_string())?;
    Ok((count + 1).to_string())
}
