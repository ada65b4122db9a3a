//! The worlds of the test guests, from the WIT of the server's own bindings.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use wit_parser::{Function, Resolve, SizeAlign, Type, TypeDefKind, TypeId, WorldId, WorldItem};

use crate::engine::HandlerKind;

/// A world and all functions that its guests can call.
pub(super) struct World {
    pub(super) resolve: Resolve,
    pub(super) id: WorldId,
    pub(super) sizes: SizeAlign,
    pub(super) functions: Vec<Import>,
    /// Its WASI version.
    pub(super) version: String,
}

/// A function that guests import.
pub(super) struct Import {
    /// The interface name in a core module.
    pub(super) interface: String,
    pub(super) function: Function,
}

/// Returns the world for handlers of a kind.
pub(super) fn world(kind: HandlerKind) -> &'static World {
    static WORLDS: [OnceLock<World>; 3] = [const { OnceLock::new() }; 3];
    let (place, source) = match kind {
        HandlerKind::Gateway => (0, "include wasgi:gateway/handler@0.1.0;"),
        HandlerKind::Command => (
            1,
            "include wasi:cli/imports@VERSION; export wasi:cli/run@VERSION;",
        ),
        HandlerKind::WasiHttp => (
            2,
            "include wasi:cli/imports@VERSION;
             import wasi:http/types@VERSION;
             import wasi:http/outgoing-handler@VERSION;
             export wasi:http/incoming-handler@VERSION;",
        ),
    };
    WORLDS[place].get_or_init(|| World::new(source))
}

impl World {
    fn new(source: &str) -> Self {
        let mut resolve = Resolve::new();
        resolve.push_dir(wasi_wit()).expect("WASI's WIT");
        let gateway = include_str!("../../../../../wit/gateway.wit");
        resolve.push_str("gateway.wit", gateway).expect("our WIT");
        let mut packages = resolve.package_names.keys();
        let cli = packages.find(|name| (&*name.namespace, &*name.name) == ("wasi", "cli"));
        let version = cli.and_then(|name| name.version.clone()).expect("WASI");
        let version = version.to_string();
        let source = source.replace("VERSION", &version);
        let package = format!("package test:walk; world guest {{ {source} }}");
        let package = resolve.push_str("guest.wit", &package).expect("a world");
        let id = resolve.select_world(&[package], None).expect("one world");
        let mut sizes = SizeAlign::default();
        sizes.fill(&resolve);
        let interfaces = resolve.worlds[id].imports.values();
        let functions = interfaces
            .filter_map(|item| match item {
                WorldItem::Interface { id, .. } => Some(*id),
                _ => None,
            })
            .flat_map(|id| {
                let interface = resolve.id_of(id).expect("a name");
                let functions = resolve.interfaces[id].functions.values();
                functions.map(move |function| Import {
                    interface: interface.clone(),
                    function: function.clone(),
                })
            })
            .collect();
        Self {
            resolve,
            id,
            sizes,
            functions,
            version,
        }
    }

    /// Resolves the aliases of a type.
    pub(super) fn alias(&self, ty: &Type) -> Type {
        match ty {
            Type::Id(id) => match &self.resolve.types[*id].kind {
                TypeDefKind::Type(of) => self.alias(of),
                _ => *ty,
            },
            ty => *ty,
        }
    }

    /// Returns the structure of a type; `None` for a primitive type.
    pub(super) fn kind(&self, ty: &Type) -> Option<&TypeDefKind> {
        match self.alias(ty) {
            Type::Id(id) => Some(&self.resolve.types[id].kind),
            _ => None,
        }
    }

    /// Resolves the aliases of a resource.
    pub(super) fn resource(&self, id: TypeId) -> TypeId {
        match &self.resolve.types[id].kind {
            TypeDefKind::Type(Type::Id(alias)) => self.resource(*alias),
            _ => id,
        }
    }

    /// Returns whether a value of this type has a length.
    pub(super) fn has_length(&self, ty: &Type) -> bool {
        let any = |mut types: Vec<&Type>| types.drain(..).any(|ty| self.has_length(ty));
        match self.kind(ty) {
            None => self.alias(ty) == Type::String,
            Some(TypeDefKind::List(_)) => true,
            Some(TypeDefKind::Record(record)) => {
                any(record.fields.iter().map(|it| &it.ty).collect())
            }
            Some(TypeDefKind::Tuple(tuple)) => any(tuple.types.iter().collect()),
            Some(TypeDefKind::Variant(it)) => any(it.cases.iter().flat_map(|it| &it.ty).collect()),
            Some(TypeDefKind::Option(some)) => self.has_length(some),
            Some(TypeDefKind::Result(it)) => any(it.ok.iter().chain(&it.err).collect()),
            Some(_) => false,
        }
    }
}

impl Import {
    pub(super) fn name(&self) -> String {
        format!("{}#{}", self.interface, self.function.name)
    }
}

/// Returns the WIT folder of the crate with the WASI bindings.
fn wasi_wit() -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--offline",
            "--manifest-path",
            manifest,
        ])
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages
        .iter()
        .find(|package| package["name"] == "wasmtime-wasi-http")
        .expect("a dependency");
    let manifest = package["manifest_path"].as_str().expect("a path");
    PathBuf::from(manifest).with_file_name("wit")
}
