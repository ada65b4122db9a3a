//! The root folder, held open, and the one way to open what is in it.
//!
//! The kernel keeps us inside: `openat2` with `RESOLVE_BENEATH` resolves a name from the root's
//! descriptor and fails as soon as a step would leave it, whatever is renamed meanwhile. Nothing
//! is checked first and opened after, so there is no moment in between.
//!
//! Symbolic links to what is inside the root are followed; one that leads out is refused (`EXDEV`).
//! The kernel refuses an absolute one, too, so that is looked up without the fence, and what it
//! leads to opened within it, by its own path. Where the kernel or a sandbox around us has no
//! `openat2`, a walk with `openat` and `O_NOFOLLOW` takes its place: it is as safe, but refuses
//! every link (`ELOOP`, or `ENOTDIR` for one on the way).
//!
//! Nothing here can wait for a peer: `O_NONBLOCK` opens a FIFO at once, and the caller turns away
//! all but regular files.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use tracing::{info, warn};

/// How everything is opened: to read, never waiting, never inherited, never a terminal of ours.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

/// How a folder is held that is only there to open things in it.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What `openat2` is asked to refuse. Magic links (`/proc/self/fd/…`) are no way out either.
const CONTAINED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// How often an open is tried. The kernel gives up with `EAGAIN` when a rename, anywhere, came in
/// between while it resolved a `..` of a link; openat2(2) says to try again. Four in a row is no
/// accident.
const OPEN_ATTEMPTS: usize = 4;

/// The folder that pages are in.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    containment: Containment,
    /// None while there is no folder at `path`. The lock is only written by [`Root::reopen`].
    folder: RwLock<Option<OwnedFd>>,
}

/// Who keeps a name inside the root.
#[derive(Clone, Copy, Debug)]
enum Containment {
    /// The kernel, in one call.
    Kernel,
    /// We, name by name.
    Walk,
}

impl Root {
    /// Opens the folder at `path`, which may be a symbolic link itself. It need not be there yet:
    /// then nothing is found until [`Root::reopen`] finds it.
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

    /// Opens `name` for reading. It is relative to the root, has no dot segment and does not end
    /// with `/`, as `security::file_name` makes it; any other is refused or not found.
    ///
    /// What comes back can be a folder or a FIFO.
    pub(super) fn open_file(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_as(name, READ)
    }

    /// Opens the folder `name`, which is empty for the root itself, to list what is in it.
    pub(super) fn open_folder(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let list = READ.union(OFlags::DIRECTORY);
        self.open_as(if name.is_empty() { b"." } else { name }, list)
    }

    /// The state of what `name` leads to now, in one call to the kernel. It may lead out of the
    /// root: this is only good to tell whether a file that was opened before is still the one.
    pub(super) fn stat(&self, name: &[u8]) -> Result<Stat, Errno> {
        let folder = self.folder.read().unwrap_or_else(PoisonError::into_inner);
        let folder = folder.as_ref().ok_or(Errno::NOENT)?;
        retry_on_intr(|| rustix::fs::statat(folder, name, AtFlags::empty()))
    }

    /// Looks whether another folder is at the path now, and serves from that one if so. Without any
    /// folder there, nothing is served until the next call finds one.
    pub(super) fn reopen(&self) {
        let now = open_folder(&self.path);
        let mut folder = self.folder.write().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.display();
        match (&*folder, &now) {
            (Some(old), Ok(new)) if is_same(old, new) => return,
            (None, Err(_)) => return,
            (None, Ok(_)) => info!("pages: {path} is there now"),
            (Some(_), Ok(_)) => info!("pages: {path} was replaced; serving from the new folder"),
            (_, Err(why)) => {
                warn!("pages: no folder at {path} any more ({why}): no page is served");
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

/// Opens `name`, which leads out of `folder` on its way, if what it leads to is inside: there is an
/// absolute link, or one that goes up and comes back.
fn open_by_detour(folder: BorrowedFd<'_>, name: &[u8], how: OFlags) -> Result<OwnedFd, Errno> {
    // Only to be looked at: nothing is opened that might notice.
    let look = OFlags::PATH.union(OFlags::CLOEXEC);
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let target = retry_on_intr(|| rustix::fs::openat2(folder, name, look, Mode::empty(), resolve))?;
    let (root, target) = (real_path(folder)?, real_path(target.as_fd())?);
    match target.strip_prefix(&*root) {
        // Whatever has happened meanwhile, it is looked for inside.
        Some([b'/', inside @ ..]) => open_contained(folder, inside, how),
        Some([]) => open_contained(folder, b".", how),
        _ => Err(Errno::XDEV),
    }
}

/// Where an open file is, from the root of the file system.
fn real_path(file: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Without `/proc`, nobody can tell that it is inside.
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

/// Opens `name` inside `folder` without following any link: each folder on the way is opened by
/// itself, so that none can be swapped for a link behind us.
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
        // The root itself is `.`; anywhere else, a dot segment has no business here.
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

/// Whether two descriptors are of the same folder.
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

    /// A root with pages, links in, out and around, a FIFO, and a secret beside it.
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
    fn folders_to_list() {
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
