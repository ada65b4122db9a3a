//! The settings of the engine and its pooling allocator, with the reason and the measurement for
//! each.

use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    RegallocAlgorithm, WasmBacktraceDetails,
};

use super::image;
use crate::engine::compiled::Compiled;
use crate::policy::Budget;

/// The maximum number of live instances besides those of the pools below. It is larger than the
/// default limit of requests to one handler, so that a fully loaded handler leaves instances for
/// the others. A live instance takes about five of the 65,530 mappings that Linux allows a process
/// by default, which is the underlying limit.
const OVERFLOW_INSTANCES: u32 = 12_000;

/// The number of mappings that a process must be allowed for all of these instances: Linux's
/// default (`vm.max_map_count`).
pub(crate) const MIN_MAPPINGS: u64 = 65_530;

/// The number to try if the system refuses that much address space (a container's limit, an older
/// processor).
const SMALLER_OVERFLOW: u32 = 2_000;

/// The number of instances in the pool that exists from the start. Protecting each stack's guard
/// page takes a separate call of some microseconds: this many are created within a millisecond.
pub(in crate::engine) const FIRST_INSTANCES: u32 = 128;

/// The pool for many instances is requested when only this many of those are free.
pub(in crate::engine) const LAST_INSTANCES: u32 = FIRST_INSTANCES / 4;

/// The number of instances of small programs that are reset without system calls. Each keeps all of
/// its memory, 4 MiB together. Short requests rarely overlap, and for waiting requests, another
/// system call makes no difference.
pub(in crate::engine) const SMALL_INSTANCES: u32 = 64;

/// The number of instances in a pool beyond its permits: a store releases its permit just before
/// its instance, and a request that takes the permit in between must find an instance. One per
/// thread would be enough.
const SPARE_INSTANCES: u32 = 16;

/// The number to try for the first pool if the system refuses that, too. After it, instances are
/// created on demand.
const FEWER_INSTANCES: u32 = 30;

/// The address space per memory, in bytes: everything that a 32-bit address can reach, so that no
/// access needs a bounds check. It is reserved, not used.
const MEMORY_RESERVATION: u64 = 4 << 30;

/// The minimum stack size for a guest's calls, in bytes: wasmtime's default. It is that of the
/// pools that return no stack to the kernel, which would cost a system call for each request: what
/// guests have used of their stacks stays resident.
const WASM_STACK_BYTES: usize = 512 * 1024;

/// The stack size for the calls of a large program, in bytes. CPython raises `RecursionError`
/// before the stack is full (`guest-sdk/python/src/wasgi/recursion.py` is made for this size), with
/// space for 500 calls from C into Python.
const LARGE_WASM_STACK_BYTES: usize = 4 * WASM_STACK_BYTES;

/// The size of a fiber's stack beyond that of the guest, in bytes, for the host functions that it
/// calls.
const HOST_STACK_BYTES: usize = 256 * 1024;

/// The amount of an instance's memory that is reset in place on drop, in bytes, instead of being
/// returned to the kernel. Returning it costs system calls and page faults, for which the threads
/// of a process contend. A guest in Rust writes to a few pages.
const KEEP_RESIDENT_BYTES: usize = 128 * 1024;

/// The same in the pool for large programs, in bytes: a hello in Python writes to 61 pages and one
/// in JavaScript to 75. With half as much, the latter took 250 µs of processor time instead of 180.
const LARGE_KEEP_RESIDENT_BYTES: usize = 512 * 1024;

/// The same in the pool for thousands of instances, in bytes: what all of them have kept after one
/// moment of many requests stays resident. There, another system call makes no difference.
const OVERFLOW_KEEP_RESIDENT_BYTES: usize = 64 * 1024;

/// The amount of a stack in that pool that is reset in place, in bytes: more than usual calls use.
const OVERFLOW_STACK_KEEP_RESIDENT_BYTES: usize = 16 * 1024;

/// The same in the pool for large programs, in bytes: more than a request to an interpreter usually
/// uses.
const LARGE_STACK_KEEP_RESIDENT_BYTES: usize = 64 * 1024;

/// The initial memory of a large program, in WebAssembly pages of 64 KiB, which is the minimum:
/// interpreters have more.
const LARGE_MEMORY_PAGES: u64 = 64;

/// The maximum initial memory of a small program, in WebAssembly pages of 64 KiB: that of programs
/// built with the SDK (see `.cargo/config.toml`). All of it is reset after each request without a
/// system call. With a second page, that would cost more than asking the kernel which pages were
/// touched: on one machine 23 µs a request instead of 20, on another the same.
const SMALL_MEMORY_PAGES: u64 = 1;

/// The maximum number of core instances per component. Most toolchains produce two or three; a
/// Python component has one per shared library.
const CORE_INSTANCES_PER_COMPONENT: u32 = 200;

/// The maximum number of tables per component: the program's, and one for functions that need its
/// memory. A component of several programs has these for each.
const TABLES_PER_COMPONENT: u32 = 20;

/// The maximum number of elements in a guest's table. A Python interpreter needs some 6,000.
const TABLE_ELEMENTS: usize = 40_000;

/// The maximum size of a program's memory image that is mapped unchanged, holes included, in bytes,
/// if the program's images are in proportion to its data. wasmtime copies other images into each
/// new instance. A Python program with all its imports has 20 to 60 MiB. With copying, a request to
/// a Flask application touched 5,900 pages and took 17 ms; with mapping, it touches 670 pages and
/// takes 5 ms.
pub(in crate::engine) const IMAGE_BYTES: u64 = 256 << 20;

/// The number of unused instance slots in which a program's memory image stays mapped, so that it
/// need not be mapped for its next request.
const WARM_SLOTS: u32 = 256;

/// The number of such slots per processor in the pools for the usual number of instances. In each,
/// the pages of the image that requests have read count as resident memory: 8 MiB for a script in
/// Python. So twenty scripts have 234 MiB on two processors, not 369, and a further one has 3 MiB,
/// not 11 to 19. Sites that request more scripts in turn on each processor map images again, which
/// costs a fresh request to a hello in Python a third more processor time (2.0 ms instead of 1.5,
/// on a busy machine), and one in JavaScript 0.4 ms. The 144 slots of such a pool are nine for each
/// of sixteen processors.
const WARM_SLOTS_PER_PROCESSOR: u32 = 10;

/// The maximum number of parts that wasmtime divides a pool's slots into, one per processor.
const MAX_POOL_PARTS: usize = 16;

/// Returns an engine for small programs, if the system has memory for one.
pub(in crate::engine) fn small_engine(budget: &Budget) -> Option<wasmtime::Engine> {
    let mut pool = pooling(SMALL_INSTANCES + SPARE_INSTANCES, budget);
    pool.pagemap_scan(Enabled::No);
    pooled(base(), pool).ok()
}

/// Returns an engine for large programs. Its pool returns stacks to the kernel: that costs a small
/// share of what a request to such a program does.
///
/// # Errors
///
/// Fails if the system has no memory for it.
pub(in crate::engine) fn large_engine(budget: &Budget) -> wasmtime::Result<wasmtime::Engine> {
    let pool = |mut pool: PoolingAllocationConfig| {
        pool.linear_memory_keep_resident(LARGE_KEEP_RESIDENT_BYTES)
            .table_keep_resident(LARGE_KEEP_RESIDENT_BYTES)
            .async_stack_keep_resident(LARGE_STACK_KEEP_RESIDENT_BYTES);
        pooled(deep(), pool)
    };
    pool(limited(budget)).or_else(|_| pool(pooling(FEWER_INSTANCES, budget)))
}

/// Returns whether a program's initial memory is small enough to reset all of it.
pub(in crate::engine) fn is_small(code: &Compiled) -> bool {
    code.resources_required().is_some_and(|needed| {
        needed.num_memories <= 1
            && needed.max_initial_memory_size.unwrap_or(0) <= SMALL_MEMORY_PAGES
    })
}

/// Returns whether a program has much initial memory.
pub(in crate::engine) fn is_large(code: &Compiled) -> bool {
    code.resources_required()
        .is_some_and(|needed| needed.max_initial_memory_size.unwrap_or(0) >= LARGE_MEMORY_PAGES)
}

/// Returns an engine that compiles for all others, and without a pool.
///
/// # Errors
///
/// Fails if the system can't run compiled code.
pub(in crate::engine) fn compiler() -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&deep())
}

/// Returns an engine for the usual number of instances.
///
/// # Errors
///
/// Fails if the system can't run compiled code.
pub(in crate::engine) fn first_engine(budget: &Budget) -> wasmtime::Result<wasmtime::Engine> {
    pooled(base(), limited(budget))
        .or_else(|_| pooled(base(), pooling(FEWER_INSTANCES, budget)))
        .or_else(|error| {
            tracing::warn!("no instance pool, which is slower: {error:#}");
            wasmtime::Engine::new(&base())
        })
}

/// Returns the pool for the usual number of instances.
fn limited(budget: &Budget) -> PoolingAllocationConfig {
    let mut pool = pooling(FIRST_INSTANCES + SPARE_INSTANCES, budget);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let parts = u32::try_from(processors.min(MAX_POOL_PARTS)).unwrap_or(1);
    pool.max_unused_warm_slots(WARM_SLOTS_PER_PROCESSOR * parts);
    pool
}

/// How much work goes into compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Effort {
    /// It is optimised: it runs more often than it is compiled.
    Full,
    /// It is not: a developer waits for it. A handler in Rust of 110 KB is compiled in half of the
    /// time.
    Quick,
}

/// Returns the engine that compiles a component or a module: this one, or one whose code also runs
/// in this one, if less work is to go into the code, or if its images have holes, which are not
/// stored then (see [`image`]).
///
/// # Errors
///
/// Fails if there is no memory for another engine.
pub(in crate::engine) fn compiling_engine(
    engine: &wasmtime::Engine,
    wasm: &[u8],
    effort: Effort,
) -> wasmtime::Result<wasmtime::Engine> {
    let is_dense = image::are_in_proportion(wasm);
    if is_dense && effort == Effort::Full {
        return Ok(engine.clone());
    }
    let mut config = base();
    if !is_dense {
        config.memory_guaranteed_dense_image_size(0);
    }
    if effort == Effort::Quick {
        config
            .cranelift_opt_level(OptLevel::None)
            .cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
    }
    wasmtime::Engine::new(&config)
}

/// Returns an engine for thousands of instances, if the system has memory for it.
pub(in crate::engine) fn overflow_engine(budget: &Budget) -> Option<wasmtime::Engine> {
    let refused = match overflow(OVERFLOW_INSTANCES, budget) {
        Ok(engine) => return Some(engine),
        Err(error) => error,
    };
    let engine = overflow(SMALLER_OVERFLOW, budget).ok();
    let count = FIRST_INSTANCES + engine.as_ref().map_or(0, |_| SMALLER_OVERFLOW);
    tracing::warn!(
        "at most {count} requests in flight, not {}: {refused:#}",
        FIRST_INSTANCES + OVERFLOW_INSTANCES
    );
    engine
}

/// Returns an engine with a pool that keeps little memory of its free instances.
fn overflow(instances: u32, budget: &Budget) -> wasmtime::Result<wasmtime::Engine> {
    let mut pool = pooling(instances, budget);
    pool.linear_memory_keep_resident(OVERFLOW_KEEP_RESIDENT_BYTES)
        .table_keep_resident(OVERFLOW_KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(OVERFLOW_STACK_KEEP_RESIDENT_BYTES);
    pooled(deep(), pool)
}

fn pooled(mut config: Config, pool: PoolingAllocationConfig) -> wasmtime::Result<wasmtime::Engine> {
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    wasmtime::Engine::new(&config)
}

/// Returns the settings for an engine with large stacks, which a pool returns to the kernel.
fn deep() -> Config {
    let mut config = base();
    config
        .max_wasm_stack(LARGE_WASM_STACK_BYTES)
        .async_stack_size(LARGE_WASM_STACK_BYTES + HOST_STACK_BYTES)
        .async_stack_zeroing(true);
    config
}

fn base() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // One request is one task: don't set up support for concurrent tasks in a store.
        .concurrency_support(false)
        // A computing guest yields at each tick (see `ticker`).
        .epoch_interruption(true)
        .memory_reservation(MEMORY_RESERVATION)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(WASM_STACK_BYTES + HOST_STACK_BYTES)
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(IMAGE_BYTES)
        .native_unwind_info(false)
        // A compiling process reads debugging information (`engine::lines`). By default, a variable
        // of the environment decides, which compiling processes don't have.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
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
        // Finds the pages that a guest touched without visiting the others; if the kernel doesn't
        // support that (before Linux 6.7), all kept memory is reset.
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::io::Write;
    use std::task::{Context, Poll, Waker};

    use wasmtime::component::Component;

    use super::*;
    use crate::engine::code_file::CodeFile;
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
        assert_eq!(hash(&large_engine(&budget).unwrap()), compiling);
        assert_eq!(hash(&overflow_engine(&budget).unwrap()), compiling);
    }

    #[test]
    fn what_was_compiled_quickly_all_can_run() {
        let text = r#"(component (core module $m
            (memory 1)
            (func (export "f") (param i32) (result i32) (i32.load (local.get 0))))
            (core instance (instantiate $m)))"#;
        let bytes = wat::parse_str(text).expect("text");
        let compiling = compiler().expect("an engine");
        let quick = compiling_engine(&compiling, &bytes, Effort::Quick).expect("an engine");
        let code = quick.precompile_component(&bytes).expect("it compiles");
        let mut file = CodeFile::memory_file().expect("a descriptor");
        file.write_all(&code).expect("written");
        let file = CodeFile::seal(file).expect("sealed");
        let budget = Budget::default();
        for engine in [
            first_engine(&budget).expect("an engine"),
            small_engine(&budget).expect("an engine"),
            large_engine(&budget).expect("an engine"),
            overflow_engine(&budget).expect("an engine"),
        ] {
            assert!(file.map(&engine).is_ok());
        }
    }

    #[test]
    fn initial_memory_decides_on_the_pool() {
        let engine = wasmtime::Engine::new(&base()).unwrap();
        let component = |pages: u64| {
            let text = format!(
                "(component (core module $m (memory {pages})) (core instance (instantiate $m)))"
            );
            Compiled::Component(Component::new(&engine, text).unwrap())
        };
        for (pages, expected) in [
            (0, (true, false)),
            (SMALL_MEMORY_PAGES, (true, false)),
            (SMALL_MEMORY_PAGES + 1, (false, false)),
            (LARGE_MEMORY_PAGES - 1, (false, false)),
            (LARGE_MEMORY_PAGES, (false, true)),
        ] {
            let component = component(pages);
            let found = (is_small(&component), is_large(&component));
            assert_eq!(found, expected, "{pages} pages");
        }
    }

    /// Calls a function that calls itself, and returns whether that many calls fit.
    fn has_room_for_calls(engine: &wasmtime::Engine, count: i32) -> bool {
        let text = r#"(module (func $f (export "f") (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))
                (else (i32.const 0)))))"#;
        let module = wasmtime::Module::new(engine, text).expect("it compiles");
        let mut store = wasmtime::Store::new(engine, ());
        store.set_epoch_deadline(1);
        let mut call = Box::pin(async {
            let instance = wasmtime::Instance::new_async(&mut store, &module, &[]).await?;
            let call = instance.get_typed_func::<i32, i32>(&mut store, "f")?;
            call.call_async(&mut store, count).await
        });
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(called) = call.as_mut().poll(&mut context) else {
            panic!("it waits for nothing");
        };
        if let Err(error) = &called {
            let trap = error.downcast_ref::<wasmtime::Trap>();
            assert_eq!(trap, Some(&wasmtime::Trap::StackOverflow), "{error:#}");
        }
        called.is_ok()
    }

    #[test]
    fn large_programs_have_deeper_stacks() {
        // A call takes at least a return address and a frame pointer, and here less than 64 bytes.
        let fits_all = i32::try_from(WASM_STACK_BYTES / 64).expect("a count");
        let fits_none = i32::try_from(LARGE_WASM_STACK_BYTES / 16).expect("a count");
        let fits_large = i32::try_from(WASM_STACK_BYTES / 16).expect("a count");
        let budget = Budget::default();
        let shallow = [first_engine(&budget).ok(), small_engine(&budget)];
        let deep = [large_engine(&budget).ok(), overflow_engine(&budget)];
        for (engines, expected) in [(shallow, false), (deep, true)] {
            for engine in engines {
                let engine = engine.expect("an engine");
                assert!(has_room_for_calls(&engine, fits_all));
                assert_eq!(has_room_for_calls(&engine, fits_large), expected);
                assert!(!has_room_for_calls(&engine, fits_none));
            }
        }
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
