//! CPython's interface for modules, as much of it as is called here, and the module itself.

use core::ffi::{CStr, c_char, c_int, c_longlong, c_void};
use core::{ptr, slice};

use crate::{hashes, stack};

/// A Python object, of which nothing is known here.
#[repr(C)]
pub(crate) struct Object {
    _private: [u8; 0],
}

type Function = unsafe extern "C" fn(*mut Object, *mut Object) -> *mut Object;

/// `PyMethodDef`.
#[repr(C)]
struct Method {
    name: *const c_char,
    function: Option<Function>,
    flags: c_int,
    doc: *const c_char,
}

/// `PyModuleDef`, with `PyModuleDef_Base` in front.
#[repr(C)]
struct Definition {
    count: isize,
    kind: *const c_void,
    init: *const c_void,
    index: isize,
    copy: *const c_void,
    name: *const c_char,
    doc: *const c_char,
    size: isize,
    methods: *const Method,
    slots: *const c_void,
    traverse: *const c_void,
    clear: *const c_void,
    free: *const c_void,
}

// SAFETY: nothing in it is changed but by CPython, under its lock.
unsafe impl Sync for Definition {}
// SAFETY: nothing in it is changed by anybody.
unsafe impl Sync for Method {}

/// `METH_VARARGS`: the arguments come as a tuple.
const TUPLE: c_int = 1;

/// `PYTHON_API_VERSION`.
const API_VERSION: c_int = 1013;

unsafe extern "C" {
    static mut PyExc_ValueError: *mut Object;

    fn PyModule_Create2(definition: *const Definition, version: c_int) -> *mut Object;
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

static METHODS: [Method; 4] = [
    method(c"pbkdf2_hmac", hashes::pbkdf2_hmac),
    method(c"scrypt", hashes::scrypt),
    method(c"set_stack_limit", stack::set_limit),
    Method {
        name: ptr::null(),
        function: None,
        flags: 0,
        doc: ptr::null(),
    },
];

static DEFINITION: Definition = Definition {
    count: 1,
    kind: ptr::null(),
    init: ptr::null(),
    index: 0,
    copy: ptr::null(),
    name: c"_native".as_ptr(),
    doc: ptr::null(),
    size: -1,
    methods: METHODS.as_ptr(),
    slots: ptr::null(),
    traverse: ptr::null(),
    clear: ptr::null(),
    free: ptr::null(),
};

const fn method(name: &'static CStr, function: Function) -> Method {
    Method {
        name: name.as_ptr(),
        function: Some(function),
        flags: TUPLE,
        doc: ptr::null(),
    }
}

/// What CPython calls to import the module.
///
/// # Safety
///
/// Called by CPython, under its lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PyInit__native() -> *mut Object {
    // SAFETY: the definition is static, as are the names and functions that it refers to.
    unsafe { PyModule_Create2(&raw const DEFINITION, API_VERSION) }
}

/// The arguments of a call: a tuple.
pub(crate) struct Arguments(*mut Object);

impl Arguments {
    /// # Safety
    ///
    /// `tuple` is what CPython called a function of this module with, and outlives this.
    pub(crate) unsafe fn new(tuple: *mut Object) -> Self {
        Self(tuple)
    }

    /// The bytes at an index. None with an exception set where there are none.
    pub(crate) fn bytes(&self, index: isize) -> Option<&[u8]> {
        let (mut content, mut size) = (ptr::null_mut(), 0);
        // SAFETY: a tuple by the constructor's contract; its items live as long as it does, and
        // bytes don't change.
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

    /// The whole number at an index, if it fits. None with an exception set where it does not.
    pub(crate) fn number<N: TryFrom<c_longlong>>(&self, index: isize) -> Option<N> {
        // SAFETY: a tuple by the constructor's contract.
        let number = unsafe {
            let item = PyTuple_GetItem(self.0, index);
            if item.is_null() {
                return None;
            }
            PyLong_AsLongLong(item)
        };
        // SAFETY: asks for the state of this thread.
        if number == -1 && !unsafe { PyErr_Occurred() }.is_null() {
            return None;
        }
        number
            .try_into()
            .map_err(|_| refuse(c"a number is out of range"))
            .ok()
    }
}

/// Bytes as an object, or null with an exception set where there is no memory.
pub(crate) fn bytes(content: &[u8]) -> *mut Object {
    let size = isize::try_from(content.len()).unwrap_or(isize::MAX);
    // SAFETY: so many bytes are there.
    unsafe { PyBytes_FromStringAndSize(content.as_ptr().cast(), size) }
}

/// A number as an object.
pub(crate) fn number(value: i64) -> *mut Object {
    // SAFETY: any value is one.
    unsafe { PyLong_FromLongLong(value) }
}

/// Sets a `ValueError`, and returns what stands for an exception.
pub(crate) fn refuse(text: &CStr) -> *mut Object {
    // SAFETY: the text is copied, and ends with a zero.
    unsafe { PyErr_SetString(PyExc_ValueError, text.as_ptr()) };
    ptr::null_mut()
}
