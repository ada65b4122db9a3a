//! Rust bindings for `wit/`: generated code only. Each file of this folder that implements an
//! interface names it.

#![allow(
    missing_docs,
    reason = "generated; the WIT package has the documentation"
)]
#![allow(
    unsafe_code,
    reason = "generated: typed access to exports whose types were checked"
)]
#![allow(
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "handler",
    imports: {
        "wasgi:gateway/gateway.[method]environ.read": async | trappable,
        "wasgi:gateway/gateway.[method]start-response.write": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "wasgi:gateway/gateway.environ": super::tokens::EnvironToken,
        "wasgi:gateway/gateway.start-response": super::tokens::StartResponseToken,
    },
});
