//! CPython's C API: objects, the arguments of a call, and exceptions.

use core::ffi::{CStr, c_char, c_int, c_longlong, c_void};
use core::{ptr, slice};

/// An opaque Python object.
#[repr(C)]
pub(crate) struct Object {
    _private: [u8; 0],
}

unsafe extern "C" {
    static mut PyExc_ValueError: *mut Object;

    fn PyTuple_GetItem(tuple: *mut Object, index: isize) -> *mut Object;
    fn PyBytes_AsStringAndSize(
        object: *mut Object,
        content: *mut *mut c_char,
        size: *mut isize,
    ) -> c_int;
    fn PyBytes_FromStringAndSize(content: *const c_char, size: isize) -> *mut Object;
    fn PyLong_AsLongLong(object: *mut Object) -> c_longlong;
    fn PyLong_FromLongLong(value: c_longlong) -> *mut Object;
    fn PyErr_SetString(kind: *mut Object, text: *const c_char);
    fn PyErr_Occurred() -> *mut Object;
    pub(crate) fn PyThreadState_Get() -> *mut c_void;
}

/// The arguments of a call, which are a tuple.
pub(crate) struct Arguments(*mut Object);

impl Arguments {
    /// Wraps a tuple.
    ///
    /// # Safety
    ///
    /// `tuple` must be the argument of CPython's call of a function in this module, and outlive
    /// this.
    pub(crate) unsafe fn new(tuple: *mut Object) -> Self {
        Self(tuple)
    }

    /// Returns the bytes at an index. Otherwise returns none and sets an exception.
    pub(crate) fn bytes(&self, index: isize) -> Option<&[u8]> {
        let (mut content, mut size) = (ptr::null_mut(), 0);
        // SAFETY: it is a tuple, by the constructor's contract; its items live as long as it does,
        // and bytes are immutable.
        unsafe {
            let item = PyTuple_GetItem(self.0, index);
            if item.is_null() || PyBytes_AsStringAndSize(item, &mut content, &mut size) != 0 {
                return None;
            }
            Some(slice::from_raw_parts(
                content.cast(),
                usize::try_from(size).ok()?,
            ))
        }
    }

    /// Returns the integer at an index. If there is none or it doesn't fit, returns none and sets
    /// an exception.
    pub(crate) fn number<N: TryFrom<c_longlong>>(&self, index: isize) -> Option<N> {
        // SAFETY: it is a tuple, by the constructor's contract.
        let number = unsafe {
            let item = PyTuple_GetItem(self.0, index);
            if item.is_null() {
                return None;
            }
            PyLong_AsLongLong(item)
        };
        // SAFETY: only reads the state of this thread.
        if number == -1 && !unsafe { PyErr_Occurred() }.is_null() {
            return None;
        }
        number
            .try_into()
            .map_err(|_| refuse(c"a number is out of range"))
            .ok()
    }
}

/// Converts bytes to an object. Returns null and sets an exception if there is not enough memory.
pub(crate) fn bytes(content: &[u8]) -> *mut Object {
    let size = isize::try_from(content.len()).unwrap_or(isize::MAX);
    // SAFETY: the slice has this length.
    unsafe { PyBytes_FromStringAndSize(content.as_ptr().cast(), size) }
}

/// Converts a number to an object.
pub(crate) fn number(value: i64) -> *mut Object {
    // SAFETY: every value is valid.
    unsafe { PyLong_FromLongLong(value) }
}

/// Sets a `ValueError`, and returns null, which indicates an exception.
pub(crate) fn refuse(text: &CStr) -> *mut Object {
    // SAFETY: the text is copied, and ends with a zero.
    unsafe { PyErr_SetString(PyExc_ValueError, text.as_ptr()) };
    ptr::null_mut()
}
