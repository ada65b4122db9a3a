//! The configuration: its sections, each of which the module that uses it defines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::complaint::Complaint;
use super::hosts::Hosts;
use super::site::{self, Site};
use crate::file_stamp::FileStamp;
use crate::file_watch::Stamps;
use crate::policy::{Budget, Handler, Handlers, Policies};
use crate::state::Store;
use crate::{
    acme, admin, bundle, content, engine, grants, http1, log, machine, oci, server, state,
    static_files,
};

/// The complete configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The folders of the site.
    pub site: Site,
    /// Where bundles are unpacked, and who must have signed them.
    pub bundle: bundle::BundleOptions,
    /// Registries of handlers and bundles.
    pub oci: oci::OciOptions,
    /// The addresses to listen on, and how to serve.
    pub server: server::ServerOptions,
    /// The admin listener.
    pub admin: admin::AdminOptions,
    /// The limits on the client's side of a connection, as enforced by the protocol core.
    pub http: http1::Limits,
    /// The limits on clients and connections, as enforced by the server.
    pub limits: server::Limits,
    /// The limits of the logs.
    pub log: log::Limits,
    /// The resource limits of one request.
    pub budget: Budget,
    /// The resource limits of compiling a handler.
    pub compile: engine::compile::CompileOptions,
    /// The settings for individual handlers.
    pub handlers: Handlers,
    /// The virtual hosts.
    pub hosts: Hosts,
    /// Where the key-value buckets of handlers are stored.
    pub state: state::StateOptions,
    /// The limits of key-value buckets.
    pub buckets: state::Limits,
    /// How pages are served.
    pub pages: static_files::PageOptions,
    /// The security fields sent with pages.
    pub security: static_files::Security,
    /// The settings for compression.
    pub compress: content::CompressOptions,
    /// The settings for TLS.
    pub tls: server::tls::TlsOptions,
    /// Which certificates to obtain, and from where.
    pub acme: acme::AcmeOptions,
    /// The trusted proxies, and what they may tell the server.
    pub proxy: server::proxy::ProxyOptions,
}

/// A part of the configuration: keys and their values. A struct for serde, with `#[serde(default,
/// deny_unknown_fields)]`.
pub trait Section: Default + PartialEq + Serialize + DeserializeOwned {}

impl<T: Default + PartialEq + Serialize + DeserializeOwned> Section for T {}

/// An operation on each section.
pub trait Visit {
    /// Visits the section called `name`. Two sections may share a name.
    fn section<T: Section>(&mut self, name: &'static str, section: &mut T);

    /// Visits the section called `name`, whose tables have user-defined names.
    fn tables<T: Section>(&mut self, name: &'static str, tables: &mut T);
}

impl Config {
    /// Visits all sections, in the order in which they are printed.
    pub fn visit(&mut self, visitor: &mut impl Visit) {
        visitor.section("site", &mut self.site);
        visitor.section("bundle", &mut self.bundle);
        visitor.section("oci", &mut self.oci);
        visitor.section("server", &mut self.server);
        visitor.section("admin", &mut self.admin);
        visitor.section("limits", &mut self.limits);
        visitor.section("limits", &mut self.http);
        visitor.section("limits", &mut self.log);
        // Before the budget: for a misspelled key, `cpu-time` and `wall-time` of `[budget]` are
        // more likely corrections than those of `[compile]`, and the last match is suggested.
        visitor.section("compile", &mut self.compile);
        visitor.section("budget", &mut self.budget);
        visitor.tables("handlers", &mut self.handlers);
        visitor.tables("hosts", &mut self.hosts);
        visitor.section("state", &mut self.state);
        visitor.section("state", &mut self.buckets);
        visitor.section("pages", &mut self.pages);
        visitor.section("security", &mut self.security);
        visitor.section("compress", &mut self.compress);
        visitor.section("tls", &mut self.tls);
        visitor.section("acme", &mut self.acme);
        visitor.section("proxy", &mut self.proxy);
    }

    /// Returns all settings of the pages.
    pub fn page_options(&self) -> static_files::PageOptions {
        static_files::PageOptions {
            security: self.security.clone(),
            compress: self.compress,
            ..self.pages.clone()
        }
    }

    /// Returns the limits and grants of all handlers. Reads the granted secrets.
    ///
    /// # Errors
    ///
    /// Fails if a secret or a granted folder is not available.
    pub fn policies(&self) -> Result<Policies, Complaint> {
        Policies::new(self.budget, self.handlers.clone())
            .map_err(|(table, error)| Complaint::of_grant(&table, &error))
    }

    /// Returns the server's settings that can change while it runs. Reads the granted secrets.
    ///
    /// # Errors
    ///
    /// Fails if a secret or a granted folder is not available.
    pub fn settings(&self) -> Result<server::Settings, Complaint> {
        Ok(server::Settings {
            policies: self.policies()?,
            http: Arc::new(self.http.clone()),
            limits: self.limits,
            proxy: Arc::new(self.proxy.clone()),
            access_log: (self.server.access_log != log::AccessTarget::Off)
                .then_some(self.server.log_format),
            request_id: self.server.request_id,
            compress: self.compress,
            server_field: self.server.server_field,
            hosts: None,
        })
    }

    /// Reports whether the server has or obtains a certificate, be it that of one virtual host.
    pub(crate) fn has_tls(&self) -> bool {
        self.tls.cert.is_some()
            || !self.acme.names.is_empty()
            || !self.host_certificates().is_empty()
    }

    /// Returns the states of the files of all secrets. Must be called before they are read.
    pub fn secret_stamps(&self) -> Stamps {
        let grants = self.tables().map(|handler| handler.grants());
        let files = grants.flat_map(|grants| grants.secret_files());
        files.map(FileStamp::of_path).collect()
    }

    /// Returns the memory limit for all instances of one server process together, in bytes.
    pub fn instance_memory_bytes(&self) -> usize {
        /// The assumed size of a machine's memory if the system does not report it.
        const MIN_BYTES: u64 = 1 << 30;
        let whole = machine::memory_bytes().unwrap_or(MIN_BYTES);
        let bytes = self.limits.memory.apply_to(whole) / u64::from(self.server.processes.max(1));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Returns the folder of the embedded store, if a handler may use it or it exists.
    pub(crate) fn state_in_use(&self) -> Option<&Path> {
        let folder = self.state.used_folder()?;
        let is_granted = self.tables().any(|handler| !handler.key_value.is_empty());
        (is_granted || folder.exists()).then_some(folder)
    }

    /// Returns the settings of individual handlers, of virtual hosts, too.
    fn tables(&self) -> impl Iterator<Item = &Handler> {
        let of_hosts = self.hosts.iter().flat_map(|(_, host)| host.handlers.iter());
        let all = self.handlers.iter().chain(of_hosts);
        all.map(|(_, handler)| handler)
    }

    /// Returns a handle on the store of key-value buckets, which is not opened yet.
    pub fn store(&self) -> Store {
        Store::new(&self.state, self.buckets)
    }

    /// Returns the folder of artifacts from registries.
    ///
    /// # Errors
    ///
    /// Fails if none is set and the user has no cache folder.
    pub(crate) fn oci_store(&self) -> anyhow::Result<PathBuf> {
        let set = self.oci.store.clone();
        set.or_else(site::default_oci_store).context(
            "oci.store: neither HOME nor XDG_CACHE_HOME says where the user's cache is: set one of \
             them, or this key",
        )
    }

    /// Resolves relative paths against `folder`.
    pub(super) fn start_at(&mut self, folder: &Path) {
        self.site.start_at(folder);
        self.admin.start_at(folder);
        self.hosts.start_at(folder);
        self.bundle.start_at(|path| site::within(folder, path));
        self.oci.start_at(|path| site::within(folder, path));
        if let Some(state) = &mut self.state.folder {
            *state = site::within(folder, state);
        }
        if let log::AccessTarget::File(file) = &mut self.server.access_log {
            *file = site::within(folder, file);
        }
        let pid_file = self.server.pid_file.as_mut();
        let of_acme = [self.acme.ca.as_mut(), self.acme.folder.as_mut()];
        let files = [self.tls.cert.as_mut(), self.tls.key.as_mut(), pid_file];
        for file in files.into_iter().chain(of_acme).flatten() {
            *file = site::within(folder, file);
        }
        self.handlers.change(|_, handler| {
            let (secrets, files) = (&mut handler.secrets, &mut handler.files);
            grants::start_at(secrets, files, |path| site::within(folder, path));
        });
    }
}
