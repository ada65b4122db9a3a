//! The functions that the platform's code calls.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::time::Instant;

use hmac::{Hmac, Mac};
use rquickjs::{Ctx, Exception, Function, Object, Result, TypedArray};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::bindings::wasgi::gateway::gateway::{Environ, InputError};
use crate::client;
use crate::foreign::copy;
use crate::url;

/// The maximum size of one read, in bytes: what the server returns at most.
const READ_BYTES: u64 = 64 << 10;

/// The maximum size of a text for the log in one call, in bytes.
const LOG_BYTES: usize = 64 << 10;

thread_local! {
    /// The request in progress.
    static ENVIRON: RefCell<Option<Environ>> = const { RefCell::new(None) };
    /// The state of `Math.random`, zero until it is seeded.
    static RANDOM: Cell<[u64; 2]> = const { Cell::new([0; 2]) };
}

/// Reports whether a request is in progress. None is while a handler is loaded.
pub(crate) fn is_serving() -> bool {
    ENVIRON.with(|cell| cell.borrow().is_some())
}

/// Sets the request in progress.
pub(crate) fn set_environ(environ: Option<Environ>) {
    if environ.is_some() {
        client::end_all();
    }
    ENVIRON.with(|cell| *cell.borrow_mut() = environ);
}

/// Makes the next random number start from a new seed.
pub(crate) fn forget_seed() {
    RANDOM.set([0; 2]);
}

/// Writes to the handler's log, or to the standard error while it is loaded.
pub(crate) fn log(text: &str) {
    ENVIRON.with(|cell| match &*cell.borrow() {
        Some(environ) => {
            for piece in text.as_bytes().chunks(LOG_BYTES) {
                environ.write_errors(piece);
            }
        }
        None => eprint!("{text}"),
    });
}

/// Returns the functions as an object.
pub(crate) fn functions<'js>(cx: &Ctx<'js>) -> Result<Object<'js>> {
    let host = Object::new(cx.clone())?;
    let set = |name: &str, function: Result<Function<'js>>| host.set(name, function?);
    set("log", Function::new(cx.clone(), |text: String| log(&text)))?;
    set("now", Function::new(cx.clone(), now))?;
    set("variable", Function::new(cx.clone(), variable))?;
    set("variables", Function::new(cx.clone(), variables))?;
    set("granted", Function::new(cx.clone(), granted))?;
    set("read", Function::new(cx.clone(), read))?;
    set("readAll", Function::new(cx.clone(), read_all))?;
    set("random", Function::new(cx.clone(), random))?;
    set("randomBytes", Function::new(cx.clone(), random_bytes))?;
    set("encode", Function::new(cx.clone(), encode))?;
    set("decode", Function::new(cx.clone(), decode))?;
    set("decodeAs", Function::new(cx.clone(), decode_as))?;
    set("latin1", Function::new(cx.clone(), latin1))?;
    set("utf8", Function::new(cx.clone(), utf8))?;
    set("percentDecode", Function::new(cx.clone(), percent_decode))?;
    set(
        "parseUrl",
        Function::new(cx.clone(), |text: String, base: String| {
            url::parse(&text, &base)
        }),
    )?;
    let change = |href: String, part: String, value: String| url::change(&href, &part, &value);
    set("changeUrl", Function::new(cx.clone(), change))?;
    set("nesting", Function::new(cx.clone(), nesting))?;
    set("digest", Function::new(cx.clone(), digest))?;
    set("hmac", Function::new(cx.clone(), hmac))?;
    client::add_functions(cx, &host)?;
    Ok(host)
}

type Bytes<'js> = TypedArray<'js, u8>;

/// Returns the milliseconds since the first call in this process or snapshot.
fn now() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    Instant::now()
        .checked_duration_since(*start)
        .unwrap_or_default()
        .as_secs_f64()
        * 1000.0
}

fn with_environ<T>(cx: &Ctx<'_>, part: impl FnOnce(&Environ) -> Result<T>) -> Result<T> {
    ENVIRON.with(|cell| match &*cell.borrow() {
        Some(environ) => part(environ),
        None => Err(Exception::throw_type(
            cx,
            "there is no request while a handler is loaded",
        )),
    })
}

/// Returns a variable of the request, each byte a character.
fn variable(cx: Ctx<'_>, name: String) -> Result<Option<String>> {
    with_environ(&cx, |environ| {
        Ok(environ.get(&name).map(|value| characters(&value)))
    })
}

/// Returns the names and values of all variables, in turn.
fn variables(cx: Ctx<'_>) -> Result<Vec<String>> {
    with_environ(&cx, |environ| {
        let pairs = environ.variables().into_iter();
        Ok(pairs
            .flat_map(|(name, value)| [name, characters(&value)])
            .collect())
    })
}

/// Returns the names and values of the variables that are granted to the handler, in turn.
fn granted() -> Vec<String> {
    std::env::vars_os()
        .flat_map(|(name, value)| [name, value])
        .map(|text| text.to_string_lossy().into_owned())
        .collect()
}

/// Reads a block of the request's body: empty at its end.
fn read<'js>(cx: Ctx<'js>, size: f64) -> Result<Bytes<'js>> {
    let block = with_environ(&cx, |environ| {
        environ
            .read(size as u64)
            .map_err(|error| failed(&cx, error))
    })?;
    TypedArray::new(cx, block)
}

fn read_all<'js>(cx: Ctx<'js>) -> Result<Bytes<'js>> {
    let body = with_environ(&cx, |environ| {
        let mut body = Vec::new();
        loop {
            let block = environ
                .read(READ_BYTES)
                .map_err(|error| failed(&cx, error))?;
            if block.is_empty() {
                return Ok(body);
            }
            body.extend_from_slice(&block);
        }
    })?;
    TypedArray::new(cx, body)
}

fn failed(cx: &Ctx<'_>, error: InputError) -> rquickjs::Error {
    let why = match error {
        InputError::Disconnected => "the client has disconnected",
        InputError::TimedOut => "the client stopped sending it",
        InputError::TooLarge => "it is larger than the server accepts",
        InputError::Malformed => "its framing is invalid",
    };
    Exception::throw_type(cx, &format!("the request's body can't be read: {why}"))
}

/// Returns the next number of xorshift128+, at least 0 and less than 1.
fn random(cx: Ctx<'_>) -> Result<f64> {
    let mut state = RANDOM.get();
    if state == [0; 2] {
        let mut bytes = [0; 16];
        fill(&cx, &mut bytes)?;
        let (first, second) = bytes.split_at(8);
        let number = |half: &[u8]| half.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        state = [number(first), number(second) | 1];
    }
    let [mut a, b] = state;
    a ^= a << 23;
    a ^= a >> 17;
    a ^= b ^ (b >> 26);
    RANDOM.set([b, a]);
    // The upper 53 bits: those of a double.
    Ok((a.wrapping_add(b) >> 11) as f64 / (1u64 << 53) as f64)
}

fn random_bytes<'js>(cx: Ctx<'js>, length: f64) -> Result<Bytes<'js>> {
    let mut bytes = vec![0; length as usize];
    fill(&cx, &mut bytes)?;
    TypedArray::new(cx, bytes)
}

fn fill(cx: &Ctx<'_>, bytes: &mut [u8]) -> Result<()> {
    let filled = getrandom::fill(bytes);
    filled.map_err(|error| Exception::throw_type(cx, &format!("no random numbers: {error}")))
}

fn encode<'js>(cx: Ctx<'js>, text: String) -> Result<Bytes<'js>> {
    TypedArray::new(cx, text.into_bytes())
}

fn decode<'js>(cx: Ctx<'js>, bytes: Bytes<'js>, is_fatal: bool) -> Result<String> {
    let bytes = &copy(&cx, &bytes)?;
    match is_fatal {
        false => Ok(String::from_utf8_lossy(bytes).into_owned()),
        true => std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| Exception::throw_type(&cx, "the bytes are not UTF-8")),
    }
}

/// Decodes bytes of another encoding than UTF-8.
fn decode_as<'js>(
    cx: Ctx<'js>,
    bytes: Bytes<'js>,
    encoding: String,
    is_fatal: bool,
) -> Result<String> {
    let bytes = &copy(&cx, &bytes)?;
    if encoding != "utf-16le" {
        return Ok(bytes.iter().map(|byte| windows_1252(*byte)).collect());
    }
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let text = String::from_utf16(&units);
    if is_fatal && (text.is_err() || !rest.is_empty()) {
        return Err(Exception::throw_type(&cx, "the bytes are not UTF-16"));
    }
    let end = if rest.is_empty() { "" } else { "\u{fffd}" };
    Ok(text.unwrap_or_else(|_| String::from_utf16_lossy(&units)) + end)
}

/// Returns the character of a byte (Encoding Standard, index windows-1252).
fn windows_1252(byte: u8) -> char {
    const UPPER: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    match byte {
        0x80..0xa0 => UPPER[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

fn latin1<'js>(cx: Ctx<'js>, bytes: Bytes<'js>) -> Result<String> {
    Ok(characters(&copy(&cx, &bytes)?))
}

/// Decodes a text of which each character is a byte.
fn utf8(text: String) -> String {
    let bytes: Vec<u8> = text.chars().map(|character| character as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn characters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn percent_decode(text: String) -> String {
    percent_encoding::percent_decode_str(&text)
        .decode_utf8_lossy()
        .into_owned()
}

/// Returns the deepest nesting of a JSON text. Brackets in strings don't count.
fn nesting(text: String) -> u32 {
    let (mut depth, mut deepest, mut is_string, mut is_escaped) = (0u32, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn digest<'js>(cx: Ctx<'js>, name: String, bytes: Bytes<'js>) -> Result<Bytes<'js>> {
    let bytes = &copy(&cx, &bytes)?;
    let digest = match name.as_str() {
        "SHA-1" => Sha1::digest(bytes).to_vec(),
        "SHA-256" => Sha256::digest(bytes).to_vec(),
        "SHA-384" => Sha384::digest(bytes).to_vec(),
        _ => Sha512::digest(bytes).to_vec(),
    };
    TypedArray::new(cx, digest)
}

fn hmac<'js>(cx: Ctx<'js>, name: String, key: Bytes<'js>, bytes: Bytes<'js>) -> Result<Bytes<'js>> {
    fn code<M: Mac + hmac::digest::KeyInit>(key: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mac = <M as Mac>::new_from_slice(key);
        let finished = mac.map(|mac| mac.chain_update(bytes).finalize().into_bytes().to_vec());
        // HMAC has keys of every length.
        finished.unwrap_or_default()
    }
    let (key, bytes) = (&copy(&cx, &key)?, &copy(&cx, &bytes)?);
    let code = match name.as_str() {
        "SHA-1" => code::<Hmac<Sha1>>(key, bytes),
        "SHA-256" => code::<Hmac<Sha256>>(key, bytes),
        "SHA-384" => code::<Hmac<Sha384>>(key, bytes),
        _ => code::<Hmac<Sha512>>(key, bytes),
    };
    TypedArray::new(cx, code)
}
