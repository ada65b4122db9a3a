//! Finds and loads modules: the platform's own, and those of the application's folder.

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

/// The application's modules.
#[derive(Clone)]
pub(crate) enum Files {
    /// A single file.
    Script { source: String },
    /// All files of a folder.
    Folder(PathBuf),
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
fn existing(folder: &Path, path: String) -> std::result::Result<String, String> {
    if folder.join(&path).is_file() {
        return Ok(path);
    }
    let suffixes = [".js", ".mjs", "/index.js"];
    let there = suffixes
        .iter()
        .find(|suffix| folder.join(format!("{path}{suffix}")).is_file());
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
            Self::Folder(folder) => read(&folder.join(name)),
        }
    }
}

/// Reads a text file of the application.
pub(crate) fn read(path: &Path) -> std::result::Result<String, String> {
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
