//! The functions that the server calls: the exports of the component.

#![allow(unsafe_code)]

use crate::bindings::exports::wasgi::gateway::application::{self, Body};
use crate::bindings::wasgi::gateway::gateway::{Environ, Exception, StartResponse};
use crate::bindings::{Guest, export};
use crate::{load, serve};

struct Runtime;

impl Guest for Runtime {
    fn load(plan: String) -> String {
        load::load(&plan)
    }
}

impl application::Guest for Runtime {
    type Blocks = serve::Blocks;

    fn call(environ: Environ, start_response: StartResponse) -> Result<Body, Exception> {
        serve::call(environ, &start_response)
    }
}

export!(Runtime with_types_in crate::bindings);
