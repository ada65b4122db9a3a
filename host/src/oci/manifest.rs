//! The manifest of an artifact (OCI Image Specification 1.1), and the file in it that is served.
//!
//! A handler has the layout of the CNCF for WebAssembly: one layer, of the type `application/wasm`.
//! A bundle has a layer of a type of its own, and may have another one with its signature. The
//! config of a manifest is not used. Of an image index, the one manifest for WebAssembly is used.

use serde::Deserialize;

use super::digest::Digest;
use crate::printable;
use crate::reload::MAX_HANDLER_BYTES;

/// The maximum size of a manifest, in bytes: registries must accept as much (OCI Distribution
/// Specification 1.1, "Pushing Manifests").
pub(super) const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The maximum size of a bundle, in bytes. One that is copied has no limit, but this comes from
/// another machine.
const MAX_BUNDLE_BYTES: u64 = 4 << 30;

/// The maximum size of a bundle's signature, in bytes: that of a file beside a bundle.
const MAX_SIGNATURE_BYTES: u64 = 64 << 10;

/// The media type of a manifest.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of an image index.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The types that a registry is asked for.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
                                   application/vnd.oci.image.index.v1+json";

/// The media type of a handler.
const HANDLER: &str = "application/wasm";

/// The media type of a bundle.
const BUNDLE: &str = "application/vnd.wasgi.bundle.v1";

/// The media type of a bundle's signature.
const SIGNATURE: &str = "application/vnd.wasgi.bundle.signature.v1";

/// The architecture of WebAssembly in an image index.
const ARCHITECTURE: &str = "wasm";

/// The maximum length of a media type in a message, in bytes.
const SHOWN_BYTES: usize = 80;

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArtifactKind {
    /// A handler: a WebAssembly file.
    Handler,
    /// A bundle: a site in one file.
    Bundle,
}

impl ArtifactKind {
    /// Returns what it is called.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Bundle => "bundle",
        }
    }
}

/// A blob or a manifest: its digest and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

/// What a manifest describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manifest {
    Artifact(Artifact),
    /// An index, with its manifest for WebAssembly.
    Index(Blob),
}

/// A file to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Artifact {
    pub(super) kind: ArtifactKind,
    pub(super) content: Blob,
    /// The signature of a bundle.
    pub(super) signature: Option<Blob>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    media_type: Option<String>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
}

impl Manifest {
    /// Parses a manifest or an image index, whose bytes have the right digest.
    ///
    /// # Errors
    ///
    /// Fails if it is neither, or if it doesn't describe one handler or one bundle.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| format!("its manifest is no manifest of OCI: {error}"))?;
        if document.schema_version != 2 {
            let version = document.schema_version;
            return Err(format!(
                "its manifest has the schema version {version}, not 2"
            ));
        }
        let is_type = |expected| match document.media_type.as_deref() {
            None => true,
            Some(found) => found == expected,
        };
        // A document that can be read as both means different things to different readers.
        match (&document.layers, &document.manifests) {
            (Some(layers), None) if is_type(MANIFEST) => Ok(Self::Artifact(artifact(layers)?)),
            (None, Some(manifests)) if is_type(INDEX) => Ok(Self::Index(for_wasm(manifests)?)),
            _ => Err("its manifest is neither a manifest of OCI nor an image index".into()),
        }
    }
}

/// Selects the file to serve.
fn artifact(layers: &[Descriptor]) -> Result<Artifact, String> {
    let (kind, content, signature) = match layers {
        [content] if content.media_type == HANDLER => (ArtifactKind::Handler, content, None),
        [content] if content.media_type == BUNDLE => (ArtifactKind::Bundle, content, None),
        [one, other] if one.media_type == BUNDLE && other.media_type == SIGNATURE => {
            (ArtifactKind::Bundle, one, Some(other))
        }
        [one, other] if one.media_type == SIGNATURE && other.media_type == BUNDLE => {
            (ArtifactKind::Bundle, other, Some(one))
        }
        [] => return Err("it has no layer: is it a handler or a bundle?".into()),
        [first, ..] => {
            return Err(format!(
                "it has {} of the type {}: a handler is one layer of the type {HANDLER}, and a \
                 bundle one of the type {BUNDLE}",
                match layers.len() {
                    1 => "a layer".to_owned(),
                    count => format!("{count} layers, the first"),
                },
                shown(&first.media_type)
            ));
        }
    };
    let max_bytes = match kind {
        ArtifactKind::Handler => MAX_HANDLER_BYTES,
        ArtifactKind::Bundle => MAX_BUNDLE_BYTES,
    };
    let signature = signature.map(|one| one.blob("signature", MAX_SIGNATURE_BYTES));
    Ok(Artifact {
        kind,
        content: content.blob(kind.as_str(), max_bytes)?,
        signature: signature.transpose()?,
    })
}

/// Selects the manifest for WebAssembly in an index.
fn for_wasm(manifests: &[Descriptor]) -> Result<Blob, String> {
    let is_wasm = |one: &&Descriptor| {
        let platform = one.platform.as_ref();
        one.media_type == MANIFEST && platform.is_some_and(|it| it.architecture == ARCHITECTURE)
    };
    let mut found = manifests.iter().filter(is_wasm);
    match (found.next(), found.next()) {
        (Some(one), None) => one.blob("manifest", MAX_MANIFEST_BYTES),
        (None, _) => Err(format!(
            "it is an index of {} manifests, none of them for the architecture {ARCHITECTURE}",
            manifests.len()
        )),
        (Some(_), Some(_)) => Err(format!(
            "it is an index with several manifests for the architecture {ARCHITECTURE}: use the \
             digest of one"
        )),
    }
}

impl Descriptor {
    fn blob(&self, what: &str, max_bytes: u64) -> Result<Blob, String> {
        if self.size == 0 || self.size > max_bytes {
            return Err(format!(
                "its {what} has {} bytes: 1 to {} MiB are allowed",
                self.size,
                max_bytes.div_ceil(1 << 20)
            ));
        }
        let digest = Digest::parse(&self.digest).ok_or_else(|| {
            let digest = shown(&self.digest);
            format!("its {what} has the digest {digest}: only sha256 is supported")
        })?;
        Ok(Blob {
            digest,
            bytes: self.size,
        })
    }
}

fn shown(text: &str) -> String {
    printable::one_line(printable::front(text, SHOWN_BYTES)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(media_type: &str, size: u64) -> String {
        let digest = Digest::from_content(media_type.as_bytes());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    }

    fn manifest(layers: &[String]) -> Result<Manifest, String> {
        let layers = layers.join(",");
        let head = format!(r#""schemaVersion":2,"mediaType":"{MANIFEST}","config":{{}}"#);
        let text = format!(r#"{{{head},"layers":[{layers}]}}"#);
        Manifest::parse(text.as_bytes())
    }

    #[test]
    fn a_handler_is_one_layer_and_a_bundle_one_with_a_signature() {
        let Ok(Manifest::Artifact(handler)) = manifest(&[layer(HANDLER, 7)]) else {
            panic!("a handler");
        };
        assert_eq!(handler.kind, ArtifactKind::Handler);
        assert_eq!(handler.content.bytes, 7);
        let both = [layer(SIGNATURE, 300), layer(BUNDLE, 9)];
        for both in [both.clone(), [both[1].clone(), both[0].clone()]] {
            let Ok(Manifest::Artifact(bundle)) = manifest(&both) else {
                panic!("a bundle");
            };
            assert_eq!(bundle.kind, ArtifactKind::Bundle);
            assert_eq!(bundle.content.bytes, 9);
            assert_eq!(bundle.signature.map(|it| it.bytes), Some(300));
        }
    }

    #[test]
    fn other_layers_and_sizes_are_refused() {
        let refused = |layers: &[String], why: &str| {
            let found = manifest(layers).expect_err(why);
            assert!(found.contains(why), "{found}");
        };
        let image = "application/vnd.oci.image.layer.v1.tar+gzip";
        refused(&[], "no layer");
        refused(&[layer(image, 1)], image);
        refused(&[layer(HANDLER, 1), layer(HANDLER, 1)], "2 layers");
        refused(&[layer(HANDLER, 1), layer(SIGNATURE, 1)], "2 layers");
        refused(&[layer(HANDLER, 0)], "0 bytes");
        refused(&[layer(HANDLER, MAX_HANDLER_BYTES + 1)], "256 MiB");
        refused(&[layer(BUNDLE, MAX_BUNDLE_BYTES + 1)], "4096 MiB");
        let large = layer(SIGNATURE, MAX_SIGNATURE_BYTES + 1);
        refused(&[layer(BUNDLE, 1), large], "signature");
        let sha512 = layer(HANDLER, 1).replace("sha256", "sha512");
        refused(&[sha512], "only sha256");
        let hostile = layer(HANDLER, 1).replace("wasm\"", "\\u001b[2J\"");
        assert!(!manifest(&[hostile]).expect_err("a type").contains('\x1b'));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let both = format!(
            r#"{{"schemaVersion":2,"layers":[{}],"manifests":[]}}"#,
            layer(HANDLER, 1)
        );
        let other_type = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","layers":[{}]}}"#,
            layer(HANDLER, 1)
        );
        for text in [
            "",
            "[]",
            "{}",
            "\u{feff}{}",
            r#"{"schemaVersion":1,"layers":[]}"#,
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":2,"layers":[{"mediaType":"a","digest":"b","size":-1}]}"#,
            r#"{"schemaVersion":2,"layers":[{"mediaType":"a","digest":"b","size":1e99}]}"#,
            &deep,
            &both,
            &other_type,
        ] {
            assert!(Manifest::parse(text.as_bytes()).is_err(), "{text:.80}");
        }
    }

    #[test]
    fn an_index_has_one_manifest_for_wasm() {
        let entry = |architecture: &str| {
            layer(MANIFEST, 5).replace(
                "\"size\"",
                &format!(r#""platform":{{"architecture":"{architecture}","os":"wasip2"}},"size""#),
            )
        };
        let index = |entries: &[String]| {
            let entries = entries.join(",");
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
            Manifest::parse(text.as_bytes())
        };
        let (wasm, amd64) = (entry("wasm"), entry("amd64"));
        let found = index(&[amd64.clone(), wasm.clone()]);
        assert!(
            matches!(found, Ok(Manifest::Index(Blob { bytes: 5, .. }))),
            "{found:?}"
        );
        assert!(index(&[amd64]).is_err());
        assert!(index(&[wasm.clone(), wasm]).is_err());
        assert!(index(&[]).is_err());
    }
}
