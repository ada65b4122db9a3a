//! `wasi:keyvalue` for handlers of all kinds, in both of its drafts, on the site's store.
//!
//! A bucket is opened by the name under which it is granted; which bucket of the store that is, the
//! grant decides and not the guest. While the store works, the guest waits off the thread, as it
//! does for its request's body.
//!
//! - `opened`: what an instance has opened. `access`: the operations, for both drafts.
//! - `bindings` is generated; `draft` and `draft2` implement it, and `common` what both have.

mod access;
mod bindings;
mod common;
mod draft;
mod draft2;
pub(in crate::engine) mod opened;

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

use crate::engine::call::state::HostState;

/// Adds both drafts.
pub(in crate::engine) fn add_to_linker(linker: &mut Linker<HostState>) -> Result<()> {
    use bindings::{draft, draft2};
    draft2::wasi::keyvalue::store::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    draft2::wasi::keyvalue::atomics::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    draft2::wasi::keyvalue::batch::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    draft::wasi::keyvalue::store::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    draft::wasi::keyvalue::atomics::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)?;
    draft::wasi::keyvalue::batch::add_to_linker::<_, HasSelf<HostState>>(linker, |state| state)
}
