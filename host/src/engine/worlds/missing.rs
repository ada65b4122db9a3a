//! Explains the imports of a component that the host doesn't have, for users who don't know about
//! linking.

use wasmtime::component::Component;

use super::kind::{self, HandlerKind};
use super::unlinked;
use crate::engine::componentize;
use crate::engine::pools::instances::InstancePool;

/// An import that can't be satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name, such as `wasi:http/outgoing-handler@0.2.6`.
    pub import: String,
    /// Its meaning.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Explanations of interfaces, by name prefix: the first match applies.
const KNOWN: [(&str, &str, &str); 13] = [
    (
        "wasgi:gateway/",
        "another version of the contract than this server's, which is wasgi:gateway@0.1.0",
        "build it with the SDK, or the wit/gateway.wit, of this server's version",
    ),
    (
        "wasi:http/",
        "HTTP by WASI's own interface, in another version than 0.2, or another way to answer",
        "build for WASI 0.2, and answer through one interface",
    ),
    (
        "wasi:keyvalue/",
        "a key-value store in a version that this server does not have: it has 0.2.0-draft2 and \
         0.2.0-draft, with the interfaces store, atomics and batch",
        "build it for one of these versions",
    ),
    (
        "wasi:blobstore/",
        "a store of large objects that the host would have to keep",
        "leave it out: this server keeps no data for handlers",
    ),
    (
        "wasi:config/",
        "settings that the host would pass in",
        "compile the settings in, or read them from the request",
    ),
    (
        "wasi:logging/",
        "a log with levels",
        "write to wsgi.errors (environ.write-errors), or to standard error: both are logged",
    ),
    (
        "wasi:messaging/",
        "a message broker",
        "leave it out: this server provides none",
    ),
    (
        "wasi:nn/",
        "machine learning on the host",
        "leave it out: this server provides none",
    ),
    (
        "wasi:tls/",
        "encrypted connections",
        "request https URLs through wasi:http/outgoing-handler: the server encrypts them",
    ),
    (
        "wasi:",
        "an interface of WASI that this server does not have, or not in this version: it has WASI \
         0.2",
        "build for wasm32-wasip2 with a toolchain of WASI 0.2",
    ),
    (
        "wasi_",
        "WASI's first preview, which core modules import",
        "make it a component with `wasm-tools component new` and the preview 1 adapter, or build \
         for wasm32-wasip2",
    ),
    (
        "env",
        "symbols that the linker did not find",
        "check the build's warnings for a missing library",
    ),
    (
        "",
        "a custom interface, which no server provides",
        "compose it with the component that exports it (`wac plug`), or remove the import",
    ),
];

impl Missing {
    /// Explains an import.
    pub(in crate::engine) fn new(import: &str) -> Self {
        let known = KNOWN.iter().find(|(front, ..)| import.starts_with(front));
        let (_, meaning, remedy) = known.copied().unwrap_or_default();
        Self {
            import: import.to_owned(),
            meaning,
            remedy,
        }
    }
}

/// Returns the names of all imports that `pool` doesn't have.
pub(in crate::engine) fn names(pool: &InstancePool, bytes: &[u8]) -> Vec<String> {
    let module = componentize::from_module(bytes);
    let bytes = module.as_deref().unwrap_or(bytes);
    let Ok(component) = Component::new(&pool.engine, bytes) else {
        return Vec::new();
    };
    let kind = kind::detect(&component, &pool.engine).unwrap_or(HandlerKind::Gateway);
    unlinked::all(pool.linkers.for_kind(kind), &component)
}

#[cfg(test)]
mod tests {
    use crate::engine::Engine;
    use crate::policy::Budget;

    /// Returns the names of a component's missing imports.
    fn names(component: &str) -> Vec<String> {
        let engine = Engine::compiling_here(&Budget::default(), None).expect("an engine");
        let missing = engine.missing(component.as_bytes());
        missing.into_iter().map(|one| one.import).collect()
    }

    #[test]
    fn an_import_that_uses_a_resource_of_another_one_is_found() {
        let names = names(
            r#"(component
            (import "wasi:io/error@0.2.0" (instance $io (export "error" (type (sub resource)))))
            (alias export $io "error" (type $error))
            (import "acme:sink/sink@1.0.0" (instance
                (alias outer 1 $error (type $of-io))
                (export "error" (type $own (eq $of-io)))
                (export "last" (func (result (own $own))))))
            (import "wasi:keyvalue/store@0.2.0" (instance (export "open" (func)))))"#,
        );
        assert_eq!(names, ["acme:sink/sink@1.0.0", "wasi:keyvalue/store@0.2.0"]);
    }

    #[test]
    fn an_import_of_another_type_and_one_that_is_no_instance_are_found() {
        let names = names(
            r#"(component
            (import "log" (func (param "text" string)))
            (import "wasi:random/random@0.2.0" (instance
                (export "get-random-u64" (func (result u64)))))
            (import "wasi:clocks/wall-clock@0.2.0" (instance (export "yesterday" (func)))))"#,
        );
        assert_eq!(names, ["log", "wasi:clocks/wall-clock@0.2.0"]);
        assert_eq!(
            self::names(r#"(component (import "code" (core module)))"#),
            ["code"]
        );
    }

    #[test]
    fn the_number_of_names_is_limited() {
        let import = |number| format!(r#"(import "i{number}" (func))"#);
        let imports: String = (0..1_000).map(import).collect();
        let names = names(&format!("(component {imports})"));
        assert_eq!(names.len(), 32);
        assert_eq!(names[31], "i31");
    }

    #[test]
    fn every_missing_import_is_told_and_explained() {
        let engine = Engine::compiling_here(&Budget::default(), None).expect("an engine");
        let component = r#"(component
            (import "wasi:clocks/wall-clock@0.2.0" (instance))
            (import "wasi:keyvalue/store@0.2.0" (instance (export "open" (func))))
            (import "acme:store/items@1.0.0" (instance
                (export "item" (type (sub resource))) (export "get" (func))))
            (import "wasgi:gateway/gateway@0.9.0" (instance (export "go" (func)))))"#;
        let missing = engine.missing(component.as_bytes());
        let names: Vec<_> = missing.iter().map(|one| one.import.as_str()).collect();
        assert_eq!(
            names,
            [
                "wasi:keyvalue/store@0.2.0",
                "acme:store/items@1.0.0",
                "wasgi:gateway/gateway@0.9.0"
            ]
        );
        assert!(missing[0].meaning.contains("key-value"));
        assert!(missing[1].remedy.contains("wac plug"));
        assert!(missing[2].meaning.contains("another version"));
        assert!(engine.missing(b"no component").is_empty());
    }
}
