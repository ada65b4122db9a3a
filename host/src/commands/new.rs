//! `wasgi new`: makes a site, or adds a handler to one, from templates.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::{self, Language};
use crate::drive::Mount;
use crate::router::Route;

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

/// The text in a test file that stands for the handler's path.
const PATH: &str = "__PATH__";

/// A handler's file and its test.
struct Template {
    extension: &'static str,
    source: &'static str,
    test: &'static str,
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
    match &arguments.handler {
        Some(_) => println!("try it: wasgi test, wasgi serve"),
        None => println!("try it: cd {} && wasgi test && wasgi serve", site.display()),
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
    let file = PathBuf::from(format!("handlers/{name}.{}", template.extension));
    let mount = Mount::for_file(&file, Path::new("handlers"));
    let test = template.test.replace(PATH, mount.example());
    let test_file = PathBuf::from(format!("tests/{name}.hurl"));
    Ok(vec![(file, template.source.to_owned()), (test_file, test)])
}

fn template(language: Language) -> Template {
    let greeting = include_str!("../../templates/handlers/greeting.hurl");
    match language {
        Language::Python => Template {
            extension: "py",
            source: include_str!("../../templates/handlers/python.py"),
            test: greeting,
        },
        Language::Javascript => Template {
            extension: "js",
            source: include_str!("../../templates/handlers/javascript.js"),
            test: greeting,
        },
        Language::Wat => Template {
            extension: "wat",
            source: include_str!("../../templates/handlers/cgi.wat"),
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
