//! Compressing a body as it comes: each block leaves the encoder at once, so that none is held
//! back (B1).

use std::io::{self, Write};

use super::Coding;
use super::coding::{BROTLI_QUALITY, BROTLI_WINDOW_BITS, GZIP_LEVEL, ZSTD_LEVEL};

/// How far zstd looks back, as a power of two: 128 KiB. With its own 2 MiB, each response in work
/// would take some megabytes of memory.
const ZSTD_WINDOW_LOG: u32 = 17;

/// What brotli collects before it compresses, in bytes.
const BROTLI_BUFFER_BYTES: usize = 8 * 1024;

/// A body in the making, in one coding. It takes up to a megabyte of memory.
pub(crate) enum Encoder {
    /// `br`.
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    /// `zstd`.
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    /// `gzip`.
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
}

impl Encoder {
    /// # Errors
    ///
    /// There is no memory for it.
    pub(crate) fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
                Self::Zstd(Box::new(encoder))
            }
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Self::Gzip(Box::new(flate2::write::GzEncoder::new(Vec::new(), level)))
            }
            Coding::Brotli => {
                let parameters = brotli::enc::BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: BROTLI_WINDOW_BITS,
                    ..Default::default()
                };
                let to = Vec::new();
                Self::Brotli(Box::new(brotli::CompressorWriter::with_params(
                    to,
                    BROTLI_BUFFER_BYTES,
                    &parameters,
                )))
            }
        })
    }

    /// Compresses a block; what comes out can be decompressed without what follows. The caller
    /// limits how long the block is: some milliseconds for each 100 KiB.
    ///
    /// # Errors
    ///
    /// The encoder fails; the body can't be continued.
    pub(crate) fn block(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Brotli(encoder) => {
                encoder.write_all(block)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Zstd(encoder) => {
                encoder.write_all(block)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Gzip(encoder) => {
                encoder.write_all(block)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    /// What has to follow the last block.
    ///
    /// # Errors
    ///
    /// The encoder fails; the body can't be ended.
    pub(crate) fn end(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let coding = match self {
            Self::Brotli(_) => Coding::Brotli,
            Self::Zstd(_) => Coding::Zstd,
            Self::Gzip(_) => Coding::Gzip,
        };
        f.debug_tuple("Encoder").field(&coding).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::coding::decompress;
    use super::*;

    #[test]
    fn blocks_together_are_one_body() {
        let text = "a line of text, again and again\n".repeat(1_000);
        for coding in Coding::BY_SIZE {
            let mut encoder = Encoder::new(coding).expect("memory");
            let mut sent = Vec::new();
            for block in text.as_bytes().chunks(1_000) {
                sent.extend(encoder.block(block).expect("compressed"));
            }
            sent.extend(encoder.end().expect("ended"));
            assert!(sent.len() < text.len() / 4, "{coding:?}");
            assert_eq!(decompress(coding, &sent), text.as_bytes(), "{coding:?}");
        }
    }

    #[test]
    fn b1_a_block_can_be_read_before_the_next_is_there() {
        for coding in Coding::BY_SIZE {
            let mut encoder = Encoder::new(coding).expect("memory");
            let mut sent = encoder.block(b"the first block").expect("compressed");
            let mut read = [0; 15];
            let reader = io::Cursor::new(sent.clone());
            let result = match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(reader).read_exact(&mut read),
                Coding::Brotli => brotli::Decompressor::new(reader, 64).read_exact(&mut read),
                Coding::Zstd => zstd::stream::read::Decoder::new(reader)
                    .expect("memory")
                    .read_exact(&mut read),
            };
            result.expect("the block can be read");
            assert_eq!(&read, b"the first block", "{coding:?}");
            sent.extend(encoder.end().expect("ended"));
            assert_eq!(decompress(coding, &sent), b"the first block");
        }
    }
}
