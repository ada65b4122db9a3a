//! Rust bindings for `wit/keyvalue/`: generated code only. `draft2` and `draft` implement the
//! interfaces.

#![allow(
    missing_docs,
    reason = "generated; the WIT packages have the documentation"
)]
#![allow(
    unsafe_code,
    reason = "generated: typed access to functions whose types were checked"
)]
#![allow(
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated"
)]

/// The version 0.2.0-draft2.
pub mod draft2 {
    wasmtime::component::bindgen!({
        path: "../wit/keyvalue/draft2.wit",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::engine::worlds::key_value::opened::Bucket,
            "wasi:keyvalue/atomics.cas": crate::engine::worlds::key_value::opened::Cas,
        },
    });
}

/// The version 0.2.0-draft.
pub mod draft {
    wasmtime::component::bindgen!({
        path: "../wit/keyvalue/draft.wit",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::engine::worlds::key_value::opened::Bucket,
        },
    });
}
