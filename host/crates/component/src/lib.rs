//! What is done to a handler's bytes before they are compiled: bytes in, bytes out.
//!
//! - [`componentize`] makes a component of a core module.
//! - [`bulk`] does long copies piece by piece, so that a guest can be made to yield between them.
//! - [`fuse`] links a component's core modules ahead of time, and takes those that were made from a
//!   snapshot apart, as code and state.
//! - [`abi`] names what a module that is called without a component around it imports and exports.
//!
//! Nothing is compiled or run here. What a stranger's file is made of is read with limits, and what
//! isn't understood is refused or left as it is, with a reason.

pub mod abi;
pub mod bulk;
pub mod componentize;
pub mod fuse;
