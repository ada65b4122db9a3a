//! Handlers from OCI registries: the key `source` in a handler's table.

use anyhow::{Context, ensure};

use super::complaint::Complaint;
use super::sections::Config;
use crate::oci::{self, ArtifactKind, Pulled, Pulling, Reference, Store};
use crate::policy::Handlers;
use crate::reload::External;

/// Why a bundle can't have them.
const NOT_IN_BUNDLES: &str = "a bundle has all of its handlers in it: `wasgi pull -o` writes one to \
                              the folder of handlers, before `wasgi bundle`";

impl Config {
    /// Returns the handlers of this site that are not in its folder, in the order of their names.
    ///
    /// # Errors
    ///
    /// Fails if there are some and no folder for them.
    pub(crate) fn external_handlers(&self) -> anyhow::Result<Vec<External>> {
        let sources = sources(&self.handlers).map(|(name, source)| {
            let (reference, digest) =
                Reference::parse_pinned(source).map_err(anyhow::Error::msg)?;
            Ok(External {
                name: name.to_owned(),
                shown: reference.to_string(),
                path: Store::handler(&self.oci_store()?, &digest),
            })
        });
        sources.collect()
    }

    /// Returns the references to handlers, of virtual hosts as well, each with the key that has it.
    pub(crate) fn handler_sources(&self) -> Vec<(String, Reference)> {
        let own = sources(&self.handlers).map(|(name, it)| (format!("handlers.{name}"), it));
        let of_hosts = self.hosts.iter().flat_map(|(host, options)| {
            let sources = sources(&options.handlers);
            sources.map(move |(name, it)| (format!("hosts.{host}.handlers.{name}"), it))
        });
        let all = own.chain(of_hosts);
        // One that is no reference is an error of the configuration already.
        all.filter_map(|(key, source)| Some((key, Reference::parse(source).ok()?)))
            .collect()
    }

    /// Downloads the handlers that are not in the store yet, of virtual hosts as well. They stay
    /// there as long as the result exists.
    ///
    /// # Errors
    ///
    /// Fails with one line that names the key and the reference, or if `is_over` returns true.
    pub(crate) fn pull_handlers(&self, is_over: &dyn Fn() -> bool) -> anyhow::Result<Vec<Pulled>> {
        let sources = self.handler_sources();
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let store = self.oci_store()?;
        let pulled = sources.into_iter().map(|(key, reference)| {
            let pulling = Pulling {
                reference: &reference,
                options: &self.oci,
                store: &store,
                is_over,
            };
            let mut is_new = false;
            let pulled = oci::pull(pulling, &mut |arrived, bytes| {
                if arrived == bytes {
                    is_new = true;
                }
            });
            let (pulled, _) = pulled.with_context(|| key.clone())?;
            ensure!(
                pulled.kind() == ArtifactKind::Handler,
                "{key}: {reference}: is a bundle, not a handler: `wasgi serve {reference}` serves it"
            );
            if is_new {
                tracing::info!("{reference}: pulled, {} bytes", pulled.bytes());
            }
            Ok(pulled)
        });
        pulled.collect()
    }
}

/// Returns the names of handlers that are not in the folder, with their sources.
fn sources(handlers: &Handlers) -> impl Iterator<Item = (&str, &str)> {
    let sources = handlers.iter();
    sources.filter_map(|(name, handler)| Some((name, handler.source.as_deref()?)))
}

/// Checks the sources of a site's handlers.
///
/// # Errors
///
/// Fails with the first that is no reference with a digest, or that is for several handlers.
pub(super) fn check(handlers: &Handlers) -> Result<(), Complaint> {
    for (name, source) in sources(handlers) {
        let complain = |why: String| {
            Err(Complaint::new(
                format!("handlers.{name}"),
                format!("source: {why}"),
            ))
        };
        if !handlers.names().any(|known| known == name) {
            return complain("is for one handler: give it a table under its own name".into());
        }
        if let Err(why) = Reference::parse_pinned(source) {
            return complain(why);
        }
    }
    Ok(())
}

/// Refuses handlers from registries in a bundle's configuration, or for a bundle.
///
/// # Errors
///
/// Fails with the first one.
pub(super) fn refuse(handlers: &Handlers) -> Result<(), Complaint> {
    match sources(handlers).next() {
        Some((name, _)) => {
            let why = format!("source: {NOT_IN_BUNDLES}");
            Err(Complaint::new(format!("handlers.{name}"), why))
        }
        None => Ok(()),
    }
}
