//! What a status, a field name and a field value may be, as RFC 9110 says it, and what of them an
//! application may send, as PEP 3333 says it.
//!
//! The server and the tests of a handler's SDK check a head with the same functions, so a head
//! that passes in a test passes in the server. [`bytes`] has the classes of bytes, [`names`] the
//! names with a meaning to a server, [`head`] the rules of a response's head, and [`range`] which
//! bytes a request asks for.

pub mod bytes;
pub mod head;
pub mod names;
pub mod range;
