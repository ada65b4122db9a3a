//! Rust items that `wit-bindgen` generates from the contract in `wit/`.

#![allow(missing_docs, unsafe_code, clippy::all)]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package wasgi:javascript@0.1.0;

        world runtime {
          include wasgi:gateway/handler@0.1.0;
          export load: func(plan: string) -> string;
        }
    ",
    world: "wasgi:javascript/runtime",
    generate_all,
});

/// Key-value buckets, for `kv`.
pub mod key_value {
    wit_bindgen::generate!({
        path: "../../wit/keyvalue/draft2.wit",
        world: "imports",
    });
}
