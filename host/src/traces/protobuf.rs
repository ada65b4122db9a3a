//! The wire format of Protocol Buffers, as far as OTLP's messages need it. (The crate `prost` would
//! change the features of a dependency of wasmtime's macros.)
//!
//! ```text
//! message = *( key value )        key = varint of field number << 3 | wire type
//! wire types: 0 varint, 1 fixed 64 bits, 2 length and bytes, 5 fixed 32 bits
//! ```

/// The wire types.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

/// Encodes a message. A field with its default value is omitted, as the format requires of most.
#[derive(Debug, Default)]
pub(super) struct Encoder(Vec<u8>);

/// A value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl Encoder {
    /// Returns the message.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Adds text or bytes, unless they are empty.
    pub(super) fn bytes(&mut self, field: u8, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes_always(field, bytes);
        }
    }

    /// Adds text or bytes.
    pub(super) fn bytes_always(&mut self, field: u8, bytes: &[u8]) {
        self.key(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Adds a number, unless it is 0.
    pub(super) fn number(&mut self, field: u8, number: u64) {
        if number != 0 {
            self.number_always(field, number);
        }
    }

    /// Adds a number.
    pub(super) fn number_always(&mut self, field: u8, number: u64) {
        self.key(field, VARINT);
        self.varint(number);
    }

    /// Adds a number of 64 bits, unless it is 0.
    pub(super) fn fixed64(&mut self, field: u8, number: u64) {
        if number != 0 {
            self.key(field, FIXED64);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Adds a number of 32 bits, unless it is 0.
    pub(super) fn fixed32(&mut self, field: u8, number: u32) {
        if number != 0 {
            self.key(field, FIXED32);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Adds a message.
    pub(super) fn message(&mut self, field: u8, encode: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        encode(&mut inner);
        self.bytes_always(field, &inner.0);
    }

    fn key(&mut self, field: u8, wire_type: u8) {
        self.varint(u64::from(field) << 3 | u64::from(wire_type));
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

/// Returns the fields of a message, with their numbers. The last item is `None` if the message is
/// malformed there. Numbers of fixed length are bytes.
pub(super) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Option<(u64, Field<'_>)>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = next_field(&mut bytes);
        if field.is_none() {
            bytes = &[];
        }
        Some(field)
    })
}

fn next_field<'b>(bytes: &mut &'b [u8]) -> Option<(u64, Field<'b>)> {
    let key = take_varint(bytes)?;
    let number = key >> 3;
    if number == 0 {
        return None;
    }
    let field = match (key & 7) as u8 {
        VARINT => Field::Number(take_varint(bytes)?),
        FIXED64 => Field::Bytes(take(bytes, 8)?),
        LENGTH => {
            let length = usize::try_from(take_varint(bytes)?).ok()?;
            Field::Bytes(take(bytes, length)?)
        }
        FIXED32 => Field::Bytes(take(bytes, 4)?),
        _ => return None,
    };
    Some((number, field))
}

fn take<'b>(bytes: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
