//! What a serving process may use, by its configuration, and giving up everything else.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustix::fs::Access as AccessMode;
use rustix::process::geteuid;

use crate::acme::Folder;
use crate::admin::AdminAddr;
use crate::bundle::Unpacked;
use crate::config::{Config, Sources, default_bundle_cache};
use crate::confinement::{
    self, ConfineMode, FileRights, User, check_only_thread, forbid_unused, no_new_privileges,
};
use crate::log::AccessTarget;
use crate::{state, traces};

const KEY: &str = "server.confine";

/// What to do without Landlock or seccomp.
const ADVICE: &str = "use a kernel that has it (`wasgi doctor`), or \"best-effort\"";

/// Files of the system that the server, the C library or wasmtime read: the state of this process,
/// the limits of its control group, and the processors.
const SYSTEM_FILES: [&str; 3] = ["/proc", "/sys/fs/cgroup", "/sys/devices/system/cpu"];

/// Files that connections to other hosts need: how names are looked up (resolver(5),
/// nsswitch.conf(5), gai.conf(5)), and which certificate authorities are trusted.
const NETWORK_FILES: [&str; 18] = [
    "/etc/hosts",
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
];

/// The variables that name other certificate authorities.
const AUTHORITIES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The port of name servers, which answer by TCP what is too long for UDP.
const NAME_SERVER_PORT: u16 = 53;

/// The port of hosts to which registries redirect.
const HTTPS_PORT: u16 = 443;

/// Folders that are never readable as a whole because one of their files is needed.
const WIDE_FOLDERS: [&str; 2] = ["/", "/etc"];

/// What a configuration was read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files<'f> {
    pub(super) sources: &'f Sources,
    pub(super) bundle: Option<&'f Unpacked>,
}

/// The rights of this process. The default is all of its user's.
#[derive(Clone, Debug, Default)]
pub(super) struct Confinement(Option<Arc<Allowed>>);

#[derive(Debug)]
struct Allowed {
    needs: Vec<Need>,
    /// The ports that can be connected to. `None` if the kernel doesn't restrict them.
    ports: Option<Vec<u16>>,
}

/// A file or folder that the configuration names.
#[derive(Debug)]
struct Need {
    /// The key that names it.
    key: String,
    path: PathBuf,
    access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    /// Create and write files, for a log.
    Append,
    Change,
}

/// What happened, for the log, which starts afterwards.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What is done.
    done: Vec<String>,
    warnings: Vec<String>,
}

impl Notes {
    /// Adds a warning.
    pub(super) fn warn(&mut self, line: String) {
        self.warnings.push(line);
    }

    pub(super) fn log(&self) {
        for line in &self.warnings {
            tracing::warn!("{line}");
        }
        for line in &self.done {
            tracing::info!("{line}");
        }
    }
}

impl Confinement {
    /// Becomes the user of a configuration, and gives up the rights that it doesn't need. Must be
    /// called before the process starts another thread. `files` are what it reads again, if it
    /// does.
    ///
    /// # Errors
    ///
    /// Fails if the user can't be assumed, or if confinement is required and the kernel doesn't
    /// support it.
    pub(super) fn enter(
        config: &Config,
        files: Option<Files<'_>>,
        notes: &mut Notes,
    ) -> anyhow::Result<Self> {
        let server = &config.server;
        match &server.user {
            Some(user) => {
                check_only_thread()?;
                let user = User::find(user, server.group.as_deref())?;
                user.assume()?;
                no_new_privileges()?;
                notes.done.push(format!("running as {user}"));
                warn_of_unreadable(config, &user, notes);
            }
            None if geteuid().is_root() => notes.warnings.push(
                "running as root: set server.user to a user without rights, such as wasgi".into(),
            ),
            None => {}
        }
        match server.confine {
            ConfineMode::Off => Ok(Self::default()),
            mode => confine(config, files, mode, notes).map(|allowed| Self(allowed.map(Arc::new))),
        }
    }

    /// Logs a warning for each file and port that a changed configuration names and that this
    /// process can't use.
    pub(super) fn warn_of_missing(&self, config: &Config) {
        for line in self.missing(config) {
            tracing::warn!("{line}");
        }
    }

    fn missing(&self, config: &Config) -> Vec<String> {
        let Some(allowed) = &self.0 else {
            return Vec::new();
        };
        let needs = needs(config);
        let missing = needs.iter().filter(|need| !allowed.covers(need));
        let files = missing.map(|need| {
            let path = need.path.display();
            format!("{KEY}: {}: {path} can't be used until a restart", need.key)
        });
        let ports = ports(config).into_iter();
        let missing = ports.filter(|(_, port)| {
            let known = allowed.ports.as_ref();
            known.is_some_and(|known| !known.contains(port))
        });
        let ports = missing
            .map(|(key, port)| format!("{KEY}: {key}: port {port} can't be used until a restart"));
        files.chain(ports).collect()
    }
}

impl Allowed {
    fn covers(&self, need: &Need) -> bool {
        let path = resolved(&need.path);
        self.needs.iter().any(|allowed| {
            let is_enough = allowed.access == Access::Change || allowed.access == need.access;
            is_enough && path.starts_with(resolved(&allowed.path))
        })
    }
}

/// Logs which files the user can't open again.
fn warn_of_unreadable(config: &Config, user: &User, notes: &mut Notes) {
    let files = [("tls.cert", &config.tls.cert), ("tls.key", &config.tls.key)];
    for (key, file) in files {
        if let Some(file) = file
            && rustix::fs::access(file, AccessMode::READ_OK).is_err()
        {
            let file = file.display();
            notes.warnings.push(format!(
                "{key}: {user} can't read {file}: a changed certificate is used after a restart"
            ));
        }
    }
    if let AccessTarget::File(file) = &config.server.access_log {
        let folder = folder_of(file);
        let can_create = AccessMode::WRITE_OK | AccessMode::EXEC_OK;
        if rustix::fs::access(folder, can_create).is_err() {
            let folder = folder.display();
            notes.warnings.push(format!(
                "server.access-log: {user} can't create files in {folder}: SIGUSR1 will not open \
                 the log again"
            ));
        }
    }
}

/// Gives up rights. Returns what is left, unless the kernel doesn't support Landlock.
fn confine(
    config: &Config,
    files: Option<Files<'_>>,
    mode: ConfineMode,
    notes: &mut Notes,
) -> anyhow::Result<Option<Allowed>> {
    check_only_thread()?;
    create_folders(config)?;
    let mut needs = needs(config);
    needs.extend(fixed_needs(config));
    if let Some(files) = files {
        needs.extend(source_needs(config, files));
    }
    let mut ports: Vec<u16> = ports(config).into_iter().map(|(_, port)| port).collect();
    if files.is_some() {
        ports.extend(registry_ports(config));
    }
    let rights = rights(&needs, !ports.is_empty());
    no_new_privileges().context(KEY)?;
    let mut done = Vec::new();
    let mut allowed = None;
    match confinement::restrict(&rights, Some(&ports)) {
        Ok(enforced) => {
            done.push("Landlock");
            if !enforced.ports {
                notes.warnings.push(format!(
                    "{KEY}: this kernel doesn't restrict connections to ports: use Linux 6.7 or \
                     later"
                ));
            }
            let ports = enforced.ports.then_some(ports);
            allowed = Some(Allowed { needs, ports });
        }
        Err(error) => missing(mode, "Landlock", &error, notes)?,
    }
    match forbid_unused() {
        Ok(()) => done.push("seccomp"),
        Err(error) => missing(mode, "seccomp", &error, notes)?,
    }
    if !done.is_empty() {
        notes
            .done
            .push(format!("confined by {}", done.join(" and ")));
    }
    Ok(allowed)
}

/// Reports that the kernel lacks something.
fn missing(
    mode: ConfineMode,
    what: &str,
    error: &anyhow::Error,
    notes: &mut Notes,
) -> anyhow::Result<()> {
    if mode == ConfineMode::Required {
        bail!("{KEY}: no {what}: {error:#}: {ADVICE}");
    }
    notes
        .warnings
        .push(format!("{KEY}: continuing without {what}: {error:#}"));
    Ok(())
}

/// Creates the folders that the server would create when it first uses them.
fn create_folders(config: &Config) -> anyhow::Result<()> {
    if let Some(cache) = config.site.code_cache() {
        // One that can't be created is reported when it is opened.
        let _ = crate::engine::create_cache(cache.folder);
    }
    if !config.handler_sources().is_empty() {
        // One that can't be made is an error of the first download.
        let _ = config.oci_store().map(std::fs::create_dir_all);
    }
    if let Some(folder) = config.state_in_use() {
        state::create_folder(folder)
            .with_context(|| format!("state.folder: {}", folder.display()))?;
    }
    if let Some(folder) = config.acme_in_use() {
        // If that fails, the thread that obtains certificates says so.
        let _ = Folder::new(folder).create();
    }
    Ok(())
}

/// Returns what the keys name that can change while the server runs.
fn needs(config: &Config) -> Vec<Need> {
    let need = |key: &str, path: &Path, access| Need {
        key: key.to_owned(),
        path: path.to_owned(),
        access,
    };
    let mut needs = Vec::new();
    if let AccessTarget::File(file) = &config.server.access_log {
        needs.push(need("server.access-log", folder_of(file), Access::Append));
    }
    if let Some(folder) = config.state_in_use() {
        needs.push(need("state.folder", folder, Access::Change));
    }
    if !config.handler_sources().is_empty()
        && let Ok(store) = config.oci_store()
    {
        needs.push(need("oci.store", &store, Access::Read));
    }
    let mut add_handlers = |prefix: &str, config: &Config| {
        for (name, handler) in config.handlers.iter() {
            let key = format!("{prefix}handlers.{name}");
            for file in handler.grants().secret_files() {
                needs.extend(around(&key, file));
            }
            for folder in &handler.files {
                let access = match folder.writable {
                    true => Access::Change,
                    false => Access::Read,
                };
                needs.push(need(&key, &folder.source, access));
            }
        }
    };
    add_handlers("", config);
    // What is wrong with a host is an error when it is served.
    let hosts = config.of_hosts().unwrap_or_default();
    for (name, host) in &hosts {
        add_handlers(&format!("hosts.{name}."), host);
    }
    for (name, host) in &hosts {
        let key = format!("hosts.{name}");
        needs.push(need(&key, host.site.root(), Access::Read));
        needs.push(need(&key, host.site.handlers(), Access::Read));
    }
    for certificate in config.host_certificates() {
        let files = &certificate.files;
        for file in [&files.cert, &files.key] {
            // What is obtained is in the folder of `[acme]`.
            let own = (!files.is_obtained).then(|| around("hosts", file));
            needs.extend(own.into_iter().flatten());
        }
    }
    needs
}

/// Returns what the keys name that can't change while the server runs.
fn fixed_needs(config: &Config) -> Vec<Need> {
    let site = &config.site;
    let runtime = site.runtime();
    // Both files are removed at the end.
    let pid_folder = config.server.pid_file.as_deref().map(folder_of);
    let admin_folder = match &config.admin.addr {
        Some(AdminAddr::Unix(socket)) => Some(folder_of(socket)),
        _ => None,
    };
    // The next version of a bundle is unpacked beside the one that is served.
    let bundles = config.bundle.cache.clone().or_else(default_bundle_cache);
    let bundles = bundles.filter(|cache| site.root().starts_with(cache));
    let folders = [
        ("bundle.cache", bundles.as_deref(), Access::Read),
        ("site.root", Some(site.root()), Access::Read),
        ("site.handlers", Some(site.handlers()), Access::Read),
        ("site.runtime", runtime.as_deref(), Access::Read),
        (
            "site.code-cache",
            site.code_cache().map(|cache| cache.folder),
            Access::Change,
        ),
        ("acme.folder", config.acme_in_use(), Access::Change),
        ("server.pid-file", pid_folder, Access::Change),
        ("admin.addr", admin_folder, Access::Append),
    ];
    let folders = folders.into_iter().filter_map(|(key, path, access)| {
        Some(Need {
            key: key.to_owned(),
            path: path?.to_owned(),
            access,
        })
    });
    let files = [
        ("tls.cert", &config.tls.cert),
        ("tls.key", &config.tls.key),
        ("acme.ca", &config.acme.ca),
    ];
    let files = files.into_iter();
    let files = files.filter_map(|(key, file)| Some(around(key, file.as_ref()?)));
    folders.chain(files.flatten()).collect()
}

/// Returns what the configuration is read from.
fn source_needs(config: &Config, files: Files<'_>) -> Vec<Need> {
    let mut needs = around("--config", &files.sources.file());
    if !config.handler_sources().is_empty() || files.sources.reference().is_some() {
        needs.extend(config.oci_store().ok().map(|path| Need {
            key: "oci.store".to_owned(),
            path,
            access: Access::Change,
        }));
        let passwords = config.oci.credentials_file();
        needs.extend(
            passwords
                .iter()
                .flat_map(|file| around("oci.credentials", file)),
        );
    }
    if let Some(bundle) = files.bundle {
        needs.extend(around("SITE", bundle.path()));
        let cache = config.bundle.cache.clone().or_else(default_bundle_cache);
        needs.extend(cache.map(|path| Need {
            key: "bundle.cache".to_owned(),
            path,
            access: Access::Change,
        }));
    }
    needs
}

/// Returns what reading a file takes that may be replaced by a rename, or by another link: the
/// folder that it is in, and the one that it links to.
fn around(key: &str, file: &Path) -> Vec<Need> {
    let named = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let target = resolved(file);
    let files = [named, target].into_iter();
    files
        .map(|file| {
            let folder = folder_of(&file);
            let is_wide = WIDE_FOLDERS.iter().any(|wide| folder == Path::new(wide));
            Need {
                key: key.to_owned(),
                path: if is_wide { file } else { folder.to_owned() },
                access: Access::Read,
            }
        })
        .collect()
}

/// Returns the ports that the server connects to, with the key that names each.
fn ports(config: &Config) -> Vec<(String, u16)> {
    let hosts = config.of_hosts().unwrap_or_default();
    let of_config = |prefix: String, config: &Config| {
        let mut ports = Vec::new();
        for (name, handler) in config.handlers.iter() {
            for port in handler
                .allowed_outbound_hosts
                .iter()
                .filter_map(|it| it.port())
            {
                ports.push((format!("{prefix}handlers.{name}"), port));
            }
        }
        ports
    };
    let of_hosts = hosts
        .iter()
        .flat_map(|(name, host)| of_config(format!("hosts.{name}."), host));
    let granted = of_config(String::new(), config).into_iter().chain(of_hosts);
    let state = state::port(&config.state).map(|port| ("state.url".to_owned(), port));
    let collector = traces::collector_port();
    let collector = collector.map(|port| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), port));
    let directory = config.acme.port().filter(|_| config.obtains_certificates());
    let directory = directory.map(|port| ("acme.directory".to_owned(), port));
    let own = state.into_iter().chain(collector).chain(directory);
    let mut ports: Vec<(String, u16)> = granted.chain(own).collect();
    if !ports.is_empty() {
        ports.push(("name servers".to_owned(), NAME_SERVER_PORT));
    }
    ports
}

/// Returns the ports that downloads from registries need, those of name servers included.
fn registry_ports(config: &Config) -> Vec<u16> {
    let sources = config.handler_sources().into_iter();
    let mut ports: Vec<u16> = sources
        .filter_map(|(_, one)| one.port(&config.oci))
        .collect();
    if !ports.is_empty() {
        // Tokens and content can be at other hosts.
        ports.extend([HTTPS_PORT, NAME_SERVER_PORT]);
    }
    ports
}

/// Returns the rights for what the configuration names, and for what the program always needs.
fn rights(needs: &[Need], connects: bool) -> FileRights {
    let mut rights = confinement::of_this_program();
    for need in needs {
        let paths = match need.access {
            Access::Read => &mut rights.read,
            Access::Append => &mut rights.append,
            Access::Change => &mut rights.change,
        };
        paths.push(need.path.clone());
    }
    rights.read.extend(SYSTEM_FILES.map(PathBuf::from));
    // The standard streams of compiling processes.
    rights.change.push("/dev/null".into());
    if !geteuid().is_root() {
        // For the kernel's preference when memory runs out; as root, it would be the whole system.
        rights.append.push("/proc".into());
    }
    if connects {
        rights.read.extend(NETWORK_FILES.map(PathBuf::from));
        let variables = AUTHORITIES.iter().filter_map(std::env::var_os);
        rights.read.extend(variables.map(PathBuf::from));
    }
    rights
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder.as_os_str() != OsStr::new("") => folder,
        _ => Path::new("."),
    }
}

/// Returns the path without links, or as it is if it doesn't exist.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}
