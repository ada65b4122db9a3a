//! Version 2: binary.
//!
//! ```text
//! signature (12) │ version, command (1) │ family, transport (1) │ length (2) │ addresses │ TLVs
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::announced::{Announced, HEADER_BYTES, Malformed, is_prefix};
use super::crc32c::crc32c;

/// The first bytes of a header. No other protocol begins with them.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of the part before the addresses, in bytes.
const FIXED_BYTES: usize = 16;

/// The type of the extension with a checksum of the header (section 2.2.4).
const TYPE_CRC32C: u8 = 0x03;

/// Parses a header of version 2; see [`parse`](super::parse).
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Announced, usize)>, Malformed> {
    if !is_prefix(bytes, SIGNATURE) {
        return Err(Malformed("it does not begin with a PROXY header"));
    }
    let after = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    if let Some(first) = after.first() {
        check_version(*first)?;
    }
    let [command, family, high, low, ..] = *after else {
        return Ok(None);
    };
    let end = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if end > HEADER_BYTES {
        return Err(Malformed("a PROXY header is longer than 4 KiB"));
    }
    let Some(header) = bytes.get(..end) else {
        return Ok(None);
    };
    let body = header.get(FIXED_BYTES..).unwrap_or_default();
    let (announced, extensions) = addresses(family, body)?;
    check_extensions(header, extensions)?;
    let announced = if command & 0x0F == 0 {
        // LOCAL: the addresses don't describe this connection.
        Announced::Nothing
    } else {
        announced
    };
    Ok(Some((announced, end)))
}

fn check_version(byte: u8) -> Result<(), Malformed> {
    match (byte >> 4, byte & 0x0F) {
        (2, 0 | 1) => Ok(()),
        (2, _) => Err(Malformed("a PROXY header has an unknown command")),
        _ => Err(Malformed("a PROXY header has an unknown version")),
    }
}

/// Parses the addresses. Returns them with the bytes that follow.
fn addresses(family: u8, body: &[u8]) -> Result<(Announced, &[u8]), Malformed> {
    const SHORT: Malformed = Malformed("a PROXY header is shorter than its addresses");
    match family {
        // Unspecified transport.
        0x00 => Ok((Announced::Nothing, b"")),
        // IPv4, stream.
        0x11 => {
            let (addresses, rest) = body.split_first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, e, f, g, h, i, j, k, l] = *addresses;
            let client = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([i, j]));
            let server = (Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([k, l]));
            Ok((both(client.into(), server.into()), rest))
        }
        // IPv6, stream.
        0x21 => {
            let (client, rest) = body.split_first_chunk::<16>().ok_or(SHORT)?;
            let (server, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (ports, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            let [i, j, k, l] = *ports;
            let client = (Ipv6Addr::from(*client), u16::from_be_bytes([i, j]));
            let server = (Ipv6Addr::from(*server), u16::from_be_bytes([k, l]));
            Ok((both(client.into(), server.into()), rest))
        }
        // A Unix socket, stream: two paths of 108 bytes, which are ignored.
        0x31 => {
            let (_, rest) = body.split_first_chunk::<216>().ok_or(SHORT)?;
            Ok((Announced::Nothing, rest))
        }
        _ => Err(Malformed("a PROXY header's family is not a stream's")),
    }
}

fn both(client: SocketAddr, server: SocketAddr) -> Announced {
    Announced::Addresses { client, server }
}

/// Checks that the extensions (type, length, value) fill the header, and that a checksum is
/// correct.
fn check_extensions(header: &[u8], mut rest: &[u8]) -> Result<(), Malformed> {
    const CUT: Malformed = Malformed("an extension of a PROXY header is truncated");
    while !rest.is_empty() {
        let ([kind, high, low], after) = rest.split_first_chunk::<3>().ok_or(CUT)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, after) = after.split_at_checked(length).ok_or(CUT)?;
        if *kind == TYPE_CRC32C {
            let before = header.len() - after.len() - length;
            let before = header.get(..before).unwrap_or_default();
            if value != crc32c(&[before, &[0; 4], after]).to_be_bytes() {
                return Err(Malformed("the checksum of a PROXY header is wrong"));
            }
        }
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xC8, 0x22, 0x01, 0xBB];

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("a test's header is short");
        let length = length.to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    fn v4() -> Announced {
        both(
            "192.0.2.1:51234".parse().expect("an address"),
            "198.51.100.7:443".parse().expect("an address"),
        )
    }

    /// Returns the verdict on the header, also with one more byte after it: the verdict must
    /// neither come before the header is complete nor depend on later bytes.
    fn verdict(header: &[u8]) -> Result<Announced, Malformed> {
        for length in 0..header.len() {
            if let Err(error) = parse(&header[..length]) {
                assert_eq!(parse(header), Err(error), "{}", header.escape_ascii());
                return Err(error);
            }
            assert_eq!(parse(&header[..length]), Ok(None), "{length}");
        }
        let alone = parse(header);
        let followed = parse(&[header, b"G"].concat());
        assert_eq!(alone, followed);
        alone.map(|found| {
            let (announced, length) = found.expect("the header is whole");
            assert_eq!(length, header.len());
            announced
        })
    }

    #[test]
    fn valid_headers_name_the_addresses() {
        let v6: Vec<u8> = (0..36).collect();
        let announced = both(
            "[1:203:405:607:809:a0b:c0d:e0f]:8225".parse().expect("one"),
            "[1011:1213:1415:1617:1819:1a1b:1c1d:1e1f]:8739"
                .parse()
                .expect("one"),
        );
        let name = [&V4[..], &[0x02, 0, 3, b'a', b'.', b'b'], &[0x04, 0, 0]].concat();
        for (header, expected) in [
            (header(0x21, 0x11, &V4), v4()),
            (header(0x21, 0x11, &name), v4()),
            (header(0x21, 0x21, &v6), announced),
            (header(0x20, 0x11, &V4), Announced::Nothing),
            (header(0x20, 0x00, &[]), Announced::Nothing),
            (header(0x21, 0x00, &[1, 2, 3]), Announced::Nothing),
            (header(0x21, 0x31, &[0; 216]), Announced::Nothing),
        ] {
            assert_eq!(verdict(&header), Ok(expected), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn invalid_headers_are_rejected() {
        let cut = [&V4[..], &[0x02, 0, 3, b'a']].concat();
        let too_short = [&V4[..], &[0x02, 0]].concat();
        for header in [
            header(0x11, 0x11, &V4),
            header(0x31, 0x11, &V4),
            header(0x22, 0x11, &V4),
            header(0x21, 0x12, &V4),
            header(0x21, 0x41, &V4),
            header(0x21, 0x11, &V4[..11]),
            header(0x21, 0x21, &[0; 35]),
            header(0x21, 0x31, &[0; 215]),
            header(0x21, 0x11, &cut),
            header(0x21, 0x11, &too_short),
            header(0x21, 0x00, &[0; HEADER_BYTES - FIXED_BYTES + 1]),
        ] {
            assert!(verdict(&header).is_err(), "{}", header.escape_ascii());
        }
        assert!(verdict(b"\r\n\r\n\0\r\nQUIX").is_err());
    }

    #[test]
    fn a_checksum_covers_all_of_the_header() {
        let mut body = V4.to_vec();
        body.extend([TYPE_CRC32C, 0, 4, 0, 0, 0, 0]);
        body.extend([0x04, 0, 2, 7, 7]);
        let mut header = header(0x21, 0x11, &body);
        let at = FIXED_BYTES + V4.len() + 3;
        let sum = crc32c(&[&header]);
        header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(verdict(&header), Ok(v4()));
        for place in [FIXED_BYTES, at, at + 3, header.len() - 1] {
            let mut broken = header.clone();
            broken[place] ^= 1;
            assert!(parse(&broken).is_err(), "{place}");
        }
        // Wrong length for a checksum.
        let mut body = V4.to_vec();
        body.extend([TYPE_CRC32C, 0, 1, 0]);
        assert!(verdict(&self::header(0x21, 0x11, &body)).is_err());
    }
}
