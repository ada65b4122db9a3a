//! The folder in which artifacts are stored, each in a folder named by the digest of its manifest:
//!
//! ```text
//! 0123…/
//! ├── index.json      if the digest is that of an index
//! ├── manifest.json
//! └── handler.wasm    or bundle.wasgi, and bundle.wasgi.minisig
//! ```
//!
//! All of it is compared with its digests each time it is used: a damaged artifact is downloaded
//! again.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::fs::{FlockOperation, flock};

use super::digest::{Digest, Hasher};
use super::manifest::{Artifact, ArtifactKind, Blob, MAX_MANIFEST_BYTES, Manifest};
use crate::outbound::Until;
use crate::regular_file;
use crate::version_folders::{self, VersionFolders};

/// The number of unused artifacts that are kept: an operator may go back to one, and other sites of
/// this user may use the rest.
const KEPT_UNUSED: usize = 32;

/// The permissions of the folders: those of the store itself decide which users can read them.
const MODE: u32 = 0o755;

/// The front of the names of files that are locked while an artifact is downloaded.
const TURN: &str = "turn-";

/// The polling interval of those that wait for a download: short compared to it.
const LOOK: Duration = Duration::from_millis(20);

/// The bytes that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// The name of an image index.
const INDEX_FILE: &str = "index.json";

/// The name of a manifest.
const MANIFEST_FILE: &str = "manifest.json";

/// A folder of artifacts.
#[derive(Debug)]
pub(crate) struct Store {
    folders: VersionFolders,
}

/// An artifact in a store, which stays there as long as this exists.
#[derive(Debug)]
pub(crate) struct Pulled {
    file: PathBuf,
    kind: ArtifactKind,
    bytes: u64,
    /// The folder, with a shared lock.
    _lock: File,
}

/// The right to download an artifact. Others wait until it is dropped, or its process ends.
#[derive(Debug)]
pub(super) struct Turn {
    path: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens a store. It need not exist until something is added.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folders: VersionFolders::new(folder, KEPT_UNUSED, MODE),
        }
    }

    /// Returns where the handler of the manifest with this digest is, if it is in the store.
    pub(crate) fn handler(folder: &Path, digest: &Digest) -> PathBuf {
        let folder = folder.join(digest.hex());
        folder.join(file_name(ArtifactKind::Handler))
    }

    /// Returns the artifact with this digest if it is there and whole. One that is damaged is
    /// removed if possible.
    ///
    /// # Errors
    ///
    /// Fails if another user may have written it.
    pub(super) fn find(&self, digest: &Digest) -> anyhow::Result<Option<Pulled>> {
        let folder = self.folders.path_of(&digest.hex());
        if !folder.exists() {
            return Ok(None);
        }
        self.folders.check()?;
        let Some(lock) = self.folders.lock(&folder)? else {
            return Ok(None);
        };
        match verify(&folder, digest) {
            Ok(artifact) => {
                // Only the order of removals depends on it.
                let _ = lock.set_modified(std::time::SystemTime::now());
                Ok(Some(Pulled {
                    file: folder.join(file_name(artifact.kind)),
                    kind: artifact.kind,
                    bytes: artifact.content.bytes,
                    _lock: lock,
                }))
            }
            Err(error) => {
                tracing::warn!("{}: {error:#}: downloaded again", folder.display());
                drop(lock);
                self.folders.remove(&folder);
                Ok(None)
            }
        }
    }

    /// Adds an artifact, whose files `write` creates in a new folder, and removes unused ones.
    ///
    /// # Errors
    ///
    /// Fails if the files can't be written, or if they don't match the digest.
    pub(super) fn add(
        &self,
        digest: &Digest,
        write: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Pulled> {
        self.folders.create()?;
        self.folders.put(&digest.hex(), write)?;
        let pulled = self.find(digest)?;
        self.folders
            .remove_unused(|name| Digest::parse_hex(name).is_some());
        pulled.context("another program changes the store (oci.store)")
    }

    /// Waits until no other process downloads this artifact, which may then be there.
    ///
    /// # Errors
    ///
    /// Fails if the store can't be written to, or if another process takes too long.
    pub(super) fn turn(&self, digest: &Digest, until: Until<'_>) -> anyhow::Result<Turn> {
        self.folders.create()?;
        let path = self.folders.path_of(&format!("{TURN}{}", digest.hex()));
        loop {
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            let file = file.with_context(|| format!("{}: can't be made", path.display()))?;
            let is_locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            // Its last holder may have removed it in between.
            if is_locked && version_folders::is_at(&file, &path) {
                return Ok(Turn { path, _lock: file });
            }
            ensure!(!(until.is_over)(), "no longer wanted");
            ensure!(
                Instant::now() < until.deadline,
                "another process downloads it, and takes too long"
            );
            thread::sleep(LOOK);
        }
    }

    /// Checks that there is space for a download.
    ///
    /// # Errors
    ///
    /// Fails if there is not enough.
    pub(super) fn check_space(&self, bytes: u64) -> anyhow::Result<()> {
        self.folders.check_space(bytes)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // One that remains is locked and used by the next.
        let _ = fs::remove_file(&self.path);
    }
}

impl Pulled {
    /// Returns the path of the handler or the bundle.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Returns what it is.
    pub(crate) fn kind(&self) -> ArtifactKind {
        self.kind
    }

    /// Returns the size of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Returns the name of an artifact's file.
pub(super) fn file_name(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Handler => "handler.wasm",
        ArtifactKind::Bundle => "bundle.wasgi",
    }
}

/// Returns the name of a bundle's signature.
pub(super) const SIGNATURE_FILE: &str = "bundle.wasgi.minisig";

/// The names of the manifests of an artifact.
pub(super) fn manifest_names(is_index: bool) -> &'static str {
    match is_index {
        true => INDEX_FILE,
        false => MANIFEST_FILE,
    }
}

/// Compares everything in an artifact's folder with the digests.
fn verify(folder: &Path, digest: &Digest) -> anyhow::Result<Artifact> {
    let mut expected = *digest;
    let mut is_index = folder.join(INDEX_FILE).exists();
    loop {
        let path = folder.join(manifest_names(is_index));
        let bytes = regular_file::read(&path, MAX_MANIFEST_BYTES)
            .map_err(|error| anyhow::anyhow!("{error}"))
            .context("its manifest can't be read")?;
        ensure!(
            Digest::from_content(&bytes) == expected,
            "its manifest is damaged"
        );
        match Manifest::parse(&bytes).map_err(anyhow::Error::msg)? {
            Manifest::Artifact(artifact) if !is_index => {
                let path = folder.join(file_name(artifact.kind));
                verify_file(&path, &artifact.content)?;
                if let Some(signature) = &artifact.signature {
                    verify_file(&folder.join(SIGNATURE_FILE), signature)?;
                }
                return Ok(artifact);
            }
            Manifest::Index(blob) if is_index => (expected, is_index) = (blob.digest, false),
            _ => bail!("its manifest is damaged"),
        }
    }
}

fn verify_file(path: &Path, blob: &Blob) -> anyhow::Result<()> {
    let mut file = match regular_file::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("is incomplete"),
        opened => opened.context("can't be opened")?,
    };
    let metadata = file.metadata()?;
    ensure!(
        metadata.is_file() && metadata.len() == blob.bytes,
        "is damaged"
    );
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut buffer).context("can't be read")?;
        match buffer.get(..read) {
            None | Some([]) => break,
            Some(part) => hasher.update(part),
        }
    }
    ensure!(hasher.finish() == blob.digest, "is damaged");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(content: &[u8]) -> String {
        let (digest, size) = (Digest::from_content(content), content.len());
        let layer =
            format!(r#"{{"mediaType":"application/wasm","digest":"{digest}","size":{size}}}"#);
        format!(r#"{{"schemaVersion":2,"layers":[{layer}]}}"#)
    }

    fn add(store: &Store, content: &[u8]) -> Digest {
        let manifest = manifest(content);
        let digest = Digest::from_content(manifest.as_bytes());
        let added = store.add(&digest, |folder| {
            fs::write(folder.join(MANIFEST_FILE), &manifest)?;
            Ok(fs::write(folder.join("handler.wasm"), content)?)
        });
        added.expect("added");
        digest
    }

    #[test]
    fn what_is_damaged_is_not_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("store");
        let store = Store::new(&folder);
        let other = Digest::from_content(b"");
        assert!(store.find(&other).expect("no error").is_none());
        for damage in ["handler.wasm", MANIFEST_FILE] {
            for bytes in [&b"longer than the content"[..], b"contenT", b""] {
                let digest = add(&store, b"content");
                let found = store.find(&digest).expect("no error").expect("it is there");
                assert_eq!(fs::read(found.file()).expect("read"), b"content");
                assert_eq!(found.file(), Store::handler(&folder, &digest));
                drop(found);
                let damaged = folder.join(digest.hex()).join(damage);
                fs::write(&damaged, bytes).expect("written");
                assert!(store.find(&digest).expect("no error").is_none(), "{damage}");
                assert!(!damaged.exists(), "it is removed");
            }
        }
    }

    #[test]
    fn unused_artifacts_are_removed_but_for_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let first = add(&store, b"first");
        let used = store.find(&first).expect("no error").expect("it is there");
        for number in 0..2 * KEPT_UNUSED {
            add(&store, format!("content {number}").as_bytes());
        }
        let count = || fs::read_dir(folder.path()).expect("read").count();
        assert!(count() <= KEPT_UNUSED + 2, "{}", count());
        assert!(used.file().exists(), "what is used stays");
        drop(used);
    }

    #[test]
    fn a_store_that_others_may_write_to_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let digest = add(&store, b"content");
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(folder.path(), all).expect("set");
        let error = store.find(&digest).expect_err("others may write");
        assert!(format!("{error:#}").contains("other users"), "{error:#}");
    }

    #[test]
    fn one_downloads_and_the_others_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let digest = Digest::from_content(b"one");
        let until = |seconds| Until {
            deadline: Instant::now() + Duration::from_secs(seconds),
            is_over: &|| false,
        };
        let at_once = std::sync::atomic::AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let turn = store.turn(&digest, until(180)).expect("a turn");
                        let others = at_once.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(others, 0);
                        thread::yield_now();
                        at_once.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        let turn = store.turn(&digest, until(180)).expect("a turn");
        assert!(store.turn(&digest, until(0)).is_err(), "too late");
        drop(turn);
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 0);
    }
}
