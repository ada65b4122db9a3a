//! Downloads an artifact to the store, unless it is there.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::client::Registry;
use super::digest::{Digest, Hasher};
use super::manifest::{Artifact, Blob, MAX_MANIFEST_BYTES, Manifest};
use super::options::OciOptions;
use super::reference::Reference;
use super::store::{Pulled, SIGNATURE_FILE, Store, file_name, manifest_names};
use crate::outbound::own::Client;
use crate::outbound::{Download, Until};

/// The maximum time for one artifact, with all requests: 256 MiB at 4 Mbit/s take nine minutes.
const PULL_TIME: Duration = Duration::from_secs(15 * 60);

/// Called with the bytes of the artifact that have arrived, and all that it has.
pub(crate) type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// What is to be pulled, and to where.
#[derive(Clone, Copy)]
pub(crate) struct Pulling<'p> {
    pub(crate) reference: &'p Reference,
    pub(crate) options: &'p OciOptions,
    /// The folder of the store.
    pub(crate) store: &'p Path,
    /// Reports whether it is not wanted any more.
    pub(crate) is_over: &'p dyn Fn() -> bool,
}

/// Returns an artifact in the store, after downloading it if it isn't there, and the reference with
/// its digest.
///
/// # Errors
///
/// Fails with one line that begins with the reference.
pub(crate) fn pull(
    pulling: Pulling<'_>,
    progress: Progress<'_>,
) -> anyhow::Result<(Pulled, Reference)> {
    let shown = || pulling.reference.to_string();
    let store = Store::new(pulling.store);
    if let Some(digest) = pulling.reference.digest() {
        let found = store.find(&digest).with_context(|| in_store(pulling.store));
        if let Some(pulled) = found.with_context(shown)? {
            return Ok((pulled, pulling.reference.pinned(digest)));
        }
    }
    let pulled = download(pulling, &store, progress);
    pulled.with_context(shown)
}

fn in_store(store: &Path) -> String {
    format!("{} (oci.store names another folder)", store.display())
}

fn download(
    pulling: Pulling<'_>,
    store: &Store,
    progress: Progress<'_>,
) -> anyhow::Result<(Pulled, Reference)> {
    let Pulling {
        reference,
        options,
        is_over,
        ..
    } = pulling;
    let deadline = Instant::now() + PULL_TIME;
    let until = Until { deadline, is_over };
    let client = Client::new("wasgi-pull").context("no connection")?;
    let mut registry = Registry::new(&client, reference, options, until)?;
    let host = || reference.registry().to_owned();
    let turn = |digest: &Digest| {
        let turn = store.turn(digest, until);
        turn.with_context(|| in_store(pulling.store))
    };
    // By its tag, the digest is known once the manifest is there.
    let (digest, top, _turn) = match reference.digest() {
        Some(digest) => {
            let turn = turn(&digest)?;
            if let Some(pulled) = store.find(&digest)? {
                return Ok((pulled, reference.pinned(digest)));
            }
            let top = manifest(&mut registry, &digest.to_string()).with_context(host)?;
            check_manifest(&digest, &top).with_context(host)?;
            (digest, top, turn)
        }
        None => {
            let top = manifest(&mut registry, reference.tag()).with_context(host)?;
            let digest = Digest::from_content(&top);
            let turn = turn(&digest)?;
            if let Some(pulled) = store.find(&digest)? {
                return Ok((pulled, reference.pinned(digest)));
            }
            (digest, top, turn)
        }
    };
    let mut manifests = vec![top];
    let artifact = select(&mut registry, &mut manifests).with_context(host)?;
    let pulled = store.add(&digest, |folder| {
        let bytes = artifact.signature.map_or(0, |signature| signature.bytes);
        store.check_space(artifact.content.bytes.saturating_add(bytes))?;
        let count = manifests.len();
        for (at, manifest) in manifests.iter().enumerate() {
            let path = folder.join(manifest_names(at + 1 < count));
            write_new(&path)?.write_all(manifest)?;
        }
        if let Some(signature) = &artifact.signature {
            let path = folder.join(SIGNATURE_FILE);
            blob(&mut registry, signature, &path, &mut |_, _| {}).with_context(host)?;
        }
        let path = folder.join(file_name(artifact.kind));
        blob(&mut registry, &artifact.content, &path, progress).with_context(host)
    });
    Ok((pulled?, reference.pinned(digest)))
}

/// Returns the artifact of the manifest, or of that in the index, which is appended to `manifests`.
fn select(registry: &mut Registry<'_>, manifests: &mut Vec<Vec<u8>>) -> anyhow::Result<Artifact> {
    let top = manifests.first().map_or(&[][..], Vec::as_slice);
    let chosen = match Manifest::parse(top).map_err(anyhow::Error::msg)? {
        Manifest::Artifact(artifact) => return Ok(artifact),
        Manifest::Index(chosen) => chosen,
    };
    let bytes = manifest(registry, &chosen.digest.to_string())?;
    check_manifest(&chosen.digest, &bytes)?;
    match Manifest::parse(&bytes).map_err(anyhow::Error::msg)? {
        Manifest::Artifact(artifact) => {
            manifests.push(bytes);
            Ok(artifact)
        }
        Manifest::Index(_) => bail!("it is an index of indexes, which is not supported"),
    }
}

/// Returns the bytes of a manifest.
fn manifest(registry: &mut Registry<'_>, reference: &str) -> anyhow::Result<Vec<u8>> {
    let mut response = registry.manifest(reference)?;
    if let Some(announced) = announced_bytes(&response) {
        ensure!(
            announced <= MAX_MANIFEST_BYTES,
            "sends a manifest of {announced} bytes: {MAX_MANIFEST_BYTES} are allowed"
        );
    }
    let max_bytes = usize::try_from(MAX_MANIFEST_BYTES).unwrap_or(usize::MAX);
    let whole = response.whole(max_bytes);
    whole.map_err(|error| anyhow::anyhow!("its manifest: {error}"))
}

fn check_manifest(expected: &Digest, bytes: &[u8]) -> anyhow::Result<()> {
    let found = Digest::from_content(bytes);
    ensure!(
        found == *expected,
        "sends a manifest with another digest, {found}"
    );
    Ok(())
}

/// Returns the length that a response announces.
fn announced_bytes(response: &Download<'_>) -> Option<u64> {
    let field = response.fields.get(http::header::CONTENT_LENGTH)?;
    field.to_str().ok()?.parse().ok()
}

/// Downloads a blob to a new file, and compares it with its size and digest.
fn blob(
    registry: &mut Registry<'_>,
    blob: &Blob,
    path: &Path,
    progress: Progress<'_>,
) -> anyhow::Result<()> {
    let expected = blob.bytes;
    let mut response = registry.blob(&blob.digest.to_string())?;
    if let Some(announced) = announced_bytes(&response) {
        ensure!(
            announced == expected,
            "sends {announced} bytes instead of the {expected} of its manifest"
        );
    }
    let mut file = write_new(path)?;
    let mut hasher = Hasher::new();
    let mut arrived = 0;
    progress(arrived, expected);
    loop {
        let part = response.next_part();
        let part =
            part.map_err(|error| anyhow::anyhow!("{error}, after {arrived} of {expected} bytes"))?;
        let Some(part) = part else { break };
        arrived += part.len() as u64;
        ensure!(
            arrived <= expected,
            "sends more than the {expected} bytes of its manifest"
        );
        hasher.update(&part);
        file.write_all(&part)
            .with_context(|| format!("{}", path.display()))?;
        progress(arrived, expected);
    }
    ensure!(
        arrived == expected,
        "sends {arrived} bytes instead of the {expected} of its manifest"
    );
    let found = hasher.finish();
    ensure!(
        found == blob.digest,
        "sends something with another digest, {found}"
    );
    Ok(())
}

fn write_new(path: &Path) -> anyhow::Result<File> {
    let file = File::create_new(path);
    file.with_context(|| format!("{} can't be made", path.display()))
}
