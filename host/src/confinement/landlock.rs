//! Landlock (Linux 5.13 and later): a thread gives up access to files and TCP ports.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetStatus, Scope, make_bitflags,
};

/// The newest Landlock version whose restrictions are requested; an older kernel enforces the
/// subset that it supports.
const NEWEST: ABI = ABI::V6;

/// The first version that restricts TCP (Linux 6.7).
pub(crate) const FIRST_WITH_PORTS: u8 = 4;

/// All versions that this program distinguishes, oldest first.
const VERSIONS: [ABI; 6] = [ABI::V1, ABI::V2, ABI::V3, ABI::V4, ABI::V5, ABI::V6];

/// The rights of a thread to files. Those for a folder apply to everything below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileRights {
    /// Files and folders to read.
    pub(crate) read: Vec<PathBuf>,
    /// Files and folders to read and change.
    pub(crate) change: Vec<PathBuf>,
    /// Folders in which files may be created, written and removed, but not read.
    pub(crate) append: Vec<PathBuf>,
    /// Programs to read and start.
    pub(crate) execute: Vec<PathBuf>,
}

/// What the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enforced {
    /// Whether connections to other ports are refused.
    pub(crate) ports: bool,
}

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// Everything but devices and execution.
const CHANGE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | Refer | MakeReg | MakeDir | MakeSym | MakeSock
    | MakeFifo | RemoveFile | RemoveDir
});

const APPEND: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    WriteFile | Truncate | MakeReg | RemoveFile
});

const EXECUTE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | Execute});

/// Denies this thread, and those that it starts, all files but those of `rights`, and signals and
/// abstract sockets of processes that keep theirs. With `ports`, also denies TCP connections to
/// others, and listening. Paths that don't exist are left out.
///
/// # Errors
///
/// Fails if the kernel doesn't support Landlock. A kernel with an older version of it enforces
/// less.
pub(crate) fn restrict(rights: &FileRights, ports: Option<&[u16]>) -> anyhow::Result<Enforced> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?;
    if ports.is_some() {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let mut ruleset = ruleset.create()?;
    for (paths, access) in [
        (&rights.read, READ),
        (&rights.change, CHANGE),
        (&rights.append, APPEND),
        (&rights.execute, EXECUTE),
    ] {
        for path in paths {
            let Ok(opened) = PathFd::new(path) else {
                continue;
            };
            let access = match path.is_dir() {
                true => access,
                // The kernel refuses rights that only folders have.
                false => access & AccessFs::from_file(NEWEST),
            };
            ruleset = ruleset
                .add_rule(PathBeneath::new(opened, access))
                .with_context(|| path.display().to_string())?;
        }
    }
    for port in ports.unwrap_or_default() {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    if ports.is_some_and(|ports| !ports.is_empty()) {
        // A client may bind its socket to any free port before it connects.
        ruleset = ruleset.add_rule(NetPort::new(0, AccessNet::BindTcp))?;
    }
    let status = ruleset.restrict_self()?;
    ensure!(
        status.ruleset != RulesetStatus::NotEnforced,
        "not supported by this kernel"
    );
    let ports = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi >= ABI::V4,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => false,
    };
    Ok(Enforced { ports })
}

/// Returns the version of Landlock that the kernel supports, at most 6.
///
/// # Errors
///
/// Fails with the reason if it supports none.
pub(crate) fn version() -> Result<u8, &'static str> {
    // Creating a set of rules restricts nothing yet.
    let supports = |version: ABI| {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let ruleset = ruleset.handle_access(AccessFs::from_all(version));
        let ruleset = match version >= ABI::V4 {
            true => ruleset.and_then(|it| it.handle_access(AccessNet::from_all(version))),
            false => ruleset,
        };
        let ruleset = match version >= ABI::V6 {
            true => ruleset.and_then(|it| it.scope(Scope::from_all(version))),
            false => ruleset,
        };
        ruleset.and_then(Ruleset::create).is_ok()
    };
    let count = VERSIONS.iter().take_while(|it| supports(**it)).count();
    match u8::try_from(count).unwrap_or(u8::MAX) {
        0 => Err("not supported by this kernel"),
        version => Ok(version),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;
    use std::process::Command;
    use std::thread;

    use super::*;

    #[test]
    fn a_restricted_thread_has_the_files_and_ports_that_were_named_and_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["read", "change", "append", "other"] {
            fs::create_dir(at(name)).expect("a folder");
            fs::write(at(name).join("file"), name).expect("written");
        }
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [allowed, other] = listeners
            .each_ref()
            .map(|it| it.local_addr().expect("a port"));
        let rights = FileRights {
            read: vec![at("read"), at("missing")],
            change: vec![at("change"), "/dev/null".into()],
            append: vec![at("append")],
            execute: vec!["/proc/self/exe".into()],
        };
        let is_denied = |result: std::io::Result<()>| {
            result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
        };
        let path = folder.path().to_owned();
        let restricted = thread::spawn(move || {
            let enforced = match restrict(&rights, Some(&[allowed.port()])) {
                Ok(enforced) => enforced,
                Err(error) => return println!("not tested: {error:#}"),
            };
            let at = |name: &str| path.join(name).join("file");
            let read = |path: &Path| fs::read(path).map(drop);
            let write = |path: &Path| fs::write(path, "new");
            assert!(read(&at("read")).is_ok() && is_denied(write(&at("read"))));
            assert!(read(&at("change")).is_ok() && write(&at("change")).is_ok());
            fs::create_dir(path.join("change/new")).expect("a folder");
            fs::rename(at("change"), path.join("change/new/file")).expect("renamed");
            assert!(is_denied(read(&at("append"))) && write(&at("append")).is_ok());
            assert!(is_denied(read(&at("other"))) && is_denied(write(&at("other"))));
            assert!(is_denied(read(Path::new("/etc/passwd"))));
            assert!(is_denied(write(&path.join("new"))));
            assert!(write(Path::new("/dev/null")).is_ok());
            assert!(is_denied(Command::new("/bin/true").spawn().map(drop)));
            if enforced.ports {
                TcpStream::connect(allowed).expect("it is allowed");
                assert!(is_denied(TcpStream::connect(other).map(drop)));
                let own = (allowed.ip(), allowed.port());
                assert!(is_denied(TcpListener::bind(own).map(drop)));
            }
        });
        restricted.join().expect("no panic");
        drop(listeners);
        fs::read("/etc/passwd").expect("other threads keep their rights");
    }

    #[test]
    fn a_version_of_landlock_is_known_or_a_reason() {
        match version() {
            Ok(version) => assert!((1..=6).contains(&version), "{version}"),
            Err(why) => assert_eq!(why, "not supported by this kernel"),
        }
    }
}
