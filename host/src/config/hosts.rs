//! Virtual hosts: the section `[hosts]`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::complaint::Complaint;
use super::site;
use crate::acme;
use crate::grants;
use crate::host_name;
use crate::policy::{Handler, Handlers};

/// The maximum number of virtual hosts: the number up to which they are measured (`docs/hosts.md`).
/// Each start and each change of the configuration handles all of them.
const MAX_HOSTS_COUNT: usize = 100;

/// The maximum number of names of one virtual host, besides that of its table.
const MAX_ALIASES_COUNT: usize = 100;

/// The folder in the site's folder that has the folders of virtual hosts.
const FOLDER: &str = "hosts";

/// The section `[hosts]` of `wasgi.toml`: a table for each virtual host, by its name, such as
/// `[hosts."example.com"]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Hosts(BTreeMap<String, HostOptions>);

/// The settings of one virtual host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct HostOptions {
    /// Further names of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The folder that has the folders of pages and handlers. Default: `hosts/NAME` in the site's
    /// folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// The folder of pages. Default: `html` in the host's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// The folder of handlers. Default: `handlers` in the host's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handlers_folder: Option<PathBuf>,
    /// The certificate, as in `[tls]`. Default: that of `[tls]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// The private key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Whether the server obtains the certificate itself, as `[acme]` says.
    #[serde(skip_serializing_if = "is_false")]
    pub acme: bool,
    /// The settings for individual handlers. Those of `[handlers]` don't apply.
    #[serde(skip_serializing_if = "Handlers::is_empty")]
    pub handlers: Handlers,
    /// The keys of `[pages]` that differ.
    #[serde(skip_serializing_if = "Changed::is_empty")]
    pub pages: Changed,
    /// The keys of `[security]` that differ.
    #[serde(skip_serializing_if = "Changed::is_empty")]
    pub security: Changed,
    /// The keys of `[compress]` that differ.
    #[serde(skip_serializing_if = "Changed::is_empty")]
    pub compress: Changed,
}

/// Reports whether a key is not set, for serde.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Keys of a section that have other values for one host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Changed(toml::Table);

impl Changed {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a section with these keys in place of its own.
    pub(super) fn over<T: Serialize + DeserializeOwned>(
        &self,
        section: &T,
    ) -> Result<T, toml::de::Error> {
        let mut table = toml::Table::try_from(section).unwrap_or_default();
        table.extend(self.0.clone());
        table.try_into()
    }
}

impl HostOptions {
    /// Returns all names of the host: that of its table, and its aliases.
    pub(super) fn names<'own>(&'own self, name: &'own str) -> impl Iterator<Item = &'own str> {
        [name]
            .into_iter()
            .chain(self.aliases.iter().map(|it| &**it))
    }

    /// Reports whether the host has a certificate of its own, which the server may have to obtain
    /// first.
    pub(super) fn has_certificate(&self) -> bool {
        self.cert.is_some() || self.acme
    }

    /// Checks that a certificate can be obtained for all names of the host.
    fn check_obtained(&self, name: &str) -> Result<(), String> {
        if self.cert.is_some() || self.key.is_some() {
            return Err("acme: has no effect with cert and key: remove one of them".into());
        }
        if self.names(name).count() > acme::MAX_NAMES_COUNT {
            return Err(format!("acme: at most {} names", acme::MAX_NAMES_COUNT));
        }
        for one in self.names(name) {
            acme::check_name(one).map_err(|why| format!("acme: {one}: {why}"))?;
        }
        Ok(())
    }
}

impl Hosts {
    /// Reports whether there is no virtual host.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all virtual hosts.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the names of all hosts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the settings of a host.
    pub(super) fn get(&self, name: &str) -> Option<&HostOptions> {
        self.0.get(name)
    }

    /// Returns each host with its name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &HostOptions)> {
        self.0.iter().map(|(name, host)| (name.as_str(), host))
    }

    /// Changes the settings of each handler of each host.
    pub(super) fn change_handlers(&mut self, change: impl Fn(&mut Handler)) {
        for host in self.0.values_mut() {
            host.handlers.change(|_, handler| change(handler));
        }
    }

    /// Resolves relative paths against `folder`.
    pub(super) fn start_at(&mut self, folder: &Path) {
        for host in self.0.values_mut() {
            let paths = [
                &mut host.folder,
                &mut host.root,
                &mut host.handlers_folder,
                &mut host.cert,
                &mut host.key,
            ];
            for path in paths.into_iter().flatten() {
                *path = site::within(folder, path);
            }
            host.handlers.change(|_, handler| {
                let (secrets, files) = (&mut handler.secrets, &mut handler.files);
                grants::start_at(secrets, files, |path| site::within(folder, path));
            });
        }
    }

    /// Fills in unset folders for the site in `folder`.
    pub(super) fn settle(&mut self, folder: &Path) {
        for (name, host) in &mut self.0 {
            let default = || site::within(folder, &Path::new(FOLDER).join(name));
            let folder = host.folder.get_or_insert_with(default).clone();
            host.root.get_or_insert_with(|| folder.join("html"));
            let handlers = || folder.join("handlers");
            host.handlers_folder.get_or_insert_with(handlers);
        }
    }

    /// Checks names, certificates, and their number.
    ///
    /// # Errors
    ///
    /// Fails with the first one that is wrong. `has_certificate` says whether there is one for all
    /// names.
    pub(super) fn check(&self, has_certificate: bool) -> Result<(), Complaint> {
        if self.0.len() > MAX_HOSTS_COUNT {
            let why = format!("has {} hosts, at most {MAX_HOSTS_COUNT}", self.0.len());
            return Err(Complaint::new("hosts", why));
        }
        let has_own = self.0.values().any(|host| host.has_certificate());
        let mut known: HashMap<&str, &str> = HashMap::new();
        for (name, host) in self.iter() {
            let complain = |why: String| Err(Complaint::new(format!("hosts.{name}"), why));
            if host.aliases.len() > MAX_ALIASES_COUNT {
                return complain(format!("aliases: at most {MAX_ALIASES_COUNT} names"));
            }
            for one in host.names(name) {
                if let Err(why) = host_name::check(one) {
                    return complain(format!("{one}: {why}"));
                }
                match known.insert(one, name) {
                    Some(other) if other != name => {
                        return complain(format!("{one} is also a name of hosts.{other}"));
                    }
                    Some(_) => return complain(format!("{one} is in it twice")),
                    None => {}
                }
            }
            if host.acme {
                host.check_obtained(name).or_else(complain)?;
                continue;
            }
            match (&host.cert, &host.key) {
                (Some(_), None) => return complain("cert: has no effect without key".into()),
                (None, Some(_)) => return complain("key: has no effect without cert".into()),
                (None, None) if has_own && !has_certificate => {
                    let why = "has no certificate, as other hosts do: set cert and key, or \
                               tls.cert and tls.key";
                    return complain(why.into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}
