//! Version 1: a line of text.
//!
//! ```text
//! PROXY TCP4 192.0.2.1 198.51.100.7 51234 443 CRLF
//! PROXY UNKNOWN … CRLF
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::announced::{Announced, Malformed};

/// The first bytes of a header.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The maximum length of a line, including CRLF, in bytes: computed in the specification (section
/// 2.1).
const LINE_BYTES: usize = 107;

/// Parses a header of version 1; see [`parse`](super::parse).
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Announced, usize)>, Malformed> {
    let window = bytes.get(..LINE_BYTES).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| b"\r\n".contains(byte)) else {
        return if window.len() < LINE_BYTES {
            Ok(None)
        } else {
            Err(Malformed("a PROXY line is longer than 107 bytes"))
        };
    };
    match window.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        Some([b'\r']) if window.len() < LINE_BYTES => return Ok(None),
        _ => return Err(Malformed("a PROXY line does not end in CR LF")),
    }
    let line = window.get(SIGNATURE.len()..end).unwrap_or_default();
    let line = str::from_utf8(line).map_err(|_| Malformed("a PROXY line is not ASCII"))?;
    Ok(Some((announced(line)?, end + 2)))
}

/// Parses a line without its signature and its end.
fn announced(line: &str) -> Result<Announced, Malformed> {
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // "The receiver must ignore anything presented before the CRLF" (section 2.1).
        return Ok(Announced::Nothing);
    }
    let [
        Some(client),
        Some(server),
        Some(client_port),
        Some(server_port),
        None,
    ] = [
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
    ]
    else {
        return Err(Malformed("a PROXY line does not have six words"));
    };
    Ok(Announced::Addresses {
        client: SocketAddr::new(address(family, client)?, port(client_port)?),
        server: SocketAddr::new(address(family, server)?, port(server_port)?),
    })
}

fn address(family: &str, text: &str) -> Result<IpAddr, Malformed> {
    let address = match family {
        "TCP4" => text.parse().ok().map(|address: Ipv4Addr| address.into()),
        "TCP6" => text.parse().ok().map(|address: Ipv6Addr| address.into()),
        _ => return Err(Malformed("a PROXY line has an unknown family")),
    };
    address.ok_or(Malformed("an address of a PROXY line is invalid"))
}

/// Parses a decimal port without a sign or leading zeros.
fn port(text: &str) -> Result<u16, Malformed> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    text.parse()
        .ok()
        .filter(|_| is_decimal && is_short)
        .ok_or(Malformed("a port of a PROXY line is invalid"))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn addresses(client: &str, server: &str) -> Announced {
        Announced::Addresses {
            client: client.parse().expect(client),
            server: server.parse().expect(server),
        }
    }

    /// Returns the verdict on `bytes`, after checking that each shorter prefix has none.
    fn verdict(bytes: &[u8]) -> Result<Option<(Announced, usize)>, Malformed> {
        let last = bytes.len().saturating_sub(1);
        for length in 0..last {
            assert_eq!(
                parse(&bytes[..length]),
                Ok(None),
                "{length} of {}",
                bytes.escape_ascii()
            );
        }
        parse(bytes)
    }

    #[test]
    fn valid_lines_name_the_addresses() {
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let long = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
        let unknown = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
        assert_eq!(unknown.len(), LINE_BYTES);
        let widest = format!("[{longest}]:65535");
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.7 51234 443\r\n",
                addresses("192.0.2.1:51234", "198.51.100.7:443"),
            ),
            (
                "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
                addresses("0.0.0.0:0", "255.255.255.255:65535"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
                addresses("[2001:db8::1]:1", "[::1]:2"),
            ),
            (&long, addresses(&widest, &widest)),
            ("PROXY UNKNOWN\r\n", Announced::Nothing),
            ("PROXY UNKNOWN what ever\r\n", Announced::Nothing),
            (&unknown, Announced::Nothing),
        ] {
            let length = line.len();
            assert_eq!(verdict(line.as_bytes()), Ok(Some((expected, length))));
            let more = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(parse(more.as_bytes()), Ok(Some((expected, length))));
        }
    }

    #[test]
    fn invalid_lines_are_rejected() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
            "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWN\rX",
        ] {
            assert!(verdict(line.as_bytes()).is_err(), "{}", line.escape_debug());
        }
        assert!(parse(b"PROXY UNKNOWN \xff\r\n").is_err());
    }

    #[test]
    fn a_line_that_does_not_end_is_refused_where_it_should_have() {
        let mut line = b"PROXY UNKNOWN ".to_vec();
        line.resize(LINE_BYTES, b'x');
        assert!(verdict(&line).is_err());
        line[LINE_BYTES - 1] = b'\r';
        assert!(verdict(&line).is_err());
    }
}
