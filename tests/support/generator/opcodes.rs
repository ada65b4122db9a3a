//! The value types and instructions of WebAssembly that generated files have, as bytes.

// Value types.
pub(crate) const I32: u8 = 0x7f;
pub(crate) const I64: u8 = 0x7e;
pub(crate) const F64: u8 = 0x7c;
pub(crate) const V128: u8 = 0x7b;

// Instructions.
pub(crate) const BLOCK: u8 = 0x02;
pub(crate) const LOOP: u8 = 0x03;
pub(crate) const IF: u8 = 0x04;
pub(crate) const BR_TABLE: u8 = 0x0e;
pub(crate) const CALL: u8 = 0x10;
pub(crate) const DROP: u8 = 0x1a;
pub(crate) const LOCAL_GET: u8 = 0x20;
pub(crate) const LOCAL_SET: u8 = 0x21;
pub(crate) const I32_CONST: u8 = 0x41;
pub(crate) const I32_ADD: u8 = 0x6a;
pub(crate) const UNREACHABLE: u8 = 0x00;
/// The type of a block without a result.
pub(crate) const NO_RESULT: u8 = 0x40;
