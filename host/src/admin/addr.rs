//! The address of the admin listener: `127.0.0.1:9000`, `9000`, `unix:/run/wasgi/admin.sock`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::server::addr;

/// The beginning of the address of a Unix socket.
const UNIX: &str = "unix:";

/// The maximum length of a Unix socket's path, in bytes (unix(7)).
const MAX_PATH_BYTES: usize = 107;

/// The address of the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddr {
    /// A loopback address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl AdminAddr {
    /// Parses an address.
    ///
    /// # Errors
    ///
    /// Fails if the text is not an address, or if other machines could reach the address.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return match path.len() {
                0 => Err("the path is missing: write \"unix:/run/wasgi/admin.sock\"".into()),
                1..=MAX_PATH_BYTES if !path.contains('\0') => Ok(Self::Unix(path.into())),
                _ => Err(format!(
                    "a socket's path has at most {MAX_PATH_BYTES} bytes, and no NUL"
                )),
            };
        }
        Self::from_addr(addr::parse(text)?)
    }

    fn from_addr(addr: SocketAddr) -> Result<Self, String> {
        if addr.ip().to_canonical().is_loopback() {
            return Ok(Self::Tcp(addr));
        }
        let port = addr.port();
        Err(format!(
            "other machines could reach {addr}, and the admin listener asks for no password: use \
             \"127.0.0.1:{port}\" or \"unix:PATH\""
        ))
    }
}

impl fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl Serialize for AdminAddr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AdminAddr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = AdminAddr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as \"127.0.0.1:9000\", a port, or \"unix:PATH\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AdminAddr, E> {
                AdminAddr::parse(text).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, port: i64) -> Result<AdminAddr, E> {
                AdminAddr::parse(&port.to_string()).map_err(E::custom)
            }
        }

        from.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_on_this_machine() {
        for (text, shown) in [
            ("127.0.0.1:9000", "127.0.0.1:9000"),
            ("127.1.2.3:0", "127.1.2.3:0"),
            ("[::1]:9000", "[::1]:9000"),
            ("[::ffff:127.0.0.1]:9000", "[::ffff:127.0.0.1]:9000"),
            ("9000", "127.0.0.1:9000"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:a.sock", "unix:a.sock"),
        ] {
            let addr = AdminAddr::parse(text).expect(text);
            assert_eq!(addr.to_string(), shown);
            assert_eq!(AdminAddr::parse(shown), Ok(addr));
        }
    }

    #[test]
    fn an_address_that_other_machines_reach_is_refused() {
        for text in [
            "0.0.0.0:9000",
            "[::]:9000",
            "192.0.2.1:9000",
            "[2001:db8::1]:9000",
        ] {
            let why = AdminAddr::parse(text).expect_err(text);
            assert!(why.contains("asks for no password"), "{why}");
            assert!(why.contains("127.0.0.1:9000"), "{why}");
        }
        for text in [
            "unix:",
            "127.0.0.1",
            "",
            "http://127.0.0.1:9000/",
            "unix:a\0b",
        ] {
            AdminAddr::parse(text).expect_err(text);
        }
        AdminAddr::parse(&format!("unix:{}", "a".repeat(108))).expect_err("too long");
    }
}
