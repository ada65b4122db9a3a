//! Handlers of this project's world, `wit/gateway.wit`: the generated `bindings`, and an
//! `application`, which is called through them or directly.

pub(in crate::engine) mod application;
pub(in crate::engine) mod bindings;
