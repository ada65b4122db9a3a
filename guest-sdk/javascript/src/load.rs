//! Loads a handler by a plan: evaluates its module, and prepares the memory for a snapshot.

use std::path::PathBuf;

use rquickjs::module::Evaluated;
use rquickjs::{Ctx, Function, Module, Promise};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{self, Engine, Platform};
use crate::event_loop::settled;
use crate::failure::{self, Failure};
use crate::foreign::forget_folders;
use crate::host;
use crate::modules::{Files, Folder, MAX_BUILT_BYTES, MAX_SERVED_BYTES, within};

/// The file with an application's settings.
const SETTINGS: &str = "package.json";

/// The maximum number of paths to request before the snapshot.
const MAX_WARM: usize = 32;

/// The number of requests to each warm path.
const WARM_ROUNDS: usize = 3;

/// The heap that a snapshot has beyond what it uses, in bytes, so that a request need not grow its
/// memory.
const SPARE_HEAP_BYTES: usize = 512 << 10;

/// The plan, in JSON: a `script`, or the `folder` of an application.
#[derive(Deserialize)]
struct Plan {
    script: Option<Script>,
    folder: Option<PathBuf>,
    /// The line of `wasgi.toml` that begins the table that grants variables.
    #[serde(default)]
    table: String,
    /// The state is for a portable component, which has no folders: the modules that may still be
    /// imported become part of the state.
    build: Option<Build>,
}

#[derive(Deserialize)]
struct Build {
    /// The paths to warm are requested several times, as for a served application.
    release: bool,
}

#[derive(Deserialize)]
struct Script {
    file: String,
    source: String,
}

/// The report.
#[derive(Serialize)]
struct Report {
    error: Option<String>,
    details: String,
    /// Whether a request may import modules from the application's folder.
    needs_files: bool,
}

/// An application's own settings: the key `wasgi` of its `package.json`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The main module.
    main: Option<String>,
    /// The paths to request before the snapshot.
    #[serde(default)]
    warm: Vec<String>,
}

/// Follows a plan, and returns a report.
pub(crate) fn load(plan: &str) -> String {
    let plan = serde_json::from_str::<Plan>(plan);
    let table = plan.as_ref().map_or("", |plan| &plan.table);
    failure::set_table(table);
    let plan = plan.map_err(|error| Failure::new("plan", error.to_string()));
    let loaded = plan.and_then(follow);
    host::forget_seed();
    forget_folders();
    let needs_files = loaded.as_ref().is_ok_and(|needs_files| *needs_files);
    let (error, details) = match loaded {
        Ok(_) => (None, String::new()),
        Err(failure) => (
            Some(failure.line() + &failure.hint()),
            failure.stack,
        ),
    };
    let report = Report {
        error,
        details,
        needs_files,
    };
    serde_json::to_string(&report).unwrap_or_default()
}

/// Follows a plan. Returns whether a request may import modules from the application's folder.
fn follow(plan: Plan) -> Result<bool, Failure> {
    let rounds = match plan.build {
        Some(Build { release: false }) => 1,
        _ => WARM_ROUNDS,
    };
    let is_built = plan.build.is_some();
    let (files, main, settings) = match plan {
        Plan {
            script: Some(script),
            ..
        } => (
            Files::Script {
                source: script.source,
            },
            script.file,
            Settings::default(),
        ),
        Plan {
            folder: Some(folder),
            ..
        } => {
            let folder = Folder::new(folder);
            let (main, settings) = described(&folder)?;
            (Files::Folder(folder), main, settings)
        }
        _ => return Err(Failure::new("plan", "names nothing to load")),
    };
    let source = files.read(&main).map_err(|why| Failure::new(&main, why))?;
    Engine::start(files.clone()).map_err(|why| Failure::new("platform", why))?;
    engine::with(|cx, platform| {
        evaluate(cx, platform, &main, source)?;
        for _ in 0..rounds {
            for path in &settings.warm {
                warm(cx, platform, path)?;
            }
        }
        let clear = platform.function("clearTimers");
        clear
            .and_then(|clear| clear.call::<_, ()>(()))
            .map_err(|error| Failure::from_error(cx, platform, error))
    })?;
    let needs_files = match &files {
        Files::Script { .. } => false,
        Files::Folder(folder) => {
            // A file that is saved later belongs to the application's next version. One with too
            // many modules imports from its folder, which a portable component has not.
            let limit = if is_built {
                MAX_BUILT_BYTES
            } else {
                MAX_SERVED_BYTES
            };
            let kept = folder.keep(limit);
            if is_built {
                kept.map_err(|why| Failure::new(&main, why))?;
            }
            folder.needs_files()
        }
    };
    Engine::settle();
    drop(std::hint::black_box(Vec::<u8>::with_capacity(
        SPARE_HEAP_BYTES,
    )));
    Ok(needs_files)
}

/// Returns the main module of an application, and its settings.
fn described(folder: &Folder) -> Result<(String, Settings), Failure> {
    let failed = |why: String| Failure::new(SETTINGS, why);
    let text = folder.read(SETTINGS).map_err(failed)?;
    let described: Value =
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let settings = described
        .get("wasgi")
        .cloned()
        .map(serde_json::from_value::<Settings>);
    let settings = settings
        .transpose()
        .map_err(|error| failed(format!("wasgi: {error}")))?;
    let settings = settings.unwrap_or_default();
    if settings.warm.len() > MAX_WARM {
        return Err(failed(format!("wasgi.warm: more than {MAX_WARM} paths")));
    }
    if let Some(path) = settings.warm.iter().find(|path| !path.starts_with('/')) {
        return Err(failed(format!(
            "wasgi.warm: {path:?}: a path begins with /"
        )));
    }
    let named = settings
        .main
        .as_deref()
        .map(|main| ("wasgi.main", main))
        .or_else(|| {
            let key = ["module", "main"]
                .into_iter()
                .find(|key| described.get(*key).is_some())?;
            Some((key, described.get(key)?.as_str().unwrap_or_default()))
        });
    if let Some((key, main)) = named {
        let path = within("", main)
            .ok_or_else(|| failed(format!("{key}: {main:?} is outside the folder")))?;
        if !folder.is_file(&path) {
            return Err(failed(format!("{key}: there is no file {main:?}")));
        }
        return Ok((path, settings));
    }
    const CONVENTIONAL: [&str; 4] = ["index.js", "index.mjs", "src/index.js", "src/index.mjs"];
    let main = CONVENTIONAL.iter().find(|name| folder.is_file(name));
    let main = main.ok_or_else(|| {
        failed(
            "it names no main module (\"main\"), and there is no index.js or src/index.js".into(),
        )
    })?;
    Ok(((*main).to_owned(), settings))
}

/// Evaluates the main module, and takes the application from its exports.
fn evaluate<'js>(
    cx: &Ctx<'js>,
    platform: &Platform<'js>,
    main: &str,
    source: String,
) -> Result<(), Failure> {
    let failed = |error| Failure::from_error(cx, platform, error);
    let module = Module::declare(cx.clone(), main, source).map_err(failed)?;
    let (module, evaluated): (Module<'js, Evaluated>, Promise<'js>) =
        module.eval().map_err(failed)?;
    settled::<()>(cx, platform, &evaluated, "its top-level await")?;
    let set: Function<'js> = platform.function("setApplication").map_err(failed)?;
    let refusal: Option<String> = set
        .call((module.namespace().map_err(failed)?,))
        .map_err(failed)?;
    match refusal {
        Some(why) => Err(Failure::new(main, why)),
        None => Ok(()),
    }
}

/// Requests a path from the application.
fn warm<'js>(cx: &Ctx<'js>, platform: &Platform<'js>, path: &str) -> Result<(), Failure> {
    let failed = |error| Failure::from_error(cx, platform, error);
    let warm: Function<'js> = platform.function("warm").map_err(failed)?;
    let promise: Promise<'js> = warm.call((path,)).map_err(failed)?;
    settled::<()>(cx, platform, &promise, "the response").map_err(|failure| Failure {
        message: format!("{} (while wasgi.warm requested {path})", failure.message),
        ..failure
    })
}
