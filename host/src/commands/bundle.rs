//! `wasgi bundle`: makes one file of a site, lists it, and checks it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::error_log;
use super::projects;
use super::site::check_folders;
use crate::bundle::{Archive, Collected, Collection, Output, Program, own_program};
use crate::cli;
use crate::config::{Config, ResolvedConfig};
use crate::printable;
use crate::reload;

/// The extension of bundles.
const EXTENSION: &str = "wasgi";

/// Runs `wasgi bundle`.
///
/// # Errors
///
/// Fails if the site can't be bundled, or if a file to list or check is not a bundle or is
/// damaged.
pub fn bundle(arguments: &cli::Bundle) -> anyhow::Result<ExitCode> {
    match (&arguments.list, &arguments.check) {
        (Some(file), _) => list(&open(file)?),
        (_, Some(file)) => check(&open(file)?)?,
        _ => make(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn open(file: &Path) -> anyhow::Result<Archive> {
    let archive = Archive::open(file)?;
    archive.with_context(|| {
        format!(
            "{}: is not a bundle that wasgi bundle wrote",
            file.display()
        )
    })
}

fn list(archive: &Archive) {
    let mut text = String::new();
    for entry in archive.entries() {
        let hash = entry.hash.to_hex();
        text += &format!("{hash} {:>12} {}\n", entry.length, entry.name);
    }
    // An error means that the reader has closed the pipe, which is fine.
    let _ = std::io::stdout().write_all(printable::report(&text).to_string().as_bytes());
}

fn check(archive: &Archive) -> anyhow::Result<()> {
    archive.check()?;
    let files = archive.entries().len();
    let shown = archive.path().display();
    println!(
        "{shown}: {files} files, version {}, no damage",
        version(&archive.id())
    );
    Ok(())
}

fn make(arguments: &cli::Bundle) -> anyhow::Result<()> {
    let (resolved, overlaps) = arguments.site.load()?;
    if resolved.bundle.is_some() {
        bail!(
            "{}: is a bundle already: name a site's folder",
            arguments.site.place.site.display()
        );
    }
    let config = &resolved.config;
    if let Some(host) = config.hosts.names().next() {
        bail!(
            "hosts.{host}: a bundle is one site, without virtual hosts: bundle the folder of each, \
             which is a site by itself"
        );
    }
    if let Some((key, _)) = config.handler_sources().first() {
        bail!(
            "{key}: source: a bundle has all of its handlers in it: write this one to the folder of \
             handlers by `wasgi pull -o`, and remove the key"
        );
    }
    let errors = error_log::start(config)?;
    let checked = check_folders(config, &overlaps);
    errors.flush();
    checked?;
    let output = output(arguments, config)?;
    let mut collection = collect(arguments, &resolved)?;
    for line in std::mem::take(&mut collection.left_out) {
        eprintln!("left out: {}", printable::one_line(&line));
    }
    let files: Vec<Collected> = collection.files().collect();
    if files.is_empty() {
        bail!(
            "{}: has no page and no handler to bundle",
            arguments.site.place.site.display()
        );
    }
    let program = match arguments.self_contained {
        true => {
            let (file, bytes) = own_program()?;
            Program::Own(file, bytes)
        }
        false => Program::None,
    };
    let shown = output.display().to_string();
    let (id, bytes) = Output(output).write(&files, program)?;
    let count = files.len();
    println!(
        "wrote {shown}: {count} files, {bytes} bytes, version {}",
        version(&id)
    );
    Ok(())
}

/// Returns the beginning of a bundle's identity.
fn version(id: &blake3::Hash) -> String {
    id.to_hex().chars().take(12).collect()
}

/// Returns the file to write.
fn output(arguments: &cli::Bundle, config: &Config) -> anyhow::Result<PathBuf> {
    let path = match &arguments.output {
        Some(path) => path.clone(),
        None => {
            let site = std::path::absolute(&arguments.site.place.site)?;
            let site = site.canonicalize().unwrap_or(site);
            let name = site
                .file_name()
                .context("the site's folder has no name: use -o FILE")?;
            match arguments.self_contained {
                true => PathBuf::from(name).with_added_extension("run"),
                false => PathBuf::from(name).with_added_extension(EXTENSION),
            }
        }
    };
    let shown = path.display();
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Ok(parent) = parent.canonicalize() else {
        bail!(
            "{shown}: can't be written: there is no folder {}",
            parent.display()
        );
    };
    if path.is_dir() || path.file_name().is_none() {
        bail!("{shown}: can't be written: it is a folder");
    }
    for (folder, why) in [
        (config.site.root(), "visitors could read it"),
        (config.site.handlers(), "the next bundle would contain it"),
    ] {
        if folder
            .canonicalize()
            .is_ok_and(|folder| parent.starts_with(folder))
        {
            bail!(
                "{shown}: would be in {}, where {why}: name another",
                folder.display()
            );
        }
    }
    Ok(path)
}

/// Collects the files of a site, after building its projects.
fn collect(arguments: &cli::Bundle, resolved: &ResolvedConfig) -> anyhow::Result<Collection> {
    let config = &resolved.config;
    let built = projects::build_all(config)?;
    let mut collection = Collection::without(private(arguments, config));
    collection.add_pages(config.site.root())?;
    collection.add_handlers(config.site.handlers())?;
    for (file, artifact) in built {
        let is_folder = config.site.handlers().join(&file).is_dir();
        let name = match file.rsplit_once('.') {
            Some((stem, _)) if !is_folder => stem,
            _ => &file,
        };
        collection.add_built(name, artifact)?;
    }
    let file = arguments.site.sources().file();
    if file.is_file() {
        if resolved
            .origins
            .keys()
            .any(|key| key.starts_with("bundle.") || key.starts_with("oci."))
        {
            bail!(
                "{}: the sections [bundle] and [oci] belong into the file that `wasgi serve --config` \
                 names, not into a bundle",
                file.display()
            );
        }
        collection.add_config(&file)?;
    }
    if arguments.self_contained && !reload::scripts(config.site.handlers()).is_empty() {
        let runtime = config.site.runtime().context(
            "the site has scripts, and their runtimes are not there: `cargo xtask runtime` makes \
             them",
        )?;
        collection.add_runtime(&runtime)?;
    }
    Ok(collection)
}

/// Returns what must not be in a bundle, wherever it is.
fn private(arguments: &cli::Bundle, config: &Config) -> Vec<(PathBuf, &'static str)> {
    let mut private = Vec::new();
    let mut add = |path: &Path, what| private.push((path.to_owned(), what));
    let tls = &config.tls;
    tls.key.iter().for_each(|key| add(key, "a private key"));
    tls.cert.iter().for_each(|cert| add(cert, "a certificate"));
    add(config.state.folder(), "the state of handlers");
    add(config.acme.folder(), "certificates and their keys");
    for (_, handler) in config.handlers.iter() {
        let grants = handler.grants();
        grants.secret_files().for_each(|file| add(file, "a secret"));
        let folders = handler.files.iter();
        // One that contains the site, which may only be read, doesn't make all of it private.
        let site = arguments.site.place.site.canonicalize().unwrap_or_default();
        let is_part = |folder: &Path| {
            let folder = folder.canonicalize().unwrap_or_default();
            let contains =
                |part: &Path| part.canonicalize().is_ok_and(|it| it.starts_with(&folder));
            folder != site && !contains(config.site.root()) && !contains(config.site.handlers())
        };
        folders
            .filter(|folder| is_part(&folder.source))
            .for_each(|folder| add(&folder.source, "a granted folder"));
    }
    private
}
