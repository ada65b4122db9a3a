//! CRC-32C (Castagnoli), an optional part of a version 2 header. Headers are short and arrive once
//! per connection: computing bit by bit is fast enough and needs no table.

/// The polynomial 0x1EDC6F41, its bits in reverse (RFC 3385 section 3).
const REVERSED_POLYNOMIAL: u32 = 0x82F6_3B78;

/// Returns the checksum of the concatenation of `parts`.
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = if crc & 1 == 1 { REVERSED_POLYNOMIAL } else { 0 };
            crc = (crc >> 1) ^ carry;
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is the check value of the CRC catalogues, the others are from RFC 3720 appendix
    /// B.4.
    #[test]
    fn published_inputs_have_their_published_sums() {
        assert_eq!(crc32c(&[b"1234", b"", b"56789"]), 0xE306_9283);
        assert_eq!(crc32c(&[&[0; 32]]), 0x8A91_36AA);
        assert_eq!(crc32c(&[&[0xFF; 32]]), 0x62A8_AB43);
        assert_eq!(crc32c(&[]), 0);
    }
}
