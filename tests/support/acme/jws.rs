//! Signed requests (RFC 7515, RFC 8555 section 6.2), as a directory verifies them.

use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;

/// A request whose signature is correct.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) nonce: String,
    pub(crate) url: String,
    /// The URL of the account; none for a new one.
    pub(crate) account: Option<String>,
    pub(crate) key: Key,
    /// `Null` for POST-as-GET.
    pub(crate) payload: Value,
}

/// The public key of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    x: String,
    y: String,
}

impl Key {
    /// Returns the thumbprint (RFC 7638).
    pub(crate) fn thumbprint(&self) -> String {
        let Key { x, y } = self;
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        encode(digest(&SHA256, text.as_bytes()).as_ref())
    }

    fn point(&self) -> Vec<u8> {
        [vec![4], decode(&self.x), decode(&self.y)].concat()
    }
}

/// Verifies a request. `key_of` returns the key of an account.
pub(crate) fn verify(
    body: &[u8],
    key_of: impl Fn(&str) -> Option<Key>,
) -> Result<Signed, &'static str> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "no JSON")?;
    let part = |name: &str| body[name].as_str().ok_or("a part is missing");
    let (protected, payload) = (part("protected")?, part("payload")?);
    let head: Value = serde_json::from_slice(&decode(protected)).map_err(|_| "no header")?;
    if head["alg"] != "ES256" {
        return Err("another algorithm");
    }
    let account = head["kid"].as_str().map(str::to_owned);
    let key = match (&account, &head["jwk"]) {
        (Some(account), Value::Null) => key_of(account).ok_or("an unknown account")?,
        (None, jwk) => Key {
            x: jwk["x"].as_str().ok_or("no key")?.to_owned(),
            y: jwk["y"].as_str().ok_or("no key")?.to_owned(),
        },
        _ => return Err("both kid and jwk"),
    };
    let signed = format!("{protected}.{payload}");
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point())
        .verify(signed.as_bytes(), &decode(part("signature")?))
        .map_err(|_| "the signature is wrong")?;
    let text = |name: &str| head[name].as_str().unwrap_or_default().to_owned();
    Ok(Signed {
        nonce: text("nonce"),
        url: text("url"),
        account,
        key,
        payload: match payload {
            "" => Value::Null,
            text => serde_json::from_slice(&decode(text)).map_err(|_| "no payload")?,
        },
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Encodes bytes in base64url without padding (RFC 7515 section 2).
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for index in 0..=chunk.len() {
            let digit = bits >> (18 - 6 * index) & 63;
            text.push(char::from(ALPHABET[digit as usize]));
        }
    }
    text
}

/// Decodes base64url. Other bytes are ignored.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes() {
        let Some(value) = ALPHABET.iter().position(|known| *known == digit) else {
            continue;
        };
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
