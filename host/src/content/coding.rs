//! Content codings: what a body can be compressed with, and how a whole one is.

use std::io::{self, Write};

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    /// `br`, RFC 7932.
    Brotli,
    /// `zstd`, RFC 8878.
    Zstd,
    /// `gzip`, RFC 1952.
    Gzip,
}

/// Brotli's quality, of 0 to 11, and its window in bits. From 5 on the time doubles with each; a
/// window of 256 KiB holds the longest page that is compressed here.
pub(super) const BROTLI_QUALITY: i32 = 4;
pub(super) const BROTLI_WINDOW_BITS: i32 = 18;

/// zstd's own default: smaller than gzip's result, in a third of its time.
pub(super) const ZSTD_LEVEL: i32 = 3;

/// Of 1 to 9. The usual 6 takes half as long again, for two hundredths less.
pub(super) const GZIP_LEVEL: u32 = 4;

impl Coding {
    /// All of them, the one that makes the smallest files first, when there is time: the order in
    /// which files that were compressed beforehand are preferred.
    pub(crate) const BY_SIZE: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

    /// All of them, the fastest first: the order for what is compressed while a client waits.
    pub(crate) const BY_SPEED: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    /// Its name in `Content-Encoding` and `Accept-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// How the name of a file ends that is a page in this coding.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Zstd => ".zst",
            Coding::Gzip => ".gz",
        }
    }

    /// Compresses `bytes`. The caller limits how many: this takes up to some milliseconds for each
    /// 100 KiB.
    pub(crate) fn compress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Coding::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Coding::Brotli => {
                let parameters = brotli::enc::BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: BROTLI_WINDOW_BITS,
                    size_hint: bytes.len(),
                    ..Default::default()
                };
                let mut compressed = Vec::new();
                brotli::BrotliCompress(&mut &*bytes, &mut compressed, &parameters)?;
                Ok(compressed)
            }
        }
    }
}

/// What `bytes` were before `coding` was applied.
#[cfg(test)]
pub(crate) fn decompress(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes)
            .read_to_end(&mut plain)
            .map(|_| ()),
        Coding::Brotli => brotli::BrotliDecompress(&mut &*bytes, &mut plain),
        Coding::Zstd => zstd::stream::copy_decode(bytes, &mut plain),
    }
    .expect("what was compressed");
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let text = "a line of text, again and again\n".repeat(1_000);
        for coding in Coding::BY_SIZE {
            for bytes in [text.as_bytes(), b"", b"x"] {
                let compressed = coding.compress(bytes).expect("compressed");
                assert_eq!(decompress(coding, &compressed), bytes, "{coding:?}");
            }
            let compressed = coding.compress(text.as_bytes()).expect("compressed");
            assert!(compressed.len() < text.len() / 50, "{coding:?}");
        }
    }
}
