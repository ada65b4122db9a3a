//! Generated from `wit/`: the contract as Rust items. Nothing here is written by hand, and nothing
//! outside of `backend::wasm` and `export` uses it.

#![allow(missing_docs, unreachable_pub, unused_qualifications, unsafe_code)]

wit_bindgen::generate!({
    path: "wit",
    world: "handler",
    pub_export_macro: true,
    default_bindings_module: "::wasgi_sdk::__private::bindings",
});
