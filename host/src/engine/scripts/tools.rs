//! The parts of an engine that loading a script needs.

use std::sync::Arc;

use crate::engine::cache::CodeCache;
use crate::engine::compile::Compiler;
use crate::engine::pools::instances::InstancePool;
use crate::engine::shared_code::SharedCodes;

/// The parts of an engine that loading a script needs.
pub(in crate::engine) struct Tools<'e> {
    pub(in crate::engine) pool: &'e InstancePool,
    pub(in crate::engine) compiler: &'e Compiler,
    pub(in crate::engine) cache: Option<&'e Arc<CodeCache>>,
    pub(in crate::engine) shared: &'e SharedCodes,
}
