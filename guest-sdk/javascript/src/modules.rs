//! Finds and loads modules: the platform's own, and those of the application's folder.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{Ctx, Exception, Module, Result};

use crate::packages;

/// The maximum size of a module, in bytes: that of a script in a single file.
const MAX_MODULE_BYTES: u64 = 4 << 20;

/// The prefix of the names of the platform's modules.
const PLATFORM: &str = "wasgi:";

/// The extensions of files that can be imported.
const EXTENSIONS: [&str; 4] = ["js", "mjs", "cjs", "json"];

/// The maximum size of all modules that are kept in memory for a portable component, in bytes. They
/// are a part of each instance's memory, whose default limit is 128 MiB.
pub(crate) const MAX_BUILT_BYTES: usize = 24 << 20;

/// The maximum size of all modules that are kept in memory for a served script, in bytes. All are
/// read at each load: this much takes some tens of milliseconds.
pub(crate) const MAX_SERVED_BYTES: usize = 4 << 20;

/// The maximum depth of folders that are searched for modules to keep.
const MAX_DEPTH: usize = 64;

/// The module of the platform that applications import.
const KEY_VALUE: &str = "wasgi:kv";

/// The application's modules.
#[derive(Clone)]
pub(crate) enum Files {
    /// A single file.
    Script { source: String },
    /// All files of a folder.
    Folder(Rc<Folder>),
}

/// An application's folder, or the modules that were kept of it.
pub(crate) struct Folder {
    path: PathBuf,
    /// The sources of all modules, once requests no longer read the folder.
    kept: OnceCell<BTreeMap<String, String>>,
    /// A module that was read may import further ones at any time.
    may_import_later: Cell<bool>,
}

/// The modules of a folder, while they are read.
struct Kept {
    sources: BTreeMap<String, String>,
    bytes: usize,
    max_bytes: usize,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Rc<Self> {
        Rc::new(Self {
            path,
            kept: OnceCell::new(),
            may_import_later: Cell::new(false),
        })
    }

    /// Returns whether a module may still be imported.
    pub(crate) fn needs_files(&self) -> bool {
        self.may_import_later.get() && self.kept.get().is_none()
    }

    /// Reads all modules into memory if some may still be imported.
    ///
    /// # Errors
    ///
    /// Fails if they have more than `max_bytes`.
    pub(crate) fn keep(&self, max_bytes: usize) -> std::result::Result<(), String> {
        if self.needs_files() {
            let mut kept = Kept {
                sources: BTreeMap::new(),
                bytes: 0,
                max_bytes,
            };
            self.keep_folder("", 0, &mut kept)?;
            self.kept.get_or_init(|| kept.sources);
        }
        Ok(())
    }

    fn keep_folder(
        &self,
        folder: &str,
        depth: usize,
        kept: &mut Kept,
    ) -> std::result::Result<(), String> {
        let Ok(entries) = fs::read_dir(self.path.join(folder)) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let name = within(folder, name).unwrap_or_default();
            let path = self.path.join(&name);
            if path.is_dir() {
                if depth < MAX_DEPTH {
                    self.keep_folder(&name, depth + 1, kept)?;
                }
                continue;
            }
            let extension = path.extension().and_then(|extension| extension.to_str());
            if !extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
                continue;
            }
            // What can't be read now could not have been imported either.
            if let Ok(source) = read(&path) {
                kept.bytes += source.len();
                if kept.bytes > kept.max_bytes {
                    let limit = kept.max_bytes >> 20;
                    return Err(format!(
                        "and the modules before it have more than {limit} MiB, and a built handler \
                         keeps the modules that it may import later in memory: bundle it, for \
                         example with `esbuild --bundle --format=esm`"
                    ));
                }
                kept.sources.insert(name, source);
            }
        }
        Ok(())
    }

    /// Returns whether there is a file.
    pub(crate) fn is_file(&self, name: &str) -> bool {
        match self.kept.get() {
            Some(kept) => kept.contains_key(name),
            None => self.path.join(name).is_file(),
        }
    }

    /// Returns whether there is a folder.
    pub(crate) fn is_folder(&self, name: &str) -> bool {
        match self.kept.get() {
            Some(kept) => {
                let first = format!("{name}/");
                let mut following = kept.range(first.clone()..);
                following
                    .next()
                    .is_some_and(|(name, _)| name.starts_with(&first))
            }
            None => self.path.join(name).is_dir(),
        }
    }

    /// Reads a text file.
    ///
    /// # Errors
    ///
    /// Fails if it can't be read, is too large, or is not UTF-8.
    pub(crate) fn read(&self, name: &str) -> std::result::Result<String, String> {
        let source = match self.kept.get() {
            Some(kept) => kept
                .get(name)
                .cloned()
                .ok_or_else(|| "it is not there".to_owned())?,
            None => read(&self.path.join(name))?,
        };
        if imports_later(&source) {
            self.may_import_later.set(true);
        }
        Ok(source)
    }
}

/// Returns whether a module may import others when it runs: with `import()`, or in code that it
/// makes of text.
fn imports_later(source: &str) -> bool {
    let calls = |word: &str| {
        source.match_indices(word).any(|(at, _)| {
            let behind = source.get(at + word.len()..).unwrap_or_default();
            behind.trim_start().starts_with(['(', '/'])
        })
    };
    calls("import") || source.contains("eval") || source.contains("Function")
}

/// Loads modules. A module's name is its path in the folder.
#[derive(Clone)]
pub(crate) struct Sources(Rc<Files>);

impl Sources {
    pub(crate) fn new(files: Files) -> Self {
        Self(Rc::new(files))
    }
}

/// Returns the source of a module of the platform.
pub(crate) fn platform_source(name: &str) -> Option<&'static str> {
    Some(match name {
        "blob.js" => include_str!("../platform/blob.js"),
        "body.js" => include_str!("../platform/body.js"),
        "clone.js" => include_str!("../platform/clone.js"),
        "console.js" => include_str!("../platform/console.js"),
        "crypto.js" => include_str!("../platform/crypto.js"),
        "encoding.js" => include_str!("../platform/encoding.js"),
        "events.js" => include_str!("../platform/events.js"),
        "fetch.js" => include_str!("../platform/fetch.js"),
        "headers.js" => include_str!("../platform/headers.js"),
        "host.js" => include_str!("../platform/host.js"),
        "kv.js" => include_str!("../platform/kv.js"),
        "http.js" => include_str!("../platform/http.js"),
        "main.js" => include_str!("../platform/main.js"),
        "serve.js" => include_str!("../platform/serve.js"),
        "streams.js" => include_str!("../platform/streams.js"),
        "timers.js" => include_str!("../platform/timers.js"),
        "url.js" => include_str!("../platform/url.js"),
        _ => return None,
    })
}

impl Resolver for Sources {
    fn resolve<'js>(
        &mut self,
        cx: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        if base.starts_with(PLATFORM) {
            return Ok(format!("{PLATFORM}{}", name.trim_start_matches("./")));
        }
        if name == KEY_VALUE {
            return Ok(format!("{KEY_VALUE}.js"));
        }
        self.0.resolve(base, name).map_err(|why| {
            Exception::throw_type(cx, &format!("{base}: import of \"{name}\": {why}"))
        })
    }
}

impl Files {
    fn resolve(&self, base: &str, name: &str) -> std::result::Result<String, String> {
        let scheme = name.split_once(':').map(|(scheme, _)| scheme);
        match scheme {
            Some("node") => return Err("modules of Node.js are not available".into()),
            Some("http" | "https") => {
                return Err("modules are in the application's folder, not on other hosts".into());
            }
            Some(scheme) => return Err(format!("modules can't be loaded from {scheme}: URLs")),
            None => {}
        }
        let Self::Folder(folder) = self else {
            return Err(
                "a script of one file can't import other modules: put both in a folder with a \
                        package.json"
                    .into(),
            );
        };
        if name.starts_with('/') {
            return Err(
                "absolute paths are not allowed: modules are in the application's folder".into(),
            );
        }
        if name.starts_with("./") || name.starts_with("../") {
            let parent = base.rsplit_once('/').map_or("", |(parent, _)| parent);
            let path = within(parent, name).ok_or("it is outside the application's folder")?;
            return existing(folder, path);
        }
        packages::resolve(folder, base, name)
    }
}

/// Joins a relative path to a folder's. Returns none if it leads out of the application's.
pub(crate) fn within(folder: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Checks that a module exists, and suggests another name if it doesn't.
fn existing(folder: &Folder, path: String) -> std::result::Result<String, String> {
    if folder.is_file(&path) {
        return Ok(path);
    }
    let suffixes = [".js", ".mjs", "/index.js"];
    let there = suffixes
        .iter()
        .find(|suffix| folder.is_file(&format!("{path}{suffix}")));
    Err(match there {
        Some(suffix) => format!("there is no file {path}; is {path}{suffix} meant?"),
        None => format!("there is no file {path}"),
    })
}

impl Loader for Sources {
    fn load<'js>(
        &mut self,
        cx: &Ctx<'js>,
        name: &str,
        attributes: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        if let Some(source) = name.strip_prefix(PLATFORM).and_then(platform_source) {
            return Module::declare(cx.clone(), name, source);
        }
        let kind = attributes
            .map(|attributes| attributes.get_type())
            .transpose()?
            .flatten();
        let source = self.0.read(name).and_then(|source| {
            if kind.as_deref() == Some("json") || name.ends_with(".json") {
                let text = serde_json::to_string(&source).map_err(|error| error.to_string())?;
                return Ok(format!("export default JSON.parse({text});"));
            }
            match packages::is_common_js(name, &source) {
                true => Err(
                    "it is a CommonJS module, and only ES modules can be imported: bundle \
                             it, for example with `esbuild --bundle --format=esm`"
                        .to_owned(),
                ),
                false => Ok(source),
            }
        });
        let source = source.map_err(|why| Exception::throw_type(cx, &format!("{name}: {why}")))?;
        Module::declare(cx.clone(), name, source)
    }
}

impl Files {
    /// Reads a module's source.
    ///
    /// # Errors
    ///
    /// Fails if it can't be read, is too large, or is not UTF-8.
    pub(crate) fn read(&self, name: &str) -> std::result::Result<String, String> {
        match self {
            Self::Script { source, .. } => Ok(source.clone()),
            Self::Folder(folder) => folder.read(name),
        }
    }
}

/// Reads a text file of the application.
fn read(path: &Path) -> std::result::Result<String, String> {
    let told = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => "it can't be read: not permitted".to_owned(),
        _ => format!("it can't be read: {error}"),
    };
    if fs::metadata(path).map_err(told)?.len() > MAX_MODULE_BYTES {
        return Err(format!(
            "larger than {} MiB, the limit for a module",
            MAX_MODULE_BYTES >> 20
        ));
    }
    let bytes = fs::read(path).map_err(told)?;
    String::from_utf8(bytes).map_err(|_| "its text is not UTF-8".to_owned())
}
