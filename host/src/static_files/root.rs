//! The root folder, held open, and the only way to open files in it.
//!
//! The kernel confines access to the root: `openat2` with `RESOLVE_BENEATH` resolves a name from
//! the root's descriptor and fails as soon as a step would leave it, regardless of concurrent
//! renames. No check precedes the open, so there is no race between the two.
//!
//! Symbolic links to targets inside the root are followed; a link that leads outside is rejected
//! (`EXDEV`). The kernel also rejects absolute links, so these are resolved without confinement,
//! and their target is opened by its own path with confinement. If the kernel or a sandbox has no
//! `openat2`, a walk with `openat` and `O_NOFOLLOW` replaces it: it is as safe, but rejects every
//! link (`ELOOP`, or `ENOTDIR` for a link to a folder on the way).
//!
//! Nothing here can block on a peer: `O_NONBLOCK` opens a FIFO at once, and the caller rejects all
//! but regular files.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use tracing::{info, warn};

/// The flags for opening files: for reading, non-blocking, not inherited, and never as the
/// controlling terminal.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

/// The flags for a folder that is only used to open files in it.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The accesses that `openat2` must reject. Magic links (`/proc/self/fd/…`) are excluded as well.
const CONTAINED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// How often an open is attempted. The kernel fails with `EAGAIN` if a rename, anywhere, occurred
/// while it resolved a `..` of a link; openat2(2) recommends trying again. Four failures in a row
/// are unlikely to be a coincidence.
const OPEN_ATTEMPTS: usize = 4;

/// The folder of pages.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    containment: Containment,
    /// None while there is no folder at `path`. Only [`Root::reopen`] takes the write lock.
    folder: RwLock<Option<OwnedFd>>,
}

/// The mechanism that confines names to the root.
#[derive(Clone, Copy, Debug)]
enum Containment {
    /// The kernel, in one call.
    Kernel,
    /// This module, which opens one name at a time.
    Walk,
}

impl Root {
    /// Opens the folder at `path`, which may itself be a symbolic link. It may be missing: then
    /// nothing is found until [`Root::reopen`] finds it.
    pub(super) fn open(path: &Path) -> Result<Root, Errno> {
        let folder = match open_folder(path) {
            Ok(folder) => Some(folder),
            Err(Errno::NOENT) => None,
            Err(why) => return Err(why),
        };
        let anywhere = open_contained(rustix::fs::CWD, b".", FOLDER);
        let containment = match anywhere {
            Err(why @ (Errno::NOSYS | Errno::PERM)) => {
                info!(
                    "openat2 is missing ({why}): symbolic links among the pages are not followed"
                );
                Containment::Walk
            }
            _ => Containment::Kernel,
        };
        Ok(Root {
            path: path.into(),
            containment,
            folder: RwLock::new(folder),
        })
    }

    /// Opens `name` for reading. The name is relative to the root, has no dot segment and does not
    /// end with `/`, as `security::file_name` returns it; any other is rejected or not found.
    ///
    /// The result can be a folder or a FIFO.
    pub(super) fn open_file(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_as(name, READ)
    }

    /// Opens the folder `name`, which is empty for the root itself, for listing its contents.
    pub(super) fn open_folder(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let list = READ.union(OFlags::DIRECTORY);
        self.open_as(if name.is_empty() { b"." } else { name }, list)
    }

    /// Returns the state of the file that `name` leads to now, in one system call. The file may be
    /// outside the root, so this may only be used to compare it with a file that was opened before.
    pub(super) fn stat(&self, name: &[u8]) -> Result<Stat, Errno> {
        let folder = self.folder.read().unwrap_or_else(PoisonError::into_inner);
        let folder = folder.as_ref().ok_or(Errno::NOENT)?;
        retry_on_intr(|| rustix::fs::statat(folder, name, AtFlags::empty()))
    }

    /// Checks whether another folder is at the path now, and if so serves from that one. If there
    /// is no folder, nothing is served until the next call finds one.
    pub(super) fn reopen(&self) {
        let now = open_folder(&self.path);
        let mut folder = self.folder.write().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.display();
        match (&*folder, &now) {
            (Some(old), Ok(new)) if is_same(old, new) => return,
            (None, Err(_)) => return,
            (None, Ok(_)) => info!("pages: {path} exists now"),
            (Some(_), Ok(_)) => info!("pages: {path} was replaced; serving from the new folder"),
            (_, Err(why)) => {
                warn!("pages: {path} was removed ({why}): no pages are served");
            }
        }
        *folder = now.ok();
    }

    fn open_as(&self, name: &[u8], how: OFlags) -> Result<OwnedFd, Errno> {
        let folder = self.folder.read().unwrap_or_else(PoisonError::into_inner);
        let folder = folder.as_ref().ok_or(Errno::NOENT)?.as_fd();
        match self.containment {
            Containment::Kernel => match open_contained(folder, name, how) {
                Err(Errno::XDEV) => open_by_detour(folder, name, how),
                opened => opened,
            },
            Containment::Walk => open_by_walking(folder, name, how),
        }
    }
}

/// Opens the root itself.
fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::open(path, FOLDER, Mode::empty()))
}

/// Opens `name`, whose resolution leaves `folder`, if its target is inside: it contains an absolute
/// link, or one that goes up and comes back.
fn open_by_detour(folder: BorrowedFd<'_>, name: &[u8], how: OFlags) -> Result<OwnedFd, Errno> {
    // `O_PATH` only locates the file, without effects on devices or FIFOs.
    let look = OFlags::PATH.union(OFlags::CLOEXEC);
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let target = retry_on_intr(|| rustix::fs::openat2(folder, name, look, Mode::empty(), resolve))?;
    let (root, target) = (real_path(folder)?, real_path(target.as_fd())?);
    match target.strip_prefix(&*root) {
        // The target is opened with confinement, so changes since the lookup do no harm.
        Some([b'/', inside @ ..]) => open_contained(folder, inside, how),
        Some([]) => open_contained(folder, b".", how),
        _ => Err(Errno::XDEV),
    }
}

/// Returns the path of an open file from the root of the file system.
fn real_path(file: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Without `/proc`, the location cannot be determined.
    let path = rustix::fs::readlink(link, Vec::new()).map_err(|_| Errno::XDEV)?;
    Ok(path.into_bytes())
}

/// Opens `name` if the kernel finds it inside `folder`.
fn open_contained(folder: BorrowedFd<'_>, name: &[u8], how: OFlags) -> Result<OwnedFd, Errno> {
    let open = || rustix::fs::openat2(folder, name, how, Mode::empty(), CONTAINED);
    for _ in 1..OPEN_ATTEMPTS {
        match retry_on_intr(open) {
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    retry_on_intr(open)
}

/// Opens `name` inside `folder` without following any link: each folder on the way is opened
/// separately, so that none can be replaced by a link in the meantime.
fn open_by_walking(folder: BorrowedFd<'_>, name: &[u8], how: OFlags) -> Result<OwnedFd, Errno> {
    let open = |at: BorrowedFd<'_>, name: &[u8], how: OFlags| {
        retry_on_intr(|| rustix::fs::openat(at, name, how | OFlags::NOFOLLOW, Mode::empty()))
    };
    let mut names = name
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
        .peekable();
    let mut at: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        let here = at.as_ref().map_or(folder, AsFd::as_fd);
        let is_last = names.peek().is_none();
        // `.` stands for the root itself; any other dot segment is rejected.
        if name == b".." || (name == b"." && !(is_last && at.is_none())) {
            return Err(Errno::XDEV);
        }
        if is_last {
            return open(here, name, how);
        }
        at = Some(open(here, name, FOLDER)?);
    }
    Err(Errno::NOENT)
}

/// Reports whether two descriptors refer to the same folder.
fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Creates a root with pages, links inside, outside and back, a FIFO, and a secret next to it.
    fn site() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary folder");
        let root = dir.path().join("html");
        fs::create_dir_all(root.join("docs/deep")).expect("folders");
        fs::write(dir.path().join("secret"), "secret").expect("secret");
        fs::write(root.join("index.html"), "index").expect("index");
        fs::write(root.join("docs/deep/page"), "page").expect("page");
        for (target, link) in [
            ("index.html", "inside"),
            ("../index.html", "docs/up"),
            ("docs", "folder"),
            ("../secret", "out"),
            ("..", "parent"),
            ("../html/index.html", "out-and-in"),
            ("/etc/passwd", "absolute"),
            ("loop", "loop"),
            ("/proc/self/root", "magic"),
            ("nowhere", "dangling"),
        ] {
            symlink(target, root.join(link)).expect("link");
        }
        let absolute = |target: &str, link: &str| {
            symlink(dir.path().join(target), root.join(link)).expect("link");
        };
        absolute("html/index.html", "absolute-inside");
        absolute("html/docs/deep", "docs/absolute-folder");
        absolute("html/inside", "around");
        absolute("html2", "beside");
        absolute("secret", "absolute-out");
        fs::create_dir(dir.path().join("html2")).expect("folder");
        fs::write(dir.path().join("html2/secret"), "secret").expect("secret");
        dir
    }

    fn open_both(site: &tempfile::TempDir) -> [Root; 2] {
        let open = || Root::open(&site.path().join("html")).expect("root");
        [
            Root {
                containment: Containment::Kernel,
                ..open()
            },
            Root {
                containment: Containment::Walk,
                ..open()
            },
        ]
    }

    fn read(root: &Root, name: &str) -> Result<String, Errno> {
        let mut text = String::new();
        let mut file = fs::File::from(root.open_file(name.as_bytes())?);
        file.read_to_string(&mut text)
            .map_err(|e| Errno::from_io_error(&e).expect("errno"))?;
        Ok(text)
    }

    #[test]
    fn both_ways_open_what_is_inside() {
        let site = site();
        for root in open_both(&site) {
            assert_eq!(read(&root, "index.html").as_deref(), Ok("index"));
            assert_eq!(read(&root, "docs/deep/page").as_deref(), Ok("page"));
            assert_eq!(read(&root, "docs//deep///page").as_deref(), Ok("page"));
            assert_eq!(read(&root, "nothing").unwrap_err(), Errno::NOENT);
            assert_eq!(read(&root, "index.html/x").unwrap_err(), Errno::NOTDIR);
            assert!(read(&root, &"x/y".repeat(3000)).is_err());
        }
    }

    #[test]
    fn neither_way_leaves_the_root() {
        let site = site();
        let names = [
            "../secret",
            "docs/../../secret",
            "/etc/passwd",
            "..",
            "out",
            "parent/secret",
            "parent",
            "parent/html2",
            "absolute",
            "loop",
            "magic/etc/passwd",
            "dangling",
            "folder/../../secret",
            "beside/secret",
            "beside",
            "absolute-out",
        ];
        for root in open_both(&site) {
            for name in names {
                assert!(
                    read(&root, name).is_err(),
                    "{name} with {:?}",
                    root.containment
                );
            }
        }
    }

    #[test]
    fn links_that_stay_inside_are_followed_by_the_kernel_only() {
        let site = site();
        let [kernel, walk] = open_both(&site);
        for name in [
            "inside",
            "docs/up",
            "folder/deep/page",
            "out-and-in",
            "absolute-inside",
            "docs/absolute-folder/page",
            "around",
        ] {
            assert!(read(&kernel, name).is_ok(), "{name}");
            assert!(read(&walk, name).is_err(), "{name}");
        }
        assert_eq!(read(&kernel, "out").unwrap_err(), Errno::XDEV);
        assert_eq!(read(&walk, "out").unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn only_folders_inside_the_root_open_for_listing() {
        let site = site();
        for root in open_both(&site) {
            for name in ["", "docs", "docs/deep"] {
                assert!(root.open_folder(name.as_bytes()).is_ok(), "{name}");
            }
            for name in ["index.html", "nothing", "parent", "..", "docs/../..", "/"] {
                assert!(root.open_folder(name.as_bytes()).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn a_fifo_opens_at_once() {
        let site = site();
        let fifo = site.path().join("html/fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .expect("fifo");
        for root in open_both(&site) {
            assert!(root.open_file(b"fifo").is_ok());
        }
    }

    #[test]
    fn a_replaced_folder_is_served_after_reopen() {
        let site = site();
        let path = site.path().join("html");
        for root in open_both(&site) {
            root.reopen();
            assert_eq!(read(&root, "index.html").as_deref(), Ok("index"));

            fs::rename(&path, site.path().join("old")).expect("away");
            root.reopen();
            assert_eq!(read(&root, "index.html").unwrap_err(), Errno::NOENT);

            fs::create_dir(&path).expect("new folder");
            fs::write(path.join("index.html"), "new").expect("new index");
            root.reopen();
            assert_eq!(read(&root, "index.html").as_deref(), Ok("new"));

            fs::remove_dir_all(&path).expect("gone");
            fs::rename(site.path().join("old"), &path).expect("back");
            root.reopen();
            assert_eq!(read(&root, "index.html").as_deref(), Ok("index"));
        }
    }
}
