//! PBKDF2 (RFC 8018) and scrypt (RFC 7914).

use core::ptr;

use alloc::vec;
use pbkdf2::pbkdf2_hmac as derive;

use crate::python::{self, Arguments, Object};

/// Implements `pbkdf2_hmac(name, password, salt, iterations, length)`, where the first three
/// arguments are bytes.
///
/// # Safety
///
/// The caller must be CPython, with a tuple of arguments.
pub(crate) unsafe extern "C" fn pbkdf2_hmac(_: *mut Object, tuple: *mut Object) -> *mut Object {
    // SAFETY: CPython passes a tuple, which outlives the call.
    let arguments = unsafe { Arguments::new(tuple) };
    derived(&arguments).unwrap_or(ptr::null_mut())
}

fn derived(arguments: &Arguments) -> Option<*mut Object> {
    let name = arguments.bytes(0)?;
    let (password, salt) = (arguments.bytes(1)?, arguments.bytes(2)?);
    let rounds = arguments.number::<u32>(3)?;
    let mut key = vec![0; arguments.number::<u32>(4)? as usize];
    match name {
        b"sha1" => derive::<sha1::Sha1>(password, salt, rounds, &mut key),
        b"sha224" => derive::<sha2::Sha224>(password, salt, rounds, &mut key),
        b"sha256" => derive::<sha2::Sha256>(password, salt, rounds, &mut key),
        b"sha384" => derive::<sha2::Sha384>(password, salt, rounds, &mut key),
        b"sha512" => derive::<sha2::Sha512>(password, salt, rounds, &mut key),
        _ => return Some(python::refuse(c"unsupported hash type")),
    }
    Some(python::bytes(&key))
}

/// Implements `scrypt(password, salt, log_n, r, p, length)`.
///
/// # Safety
///
/// The caller must be CPython, with a tuple of arguments.
pub(crate) unsafe extern "C" fn scrypt(_: *mut Object, tuple: *mut Object) -> *mut Object {
    // SAFETY: CPython passes a tuple, which outlives the call.
    let arguments = unsafe { Arguments::new(tuple) };
    stretched(&arguments).unwrap_or(ptr::null_mut())
}

fn stretched(arguments: &Arguments) -> Option<*mut Object> {
    let (password, salt) = (arguments.bytes(0)?, arguments.bytes(1)?);
    let (log_n, r, p) = (
        arguments.number::<u8>(2)?,
        arguments.number::<u32>(3)?,
        arguments.number::<u32>(4)?,
    );
    let mut key = vec![0; arguments.number::<u32>(5)? as usize];
    let Ok(parameters) = scrypt::Params::new(log_n, r, p, scrypt::Params::RECOMMENDED_LEN) else {
        return Some(python::refuse(c"Invalid parameter combination for n, r, p"));
    };
    match scrypt::scrypt(password, salt, &parameters, &mut key) {
        Ok(()) => Some(python::bytes(&key)),
        Err(_) => Some(python::refuse(c"Invalid length of the key")),
    }
}
