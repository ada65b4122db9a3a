//! `wasgi new`: makes a site, or adds a handler to one, from templates.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::{self, Language};
use crate::drive::Mount;
use crate::router::Route;
use crate::sdk;

/// The files of a new site except for its first handler: path and content.
const SITE: [(&str, &str); 4] = [
    (
        "html/index.html",
        include_str!("../../templates/site/html/index.html"),
    ),
    (
        "html/style.css",
        include_str!("../../templates/site/html/style.css"),
    ),
    (
        "wasgi.toml",
        include_str!("../../templates/site/wasgi.toml"),
    ),
    (".gitignore", include_str!("../../templates/site/gitignore")),
];

/// The name of a new site's first handler.
const FIRST_HANDLER: &str = "hello";

/// The manifest of a package in Rust, which belongs to no workspace.
const MANIFEST: &str = include_str!("../../templates/handlers/Cargo.toml.in");

/// The text in a test file that stands for the handler's path.
const PATH: &str = "__PATH__";

/// The text in a manifest that stands for the package's name.
const PACKAGE: &str = "__PACKAGE__";

/// The text in a manifest that stands for the path of the SDK.
const SDK_PATH: &str = "__SDK__";

/// The folder of the Rust SDK in a site.
const SDK: &str = ".wasgi/sdk";

/// The files of a handler, without its test.
struct Template {
    /// What follows the handler's name in each path, and the content.
    files: &'static [(&'static str, &'static str)],
    test: &'static str,
    /// How it is served.
    serve: &'static str,
}

/// Runs `wasgi new`: writes the files of a site or of a handler. Never overwrites a file.
///
/// # Errors
///
/// Fails if one of the files exists, then before it writes any; if the handler's name is not a
/// route; or if a file can't be written.
pub fn new(arguments: &cli::New) -> anyhow::Result<ExitCode> {
    let site = arguments.site.as_deref().unwrap_or(Path::new("."));
    let files = match &arguments.handler {
        Some(name) => {
            if !site.join("handlers").is_dir() {
                bail!(
                    "{} is not a site: it has no folder handlers; `wasgi new SITE` makes one",
                    site.display()
                );
            }
            handler(name, arguments.lang)?
        }
        None => {
            let rest = SITE.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
            let mut files = handler(FIRST_HANDLER, Language::Python)?;
            files.extend(rest);
            files
        }
    };
    write(site, &files)?;
    if arguments.handler.is_some() && arguments.lang == Language::Rust {
        let folder = site.join(SDK);
        sdk::write(&folder).with_context(|| format!("{}: can't be written", folder.display()))?;
        println!("wrote {} (the Rust SDK)", folder.display());
    }
    match &arguments.handler {
        Some(_) => {
            let serve = template(arguments.lang).serve;
            println!("try it: wasgi test, wasgi {serve}");
        }
        None => println!("try it: cd {} && wasgi test && wasgi dev", site.display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the files of a handler.
fn handler(name: &str, language: Language) -> anyhow::Result<Vec<(PathBuf, String)>> {
    if name
        .split('/')
        .any(|part| part.is_empty() || part.starts_with(['.', '_']))
    {
        bail!("--handler {name}: not a name of a handler, such as hello or api/users");
    }
    if let Err(error) = Route::parse(name) {
        bail!("--handler {name}: {error}");
    }
    let template = template(language);
    let file = PathBuf::from(format!("handlers/{name}.wasm"));
    let mount = Mount::for_file(&file, Path::new("handlers"));
    let test = template.test.replace(PATH, mount.example());
    let test_file = PathBuf::from(format!("tests/{name}.hurl"));
    let files = template.files.iter().map(|(ending, text)| {
        let path = PathBuf::from(format!("handlers/{name}{ending}"));
        let text = text
            .replace(PACKAGE, &package(name))
            .replace(SDK_PATH, &sdk_path(name));
        (path, text)
    });
    Ok(files.chain([(test_file, test)]).collect())
}

/// Returns the name of a handler's package, which no language reserves.
fn package(handler: &str) -> String {
    let (_, last) = handler.rsplit_once('/').unwrap_or(("", handler));
    let words: Vec<&str> = last
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    format!("handler-{}", words.join("-").to_ascii_lowercase())
        .trim_end_matches('-')
        .to_owned()
}

/// Returns the path of the SDK from the folder of a handler.
fn sdk_path(handler: &str) -> String {
    let up = "../".repeat(handler.split('/').count() + 1);
    format!("{up}{SDK}/{}", sdk::RUST)
}

fn template(language: Language) -> Template {
    let greeting = include_str!("../../templates/handlers/greeting.hurl");
    match language {
        Language::Python => Template {
            files: &[(".py", include_str!("../../templates/handlers/python.py"))],
            test: greeting,
            serve: "serve",
        },
        Language::Javascript => Template {
            files: &[(
                ".js",
                include_str!("../../templates/handlers/javascript.js"),
            )],
            test: greeting,
            serve: "serve",
        },
        Language::Rust => Template {
            files: &[
                ("/Cargo.toml", MANIFEST),
                (
                    "/src/lib.rs",
                    include_str!("../../templates/handlers/rust.rs"),
                ),
            ],
            test: greeting,
            serve: "dev",
        },
        Language::Go => Template {
            files: &[
                ("/go.mod", "module __PACKAGE__\n\ngo 1.21\n"),
                ("/main.go", include_str!("../../templates/handlers/go.go")),
            ],
            test: greeting,
            serve: "dev",
        },
        Language::C => Template {
            files: &[(".c", include_str!("../../templates/handlers/c.c"))],
            test: greeting,
            serve: "dev",
        },
        Language::Wat => Template {
            files: &[(".wat", include_str!("../../templates/handlers/cgi.wat"))],
            serve: "serve",
            test: include_str!("../../templates/handlers/constant.hurl"),
        },
    }
}

/// Writes new files below `site`, and prints their names.
fn write(site: &Path, files: &[(PathBuf, String)]) -> anyhow::Result<()> {
    for (path, _) in files {
        let file = site.join(path);
        // A link that leads nowhere is a file as well.
        if fs::symlink_metadata(&file).is_ok() {
            bail!("{} exists: nothing was written", file.display());
        }
    }
    for (path, text) in files {
        let file = site.join(path);
        let folder = file.parent().unwrap_or(site);
        fs::create_dir_all(folder)
            .with_context(|| format!("{}: can't be made", folder.display()))?;
        let opened = OpenOptions::new().write(true).create_new(true).open(&file);
        opened
            .and_then(|mut new| new.write_all(text.as_bytes()))
            .with_context(|| format!("{}: can't be written", file.display()))?;
        println!("wrote {}", file.display());
    }
    Ok(())
}
