//! Signs files as minisign does.

use std::fs;
use std::path::Path;

use ring::signature::{Ed25519KeyPair, KeyPair};

/// A key for signatures.
#[derive(Debug)]
pub(crate) struct Signer {
    key: Ed25519KeyPair,
    id: [u8; 8],
}

impl Signer {
    /// Creates the key that follows from a number.
    pub(crate) fn new(number: u8) -> Signer {
        Signer {
            key: Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("a key"),
            id: [number; 8],
        }
    }

    /// Returns the public key as minisign prints it.
    pub(crate) fn public_key(&self) -> String {
        base64(&[b"Ed", &self.id[..], self.key.public_key().as_ref()].concat())
    }

    /// Signs a file, and says that it was made at this time, in seconds since 1970.
    pub(crate) fn sign(&self, file: &Path, at_s: u64) {
        let comment = format!("timestamp:{at_s}\tfile:site.wasgi\thashed");
        self.sign_with(file, &comment);
    }

    /// Signs a file with this trusted comment.
    pub(crate) fn sign_with(&self, file: &Path, comment: &str) {
        let bytes = fs::read(file).expect("it can be read");
        let hash = blake2b_simd::blake2b(&bytes);
        let signature = self.key.sign(hash.as_bytes());
        let signature = signature.as_ref();
        let signed = [signature, comment.as_bytes()].concat();
        let whole = self.key.sign(&signed);
        let text = format!(
            "untrusted comment: a test's\n{}\ntrusted comment: {comment}\n{}\n",
            base64(&[b"ED", &self.id[..], signature].concat()),
            base64(whole.as_ref()),
        );
        let aside = file.with_extension("signature");
        fs::write(&aside, text).expect("written");
        fs::rename(aside, file.with_added_extension("minisig")).expect("renamed");
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let number = part
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte));
        let number = number << (8 * (3 - part.len()));
        for place in 0..4 {
            text.push(match place <= part.len() {
                true => char::from(DIGITS[number >> (18 - 6 * place) & 63]),
                false => '=',
            });
        }
    }
    text
}
