//! Request bodies, and the responses that tests expect.

/// The bytes in one MiB.
pub(crate) const MIB: usize = 1024 * 1024;

/// Returns pseudo-random bytes: a regular pattern could hide a reordering.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Returns the FNV-1a hash, as the guest `read-all` computes it.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Encodes a body in chunks of many sizes.
pub(crate) fn chunked(body: &[u8]) -> Vec<u8> {
    let sizes = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000];
    let mut sizes = sizes.iter().cycle();
    let (mut chunks, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let size = rest.len().min(*sizes.next().expect("a cycle has no end"));
        let (chunk, behind) = rest.split_at(size);
        chunks.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
        rest = behind;
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    chunks
}
