//! How instances are made: settings of the engine and its pooling allocator, with the reason and
//! the measurement behind each.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::compiled::Compiled;
use super::image;
use crate::config::Budget;

/// Instances that may be alive at a time beside those of the pools below. More than one handler may
/// have in work by default, so that one full handler leaves room for the others. A live instance
/// takes about five of the 65,530 mappings that Linux gives a process by default, which is the
/// limit behind this one.
const OVERFLOW_INSTANCES: u32 = 12_000;

/// What is tried when the system refuses so much address space (a container's limit, an older
/// processor).
const SMALLER_OVERFLOW: u32 = 2_000;

/// Instances in the pool that is there from the start. Each stack's guard page is protected by a
/// call of its own, some microseconds: this many are made within a millisecond.
pub(super) const FIRST_INSTANCES: u32 = 128;

/// So many free places of those are left when the pool for many is asked for.
pub(super) const LAST_INSTANCES: u32 = FIRST_INSTANCES / 4;

/// Instances of small programs that are reset without asking the kernel. Each keeps all of its
/// memory, 4 MiB together; but few requests are at work at a time where requests are short, and
/// where they wait, a system call more makes no difference.
pub(super) const SMALL_INSTANCES: u32 = 64;

/// Instances in a pool beyond those that there are permits for: a store gives its permit back a
/// moment before its instance, and a request that takes the permit meanwhile must find an instance.
/// One for each thread would do.
const SPARE_INSTANCES: u32 = 16;

/// What is tried for the first pool when the system refuses that, too. After it, instances are made
/// on demand.
const FEWER_INSTANCES: u32 = 30;

/// Address space per memory, in bytes: all that a 32-bit address can reach, so that no access
/// needs a check of its bounds. It is reserved, not used.
const MEMORY_RESERVATION: u64 = 4 << 30;

/// Stack for a guest's own calls, in bytes: twice wasmtime's default. What is not touched takes
/// no memory. CPython raises `RecursionError` before it is full
/// (`guest-sdk/python/src/wasgi/recursion.py` is made for this size), with room for 400 calls
/// from C into Python. Guests built by the Rust SDK use little of it.
const WASM_STACK_BYTES: usize = 1024 * 1024;

/// Stack of a fiber, in bytes: the guest's, and room for the host functions that it calls.
const FIBER_STACK_BYTES: usize = WASM_STACK_BYTES + 256 * 1024;

/// Memory of an instance that is reset in place when it is dropped, in bytes, rather than given
/// back to the kernel. Giving it back costs system calls and page faults, which threads of one
/// process also take turns at. What a small guest touches is far less.
const KEEP_RESIDENT_BYTES: usize = 256 * 1024;

/// The most memory that a small program begins with, in WebAssembly's pages of 64 KiB: what the
/// SDK's programs have (see `.cargo/config.toml`). All of it is reset after each request, and the
/// kernel is asked nothing. A second page would make that dearer than the question which pages were
/// touched: on one machine 23 µs a request rather than 20, on another as much.
const SMALL_MEMORY_PAGES: u64 = 1;

/// Core instances per component. A component of one toolchain has two or three; a Python one has
/// one per shared library.
const CORE_INSTANCES_PER_COMPONENT: u32 = 200;

/// Tables per component: the program's, and one for functions that need its memory. A component of
/// several programs has as many of each.
const TABLES_PER_COMPONENT: u32 = 20;

/// Elements in a guest's table. A Python interpreter needs some 6,000.
const TABLE_ELEMENTS: usize = 40_000;

/// The largest image of a program's memory that is mapped as it is, holes included, in bytes, if
/// the program's images are in proportion to its data. Others wasmtime copies into each new
/// instance. A Python program's is 20 to 60 MiB with everything imported: copying that of a Flask
/// application made a request touch 5,900 pages and take 17 ms, where mapping it makes that 670
/// pages and 5 ms.
pub(super) const IMAGE_BYTES: u64 = 256 << 20;

/// Instance slots that are kept warm, so that the memory image of a program need not be mapped
/// again for each request.
const WARM_SLOTS: u32 = 256;

/// An engine for small programs, if the system has room for one.
pub(super) fn small_engine(budget: &Budget) -> Option<wasmtime::Engine> {
    let mut pool = pooling(SMALL_INSTANCES + SPARE_INSTANCES, budget);
    pool.pagemap_scan(Enabled::No);
    pooled(pool).ok()
}

/// Whether a program begins with so little memory that all of it may be reset.
pub(super) fn is_small(code: &Compiled) -> bool {
    code.resources_required().is_some_and(|needed| {
        needed.num_memories <= 1
            && needed.max_initial_memory_size.unwrap_or(0) <= SMALL_MEMORY_PAGES
    })
}

/// An engine that compiles for all others, and makes no instances.
///
/// # Errors
///
/// Fails when the system can't run compiled code.
pub(super) fn compiler() -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&base())
}

/// An engine that has room for what is usual.
///
/// # Errors
///
/// Fails when the system can't run compiled code.
pub(super) fn first_engine(budget: &Budget) -> wasmtime::Result<wasmtime::Engine> {
    pooled(pooling(FIRST_INSTANCES + SPARE_INSTANCES, budget))
        .or_else(|_| pooled(pooling(FEWER_INSTANCES, budget)))
        .or_else(|error| {
            tracing::warn!("instances are made on demand, which is slower: {error:#}");
            wasmtime::Engine::new(&base())
        })
}

/// The engine that compiles a component or a module: this one, or one that stores no images with
/// holes, whose code runs in this one all the same (see [`image`]).
///
/// # Errors
///
/// Fails when there is no memory for another engine.
pub(super) fn compiling_engine(
    engine: &wasmtime::Engine,
    wasm: &[u8],
) -> wasmtime::Result<wasmtime::Engine> {
    if image::are_in_proportion(wasm) {
        return Ok(engine.clone());
    }
    let mut config = base();
    config.memory_guaranteed_dense_image_size(0);
    wasmtime::Engine::new(&config)
}

/// An engine with room for thousands of instances, if the system has it.
pub(super) fn overflow_engine(budget: &Budget) -> Option<wasmtime::Engine> {
    let refused = match pooled(pooling(OVERFLOW_INSTANCES, budget)) {
        Ok(engine) => return Some(engine),
        Err(error) => error,
    };
    let engine = pooled(pooling(SMALLER_OVERFLOW, budget)).ok();
    let count = FIRST_INSTANCES + engine.as_ref().map_or(0, |_| SMALLER_OVERFLOW);
    tracing::warn!(
        "room for {count} requests in work at a time, not {}: {refused:#}",
        FIRST_INSTANCES + OVERFLOW_INSTANCES
    );
    engine
}

fn pooled(pool: PoolingAllocationConfig) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = base();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    wasmtime::Engine::new(&config)
}

fn base() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // One request, one task: what concurrent tasks in a store need is not set up.
        .concurrency_support(false)
        // A computing guest yields at each tick (see `ticker`).
        .epoch_interruption(true)
        .memory_reservation(MEMORY_RESERVATION)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(IMAGE_BYTES)
        .native_unwind_info(false);
    config
}

fn pooling(instances: u32, budget: &Budget) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .max_memory_size(budget.memory_bytes)
        .table_elements(TABLE_ELEMENTS)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        // After fusing, one module has most of them (see `fuse`).
        .max_tables_per_module(TABLES_PER_COMPONENT)
        .max_memories_per_component(8)
        .max_unused_warm_slots(WARM_SLOTS)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        // Finds the pages that a guest touched without walking the others; where the kernel
        // doesn't have it (before Linux 6.7), all kept memory is reset.
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use wasmtime::component::Component;

    use super::*;
    use crate::engine::fuse;

    #[test]
    fn what_one_engine_compiles_all_can_run() {
        let budget = Budget::default();
        let hash = |engine: &wasmtime::Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let compiling = hash(&compiler().unwrap());
        assert_eq!(hash(&first_engine(&budget).unwrap()), compiling);
        assert_eq!(hash(&small_engine(&budget).unwrap()), compiling);
        assert_eq!(hash(&overflow_engine(&budget).unwrap()), compiling);
    }

    #[test]
    fn memory_beyond_a_page_is_not_small() {
        let engine = wasmtime::Engine::new(&base()).unwrap();
        let component = |pages: u32| {
            let text = format!(
                "(component (core module $m (memory {pages})) (core instance (instantiate $m)))"
            );
            Compiled::Component(Component::new(&engine, text).unwrap())
        };
        assert!(is_small(&component(0)) && is_small(&component(1)));
        assert!(!is_small(&component(2)));
    }

    #[test]
    fn a_component_whose_modules_were_linked_fits_into_the_pool() {
        let text = r#"(component
            (core module $a (func $dig (export "f")))
            (core module $b (import "a" "f" (func $f)) (memory 1)
              (func $walk (export "run") (result i32) (call $f) (i32.const 0)))
            (core instance $a (instantiate $a))
            (core instance $main (instantiate $b (with "a" (instance $a))))
            (func (export "run") (result u32) (canon lift (core func $main "run"))))"#;
        let component = fuse::members_of_component(&wat::parse_str(text).unwrap()).unwrap();
        let engine = first_engine(&Budget::default()).unwrap();
        Component::new(&engine, component).unwrap();
    }
}
