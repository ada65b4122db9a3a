//! The rules for a status, a field name and a field value: what RFC 9110 allows, and what PEP 3333
//! allows an application to send.
//!
//! The server and the native tests of a handler's SDK check a head with the same functions, so a
//! head that passes in a test passes in the server. [`bytes`] has the classes of bytes, [`names`]
//! the field names with a special meaning, [`head`] the rules for a response head, and [`range`]
//! the bytes that a request asks for.

pub mod bytes;
pub mod head;
pub mod names;
pub mod range;
