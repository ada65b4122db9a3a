//! Scripts: applications in an interpreted language, from source.
//!
//! The server has a *runtime* for the language: a component with the interpreter and the binding to
//! the contract, which the project's setup builds, and the language's library as files. It is
//! compiled once, in parts (`shared_code`). For each script, a compiling process starts it, lets it
//! import the application, and takes a snapshot of its state ([`compile`](super::compile)); the
//! instance of each request begins with that state. In the sandbox, an instance can read the same
//! folders that the script was loaded from.
//!
//! `runtime` has the compiled runtime, and `layer` the imported packages of an application.

pub(super) mod folders;
mod layer;
mod runtime;
mod stamp;
pub(super) mod tools;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::cache::{CodeCache, Entry};
use super::compile::{
    BuiltScript, GUEST_APPLICATION, GUEST_LIBRARY, GUEST_PACKAGES, LoadedScript, ScriptJob,
};
use super::error::LoadError;
use super::shared_code::ProgramFiles;
use crate::grants::Grants;
use crate::policy::Policies;
use crate::published::Published;
use crate::registry::Version;
use crate::reload::{Language, LoadRequest, script_language};
use folders::Folders;
use layer::{Layers, Wanted};
use runtime::RuntimeFolder;
use tools::Tools;

/// The maximum size of a script in a single file, in bytes: several times the largest module of
/// Python's library.
const MAX_SCRIPT_BYTES: usize = 4 << 20;

/// The folder of Python's library in its runtime's folder.
const LIBRARY: &str = "lib";

/// The folders in an application's folder that are searched for its packages: the target of `wasgi
/// deps` and of `pip install --target`, or a virtual environment.
pub const PACKAGES: &str = ".packages";
const ENVIRONMENT: &str = ".venv";

/// The runtimes of one server. Clones share them.
#[derive(Clone)]
pub(super) struct Scripts {
    python: RuntimeFolder,
    javascript: RuntimeFolder,
    /// Creates layers of packages, if that is enabled.
    layers: Option<Layers>,
    /// What handlers may use.
    policies: Arc<Published<Policies>>,
}

/// The plan for the interpreter.
#[derive(Serialize)]
struct Plan<'a> {
    /// The search path for modules of Python.
    path: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<OneFile<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<&'static str>,
    /// The entry of the path that is the folder of its packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    packages: Option<&'static str>,
    /// The environment variables of an application.
    variables: BTreeMap<&'a str, &'a str>,
    /// The table of `wasgi.toml` that grants variables. None if nothing can be granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    /// The state is for a portable component, which has no folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<Build>,
}

/// How a portable component is built.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Build {
    /// The state is prepared for cheap requests, as that of a served script is.
    pub(super) release: bool,
}

#[derive(Serialize)]
struct OneFile<'a> {
    file: Cow<'a, str>,
    source: &'a str,
}

/// Returns whether a handler's path is a script: a source file, or a folder.
pub(super) fn is_script(path: &Path) -> bool {
    path.is_dir() || script_language(path).is_some()
}

impl Scripts {
    /// Creates the scripts with the runtimes in this folder, if any.
    pub(super) fn new(folder: Option<&Path>) -> Self {
        Self {
            python: RuntimeFolder::new(Language::Python, folder),
            javascript: RuntimeFolder::new(Language::JavaScript, folder),
            layers: None,
            policies: Arc::new(Published::new(Policies::default())),
        }
    }

    /// Returns the runtime for the script at a path.
    fn runtime(&self, path: &Path) -> &RuntimeFolder {
        match script_language(path) {
            Some(Language::JavaScript) => &self.javascript,
            // A folder that has just been emptied, too: its runtime says what is missing.
            Some(Language::Python) | None => &self.python,
        }
    }

    /// Enables layers of packages: later loads of an application begin with its layer.
    pub(super) fn enable_layers(&mut self) {
        self.layers.get_or_insert_default();
    }

    /// Sets what handlers may use. Loads that begin later use it.
    /// Returns these, with policies of their own.
    pub(super) fn with_policies(&self, policies: Policies) -> Self {
        Self {
            policies: Arc::new(Published::new(policies)),
            ..self.clone()
        }
    }

    pub(super) fn set_policies(&self, policies: Policies) {
        self.policies.publish(policies);
    }

    /// Returns the version of a script whose content has the version `content`: another one for
    /// other variables, if its import can see them.
    pub(super) fn version(&self, name: &str, path: &Path, content: Version) -> Version {
        let grants = self.visible(name, path);
        let variables = grants.as_deref().map_or(&[][..], Grants::variables);
        if variables.is_empty() {
            return content;
        }
        let mut key = content.as_bytes().to_vec();
        for text in variables.iter().flat_map(|(name, value)| [name, value]) {
            key.extend_from_slice(&(text.len() as u64).to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        }
        Version::from_content(&key)
    }

    /// Returns the grants that a script can see at its import. One in JavaScript gets them with
    /// each request.
    fn visible(&self, name: &str, path: &Path) -> Option<Arc<Grants>> {
        match self.runtime(path).language() {
            Language::Python => self.policies.current().for_handler(name).grants,
            Language::JavaScript => None,
        }
    }

    /// Returns the folders that a script's instances can read.
    pub(super) fn folders(&self, path: &Path) -> Folders {
        let runtime = self.runtime(path);
        let Some(place) = runtime.path() else {
            return Arc::default();
        };
        let is_python = runtime.language() == Language::Python;
        let mut folders = Vec::new();
        if is_python {
            folders.push((place.join(LIBRARY), GUEST_LIBRARY));
        }
        if path.is_dir() {
            // A compiling process has another current folder.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            folders.push((path.clone(), GUEST_APPLICATION));
            let packages = is_python.then(|| packages(&path)).flatten();
            folders.extend(packages.map(|packages| (packages, GUEST_PACKAGES)));
        }
        folders.into()
    }

    /// Returns the cache entry for the state of a script of this version. `None` without a runtime.
    pub(super) fn entry(&self, cache: &CodeCache, path: &Path, version: Version) -> Option<Entry> {
        let mut key = self.runtime(path).stamp().ok()?.to_vec();
        key.extend_from_slice(version.as_bytes());
        Some(cache.entry(Version::from_content(&key)))
    }

    /// Loads a script, and stores its state in the cache.
    ///
    /// # Errors
    ///
    /// Fails if there is no usable runtime, or the application can't be imported.
    pub(super) fn load(
        &self,
        request: &LoadRequest<'_>,
        tools: &Tools<'_>,
    ) -> Result<ProgramFiles, LoadError> {
        // First, because without a runtime there are no folders, and the plan would be wrong.
        let runtime = self.runtime(request.path);
        runtime.stamp()?;
        let folders = self.folders(request.path);
        let grants = self.visible(request.name, request.path);
        let table = crate::grants::table_header(request.name);
        let plan = Plan {
            table: Some(table),
            ..plan(request, &folders, grants.as_deref())?
        };
        let plan = plan.json()?;
        let runtime = runtime.runtime(tools, request.cancel)?;
        let Some(code) = &runtime.files.shared else {
            return Err(LoadError::new("not loaded: the runtime has no code"));
        };
        let layer = self.layer(request.path, &folders, tools);
        let kept = layer.as_ref();
        let kept = kept.and_then(|(cache, entry)| layer::kept(cache, entry, tools.pool, &runtime));
        let job = ScriptJob {
            plan: &plan,
            parts: [
                &code.code,
                &runtime.loader,
                kept.as_ref().unwrap_or(&runtime.files.own),
            ],
            mark: &runtime.mark,
            folders: &folders,
        };
        let loaded = tools.compiler.script(tools.pool, &job, request.cancel)?;
        let LoadedScript {
            state,
            said,
            modules,
        } = loaded;
        for line in said.lines() {
            tracing::info!(
                handler = request.name,
                "{}",
                crate::printable::one_line(line)
            );
        }
        if let (Some(layers), Some((cache, entry))) = (&self.layers, layer)
            && !modules.is_empty()
        {
            layers.want(Wanted {
                cache,
                entry,
                replaces: kept.is_some(),
                name: request.name.to_owned(),
                modules,
                folders: folders
                    .iter()
                    .filter(|(_, name)| *name != GUEST_APPLICATION)
                    .cloned()
                    .collect(),
                runtime: runtime.clone(),
                pool: tools.pool.clone(),
                compiler: tools.compiler.clone(),
            });
        }
        let entry = tools.cache.and_then(|cache| {
            // If a file has changed in the meantime, the import may have used a later version.
            if !(request.is_unchanged)() {
                return None;
            }
            // The script may have copied a secret.
            if grants.is_some_and(|grants| grants.has_secrets()) {
                return None;
            }
            let entry = self.entry(cache, request.path, request.version)?;
            cache.store_later(entry, &state, request.later)
        });
        Ok(ProgramFiles {
            own: entry.unwrap_or(state),
            shared: runtime.files.shared.clone(),
        })
    }

    /// Loads a script, and returns a portable component with its state. The application sees no
    /// variables, and its component contains the files that it may read.
    ///
    /// # Errors
    ///
    /// Fails if there is no usable runtime, or the application can't be imported.
    pub(super) fn build(
        &self,
        request: &LoadRequest<'_>,
        build: Build,
        tools: &Tools<'_>,
    ) -> Result<BuiltScript, LoadError> {
        let folder = self.runtime(request.path);
        folder.stamp()?;
        let folders = self.folders(request.path);
        let plan = Plan {
            build: Some(build),
            ..plan(request, &folders, None)?
        };
        let plan = plan.json()?;
        let component = folder.read()?;
        let runtime = folder.runtime(tools, request.cancel)?;
        let Some(code) = &runtime.files.shared else {
            return Err(LoadError::new("not loaded: the runtime has no code"));
        };
        let job = ScriptJob {
            plan: &plan,
            parts: [&code.code, &runtime.loader, &runtime.files.own],
            mark: &runtime.mark,
            folders: &folders,
        };
        tools.compiler.portable(tools.pool, &job, &component)
    }

    /// Returns the cache entry for the layer of an application's packages, if it can have one.
    fn layer(
        &self,
        application: &Path,
        folders: &Folders,
        tools: &Tools<'_>,
    ) -> Option<(Arc<CodeCache>, Entry)> {
        let cache = tools.cache?;
        let packages = place(folders, GUEST_PACKAGES)?;
        let version = layer::version(self.python.stamp().ok()?, application, packages)?;
        Some((cache.clone(), cache.entry(version)))
    }
}

impl Plan<'_> {
    fn json(&self) -> Result<Vec<u8>, LoadError> {
        serde_json::to_vec(self).map_err(|error| LoadError::new(format!("not loaded: {error}")))
    }
}

/// Returns the plan for the interpreter.
fn plan<'a>(
    request: &LoadRequest<'a>,
    folders: &Folders,
    grants: Option<&'a Grants>,
) -> Result<Plan<'a>, LoadError> {
    let has = |name| place(folders, name).map(|_| name);
    let folder = has(GUEST_APPLICATION);
    let name = request.path.file_name().unwrap_or_default();
    let source = match folder {
        Some(_) => "",
        None if request.bytes.len() > MAX_SCRIPT_BYTES => {
            let limit = MAX_SCRIPT_BYTES >> 20;
            let line = format!("not loaded: larger than {limit} MiB, the limit for a script");
            return Err(LoadError::new(line));
        }
        None => std::str::from_utf8(request.bytes)
            .map_err(|_| LoadError::new("not loaded: its text is not UTF-8"))?,
    };
    Ok(Plan {
        // The library comes last, so that an application's own modules take precedence.
        path: folders.iter().rev().map(|(_, name)| *name).collect(),
        script: folder.is_none().then_some(OneFile {
            file: name.to_string_lossy(),
            source,
        }),
        folder,
        packages: has(GUEST_PACKAGES),
        variables: grants
            .into_iter()
            .flat_map(Grants::variables)
            .map(|(name, value)| (&**name, &**value))
            .collect(),
        table: None,
        build: None,
    })
}

/// Returns the path of a sandbox folder on the host.
fn place<'f>(folders: &'f Folders, name: &str) -> Option<&'f Path> {
    let folder = folders.iter().find(|(_, known)| *known == name);
    folder.map(|(path, _)| path.as_path())
}

/// Returns the folder with an application's packages, if any.
fn packages(folder: &Path) -> Option<PathBuf> {
    let packages = folder.join(PACKAGES);
    if packages.is_dir() {
        return Some(packages);
    }
    let versions = fs::read_dir(folder.join(ENVIRONMENT).join("lib")).ok()?;
    let installed = versions
        .flatten()
        .map(|version| version.path().join("site-packages"));
    installed.filter(|path| path.is_dir()).max()
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts")
            .field("python", &self.python.path())
            .field("javascript", &self.javascript.path())
            .finish_non_exhaustive()
    }
}
