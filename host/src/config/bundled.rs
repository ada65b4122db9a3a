//! The configuration of a bundle: that in the bundle, and the operator's file on top of it.
//!
//! Relative paths in the bundle's own configuration start at the folder that the bundle is in, and
//! those in the operator's file at that file's folder. A key of the operator's file takes
//! precedence over the bundle's, and so does a whole table of a handler.

use std::path::Path;

use anyhow::{Context, bail};

use super::complaint::Complaint;
use super::draft::{Draft, Origin};
use super::file::{self, Contents, FILE_NAME, MAX_BYTES};
use super::pulled;
use super::sections::Config;
use super::site;
use super::table::all_keys;
use crate::bundle::{Archive, PublicKey, PulledBundle, Unpacked};
use crate::oci::{self, ArtifactKind, Pulling, Reference};

/// Keys whose values are the bundle's parts, each with what is in the bundle.
const OWN: [(&str, &str); 3] = [
    ("site.root", "the pages"),
    ("site.handlers", "the handlers"),
    ("site.build", "the results of all builds"),
];

/// Why a bundle can't have virtual hosts.
const NO_HOSTS: &str = "a bundle is one site, without virtual hosts: serve each host's bundle by \
                        its own server, behind a proxy";

/// Returns a bundle in a registry, after downloading it if it isn't in the store.
///
/// # Errors
///
/// Fails if the reference has no digest, if the bundle can't be downloaded, or if it is none.
pub(super) fn pull(reference: &str, operator: &Config) -> anyhow::Result<Archive> {
    let (reference, _) = Reference::parse_pinned(reference).map_err(anyhow::Error::msg)?;
    let pulling = Pulling {
        reference: &reference,
        options: &operator.oci,
        store: &operator.oci_store()?,
        is_over: &|| false,
    };
    let (copy, reference) = oci::pull(pulling, &mut |_, _| {})?;
    if copy.kind() != ArtifactKind::Bundle {
        bail!(
            "{reference}: is a handler, not a bundle: it can be the source in a table of [handlers]"
        );
    }
    Archive::open_pulled(PulledBundle { reference, copy })
}

/// Verifies and unpacks a bundle as the operator's configuration says.
///
/// # Errors
///
/// Fails if the bundle can't be unpacked, or is not signed as required.
pub(super) fn unpack(archive: &Archive, operator: &Config) -> anyhow::Result<Unpacked> {
    let options = &operator.bundle;
    let cache = options.cache.clone().or_else(site::default_bundle_cache);
    let cache = cache.with_context(|| {
        format!(
            "{}: can't be unpacked: neither HOME nor XDG_CACHE_HOME says where the user's cache is; \
             set one of them, or bundle.cache in the file that --config names",
            archive.path().display()
        )
    })?;
    let key = options.public_key.as_deref().map(PublicKey::parse);
    let key = key.transpose().context("bundle.public-key")?;
    Unpacked::new(archive, &cache, key.as_ref(), MAX_BYTES)
}

/// Combines the bundle's configuration with the operator's, whose paths are resolved already.
///
/// # Errors
///
/// Fails if the bundle's configuration is invalid, or if it has a key that belongs to the operator.
pub(super) fn draft(bundle: &Unpacked, operator: Option<Contents>) -> Result<Draft, Complaint> {
    let mut draft = Draft::default();
    if let Some(text) = bundle.config() {
        let shown = bundle.path().join(FILE_NAME);
        let read = file::read(text).map_err(|complaint| complaint.in_file(&shown))?;
        let is_operators = |key: &str| key.starts_with("bundle.") || key.starts_with("oci.");
        if let Some((key, line)) = read.lines.iter().find(|(key, _)| is_operators(key)) {
            let why = "belongs into the operator's file, which --config names, not into a bundle";
            return Err(Complaint::new(key, why).at(*line).in_file(&shown));
        }
        refuse_hosts(&read).map_err(|complaint| complaint.in_file(&shown))?;
        draft.config = read.config;
        let lines = read.lines.into_iter();
        draft.origins = lines
            .map(|(key, line)| (key, Origin::Bundle(line)))
            .collect();
        draft.config.start_at(bundle.base());
    }
    if let Some(operator) = operator {
        put(&mut draft, operator);
    }
    Ok(draft)
}

/// Refuses virtual hosts, which have folders that are not in a bundle.
pub(super) fn refuse_hosts(read: &Contents) -> Result<(), Complaint> {
    match read.lines.iter().find(|(key, _)| key.starts_with("hosts.")) {
        Some((key, line)) => Err(Complaint::new(key, NO_HOSTS).at(*line)),
        None => Ok(()),
    }
}

/// Sets the keys of the operator's file.
fn put(draft: &mut Draft, operator: Contents) {
    for key in all_keys().filter(|key| operator.lines.contains_key(key.name)) {
        (key.place.copy)(&mut draft.config, &operator.config);
    }
    let is_set = |name: &str| operator.lines.contains_key(&format!("handlers.{name}"));
    let tables = operator.config.handlers.iter();
    let tables = tables.filter(|(name, _)| is_set(name));
    let all = draft.config.handlers.iter().chain(tables);
    draft.config.handlers = all
        .map(|(name, table)| (name.to_owned(), table.clone()))
        .collect();
    let lines = operator.lines.into_iter();
    draft
        .origins
        .extend(lines.map(|(key, line)| (key, Origin::File(line))));
}

/// Sets the keys whose values are the bundle's parts.
///
/// # Errors
///
/// Fails if the operator sets one of them.
pub(super) fn set_parts(draft: &mut Draft, bundle: &Unpacked) -> Result<(), Complaint> {
    for (key, what) in OWN {
        if let Some(Origin::File(_) | Origin::Flag(_)) = draft.origins.get(key) {
            let why = format!("{what} are in the bundle: leave it out");
            return Err(Complaint::new(key, why));
        }
        draft.origins.remove(key);
    }
    pulled::refuse(&draft.config.handlers)?;
    let site = &mut draft.config.site;
    site.root = Some(bundle.pages());
    site.handlers = Some(bundle.handlers());
    site.build = false;
    if site.runtime.is_none() {
        site.runtime = bundle.runtime();
    }
    Ok(())
}

/// Refuses to serve a folder if bundles must be signed.
///
/// # Errors
///
/// Fails if there is a key for signatures.
pub(super) fn refuse_folder(config: &Config, site: &Path) -> anyhow::Result<()> {
    if config.bundle.public_key.is_some() {
        bail!(
            "{}: is no signed bundle, and bundle.public-key requires one: make it by `wasgi bundle` \
             and `minisign -Sm`",
            site.display()
        );
    }
    Ok(())
}
