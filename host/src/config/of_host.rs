//! The configuration that a virtual host has as a site of its own.

use std::path::PathBuf;

use super::complaint::Complaint;
use super::hosts::HostOptions;
use super::nearest::nearest;
use super::sections::Config;
use super::wording;
use crate::host_name::HostMap;
use crate::policy::Policies;
use crate::printable;

/// A virtual host as a site of its own, for commands that serve no other.
#[derive(Clone, Debug)]
pub(crate) struct HostSite {
    /// The name of its table.
    pub(crate) name: String,
    /// A name by which requests reach it.
    pub(crate) authority: String,
    /// Its folder.
    pub(crate) folder: Option<PathBuf>,
}

impl Config {
    /// Returns the virtual host that requests for the host `asked` are for, and its configuration
    /// as a site of its own.
    ///
    /// # Errors
    ///
    /// Fails if there is none, or if one of its keys is wrong.
    pub(crate) fn host_site(&self, asked: &str) -> Result<(HostSite, Self), Complaint> {
        let mut names = HostMap::default();
        for (table, host) in self.hosts.iter() {
            for name in host.names(table) {
                names.insert(name, table);
            }
        }
        let Some(&name) = names.get(asked.as_bytes()) else {
            let shown = printable::one_line(asked);
            let why = match nearest(asked, self.hosts.names()) {
                Some(nearest) => format!("no virtual host {shown}; did you mean {nearest}?"),
                None => format!("no virtual host {shown}: add its table [hosts.\"{shown}\"]"),
            };
            return Err(Complaint::new("", why).by("--host"));
        };
        let config = self.of_host(name)?.unwrap_or_default();
        let site = HostSite {
            name: name.to_owned(),
            // One of the names that `*` stands for.
            authority: asked.replace('*', "www"),
            folder: self.hosts.get(name).and_then(|host| host.folder.clone()),
        };
        Ok((site, config))
    }

    /// Returns the configuration that a virtual host has as a site of its own, without virtual
    /// hosts. Its limits for clients and requests are those of all. `None` if there is no host of
    /// this name.
    ///
    /// # Errors
    ///
    /// Fails if a key of its `pages`, `security` or `compress` is wrong.
    pub(crate) fn of_host(&self, name: &str) -> Result<Option<Self>, Complaint> {
        let Some(host) = self.hosts.get(name) else {
            return Ok(None);
        };
        self.without_hosts().with_host(name, host).map(Some)
    }

    fn without_hosts(&self) -> Self {
        let mut config = self.clone();
        config.hosts.clear();
        config
    }

    /// Returns the configuration of this virtual host. `self` is that of the site itself, without
    /// virtual hosts.
    fn with_host(&self, name: &str, host: &HostOptions) -> Result<Self, Complaint> {
        let complain = |section: &str, error: toml::de::Error| {
            let key = format!("hosts.{name}.{section}");
            match wording::of_unknown_field(error.message()) {
                Some((field, why)) => Complaint::new(format!("{key}.{field}"), why),
                None => Complaint::new(key, error.message()),
            }
        };
        let mut config = self.clone();
        config.site.root.clone_from(&host.root);
        config.site.handlers.clone_from(&host.handlers_folder);
        config.site.default_host = true;
        config.tls.redirect_http = None;
        config.tls.redirect_port = None;
        config.handlers = host.handlers.clone();
        config.pages = (host.pages)
            .over(&self.pages)
            .map_err(|error| complain("pages", error))?;
        config.security = (host.security)
            .over(&self.security)
            .map_err(|error| complain("security", error))?;
        config.compress = (host.compress)
            .over(&self.compress)
            .map_err(|error| complain("compress", error))?;
        config.acme.names.clear();
        if host.cert.is_some() {
            config.tls.cert.clone_from(&host.cert);
            config.tls.key.clone_from(&host.key);
        }
        Ok(config)
    }

    /// Returns the configuration of each virtual host; see [`Self::of_host`].
    ///
    /// # Errors
    ///
    /// Fails with the first host of which a key is wrong.
    pub(crate) fn of_hosts(&self) -> Result<Vec<(String, Self)>, Complaint> {
        // Once for all: it takes as long as there are hosts.
        let site = self.without_hosts();
        let hosts = self.hosts.iter();
        hosts
            .map(|(name, host)| Ok((name.to_owned(), site.with_host(name, host)?)))
            .collect()
    }

    /// Returns the configuration of each virtual host, and the limits and grants of its handlers.
    /// Reads the granted secrets.
    ///
    /// # Errors
    ///
    /// Fails if a key of a host is wrong, or if a secret or a granted folder is not available.
    pub(crate) fn policies_of_hosts(&self) -> Result<Vec<(String, Self, Policies)>, Complaint> {
        let hosts = self.of_hosts()?.into_iter().map(|(name, host)| {
            let policies = host
                .policies()
                .map_err(|complaint| complaint.of_host(&name))?;
            Ok((name, host, policies))
        });
        hosts.collect()
    }

    /// Returns the names by which requests reach a virtual host: that of its table, and aliases.
    pub(crate) fn names_of_host(&self, name: &str) -> Vec<String> {
        let host = self.hosts.get(name);
        let names = host.map(|host| host.names(name).map(str::to_owned).collect());
        names.unwrap_or_default()
    }

    /// Reports whether a virtual host has a certificate of its own.
    pub(crate) fn host_has_certificate(&self, name: &str) -> bool {
        let host = self.hosts.get(name);
        host.is_some_and(HostOptions::has_certificate)
    }
}
