//! The definition of the module, which CPython calls when it is imported.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;

use crate::python::Object;
use crate::{hashes, stack};

type Function = unsafe extern "C" fn(*mut Object, *mut Object) -> *mut Object;

/// The C structure `PyMethodDef`.
#[repr(C)]
struct Method {
    name: *const c_char,
    function: Option<Function>,
    flags: c_int,
    doc: *const c_char,
}

/// The C structure `PyModuleDef`, including `PyModuleDef_Base`.
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

// SAFETY: only CPython modifies it, while holding its lock.
unsafe impl Sync for Definition {}
// SAFETY: it is never modified.
unsafe impl Sync for Method {}

/// `METH_VARARGS`: the arguments are passed as a tuple.
const TUPLE: c_int = 1;

/// The value of `PYTHON_API_VERSION`.
const API_VERSION: c_int = 1013;

unsafe extern "C" {
    fn PyModule_Create2(definition: *const Definition, version: c_int) -> *mut Object;
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

/// Creates the module when CPython imports it.
///
/// # Safety
///
/// The caller must be CPython, holding its lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PyInit__native() -> *mut Object {
    // SAFETY: the definition is static, as are the names and functions that it refers to.
    unsafe { PyModule_Create2(&raw const DEFINITION, API_VERSION) }
}
