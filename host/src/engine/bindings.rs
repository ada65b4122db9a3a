//! What `wit/` says, as Rust: generated code only. Each file of this folder that implements an
//! interface names it.

#![allow(missing_docs, reason = "generated; the WIT package has the documentation")]

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
        "wasgi:gateway/gateway.environ": super::state::EnvironToken,
        "wasgi:gateway/gateway.start-response": super::state::StartResponseToken,
    },
});
