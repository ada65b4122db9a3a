//! Handlers of this project's world, `wit/gateway.wit`: the generated `bindings`, with the `tokens`
//! that represent their resources, the functions of the `host`, and an `application`, which is
//! called through the bindings or directly, with its `answer`.

pub(in crate::engine) mod answer;
pub(in crate::engine) mod application;
pub(in crate::engine) mod bindings;
mod host;
pub(in crate::engine) mod tokens;
