//! Rust items that `wit-bindgen` generates from the contract in `wit/`. Only `backend::wasm` and
//! `export` use them.

#![allow(missing_docs, unreachable_pub, unused_qualifications, unsafe_code)]

wit_bindgen::generate!({
    path: "wit",
    world: "handler",
    pub_export_macro: true,
    default_bindings_module: "::wasgi_sdk::__private::bindings",
});

/// Key-value stores, which `kv` uses. A handler that doesn't use it doesn't import them.
pub mod key_value {
    wit_bindgen::generate!({
        path: "wit/keyvalue/draft2.wit",
        world: "imports",
    });
}
