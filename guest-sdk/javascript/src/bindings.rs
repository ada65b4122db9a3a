//! Rust items that `wit-bindgen` generates from the contract in `wit/`, and the exports.

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

use crate::{load, serve};

struct Runtime;

impl Guest for Runtime {
    fn load(plan: String) -> String {
        load::load(&plan)
    }
}

impl exports::wasgi::gateway::application::Guest for Runtime {
    type Blocks = serve::Blocks;

    fn call(
        environ: wasgi::gateway::gateway::Environ,
        start_response: wasgi::gateway::gateway::StartResponse,
    ) -> Result<exports::wasgi::gateway::application::Body, wasgi::gateway::gateway::Exception>
    {
        serve::call(environ, &start_response)
    }
}

export!(Runtime);
