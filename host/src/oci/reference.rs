//! The name of an artifact in a registry: `oci://HOST[:PORT]/NAME[:TAG][@DIGEST]`.

use std::fmt;

use super::digest::Digest;
use super::host::is_host;
use super::location::Location;
use super::options::OciOptions;
use crate::redact;

/// What every reference begins with.
const SCHEME: &str = "oci://";

/// The maximum length of a reference, in bytes: all of its parts at their limits are shorter.
const MAX_BYTES: usize = 1024;

/// The maximum length of a repository's name, in bytes: many registries have no longer ones.
const MAX_REPOSITORY_BYTES: usize = 255;

/// The maximum length of a tag, in bytes (OCI Distribution Specification 1.1, "Pulling manifests").
const MAX_TAG_BYTES: usize = 128;

/// Docker Hub, whose registry has another name than its references.
const DOCKER_HUB: &str = "docker.io";

/// The host of Docker Hub's registry.
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// The name of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns whether a text is meant to be a reference.
    pub(crate) fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Parses a reference.
    ///
    /// # Errors
    ///
    /// Fails with the reason, which contains no password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let shown = || redact::urls(text).into_owned();
        let form = "oci://HOST/NAME@sha256:DIGEST";
        if text.len() > MAX_BYTES {
            return Err(format!("a reference has at most {MAX_BYTES} bytes"));
        }
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| format!("{}: is no reference of the form {form}", shown()))?;
        let (registry, rest) = rest
            .split_once('/')
            .ok_or_else(|| format!("{}: has no name: write {form}", shown()))?;
        if registry.contains('@') {
            return Err(format!(
                "{}: has a user: a reference has none, see docs/registries.md for passwords",
                shown()
            ));
        }
        if !is_host(registry) {
            return Err(format!("{}: is not at a host: write {form}", shown()));
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => match Digest::parse(digest) {
                Some(digest) => (rest, Some(digest)),
                None => {
                    return Err(format!(
                        "{}: has no digest after @: sha256: and 64 digits in lower case",
                        shown()
                    ));
                }
            },
            None => (rest, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !is_repository(repository) {
            return Err(format!(
                "{}: {repository} is no name in a registry: parts in lower case, separated by /",
                shown()
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(format!("{}: what follows the name is no tag", shown()));
        }
        Ok(Self {
            registry: registry.to_ascii_lowercase(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Parses a reference with a digest, for a configuration.
    ///
    /// # Errors
    ///
    /// Fails if it is anything else, with the line to write instead.
    pub(crate) fn parse_pinned(text: &str) -> Result<(Self, Digest), String> {
        let reference = Self::parse(text)?;
        match reference.digest {
            Some(digest) => Ok((reference, digest)),
            None => Err(format!(
                "{reference}: has no digest, and a tag can move to something else: \
                 `wasgi pull {reference}` prints the reference to write instead"
            )),
        }
    }

    /// Returns the host and the port, as they are written.
    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the host and the port that requests are for.
    pub(super) fn authority(&self) -> &str {
        match &*self.registry {
            DOCKER_HUB => DOCKER_HUB_API,
            registry => registry,
        }
    }

    /// Returns the location of a path in the registry.
    ///
    /// # Errors
    ///
    /// Fails if its host is none, which was checked already.
    pub(super) fn location(
        &self,
        options: &OciOptions,
        target: String,
    ) -> Result<Location, String> {
        Location::new(!options.is_plain(&self.registry), self.authority(), target)
    }

    /// Returns the port of the registry.
    pub(crate) fn port(&self, options: &OciOptions) -> Option<u16> {
        let location = self.location(options, String::new());
        location.ok().map(|location| location.port)
    }

    /// Returns the name in requests.
    pub(super) fn repository(&self) -> String {
        match &*self.registry {
            // Images of Docker itself are written without their folder.
            DOCKER_HUB if !self.repository.contains('/') => format!("library/{}", self.repository),
            _ => self.repository.clone(),
        }
    }

    /// Returns the last part of the name.
    pub(crate) fn short_name(&self) -> &str {
        let last = self.repository.rsplit('/').next();
        last.unwrap_or(&self.repository)
    }

    /// Returns the digest, if it has one.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns the tag: `latest` if neither a tag nor a digest is given.
    pub(super) fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// Returns the reference to the artifact with this digest in the same repository.
    pub(crate) fn pinned(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Returns the reference without tag and digest: all versions of an artifact.
    pub(crate) fn all_versions(&self) -> String {
        format!("{SCHEME}{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Checks a name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
fn is_repository(name: &str) -> bool {
    name.len() <= MAX_REPOSITORY_BYTES && name.split('/').all(is_part_of_name)
}

fn is_part_of_name(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let is_framed =
        bytes.first().copied().is_some_and(is_word) && bytes.last().copied().is_some_and(is_word);
    let separators = part.split(|character: char| u8::try_from(character).is_ok_and(is_word));
    is_framed
        && separators
            .filter(|separator| !separator.is_empty())
            .all(|it| matches!(it, "." | "_" | "__") || it.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= MAX_TAG_BYTES
        && bytes.next().is_some_and(is_word)
        && bytes.all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_reference_is_shown_as_it_is_written() {
        for text in [
            format!("oci://registry.example.com/org/shop@{DIGEST}"),
            format!("oci://registry.example.com/org/shop:1.0@{DIGEST}"),
            "oci://localhost:5000/a".into(),
            "oci://[::1]:5000/a/b-c/d__e/f.g:v1.0-rc_2".into(),
            "oci://127.0.0.1/a--b".into(),
        ] {
            let parsed = Reference::parse(&text).expect(&text);
            assert_eq!(parsed.to_string(), text);
        }
        let parsed = Reference::parse("oci://Registry.Example.com/a").expect("good");
        assert_eq!(
            (parsed.registry(), parsed.tag()),
            ("registry.example.com", "latest")
        );
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for bad in [
            "registry.example.com/org/shop",
            "https://registry.example.com/org/shop",
            "oci://registry.example.com",
            "oci://registry.example.com/",
            "oci:///shop",
            "oci://a b/shop",
            "oci://host:/shop",
            "oci://host:0/shop",
            "oci://host:70000/shop",
            "oci://host:+1/shop",
            "oci://[::1/shop",
            "oci://[::1]x/shop",
            "oci://[127.0.0.1]/shop",
            "oci://host..x/shop",
            "oci://host/Shop",
            "oci://host/a//b",
            "oci://host/../b",
            "oci://host/a/",
            "oci://host/a.",
            "oci://host/a._b",
            "oci://host/a___b",
            "oci://host/a?b",
            "oci://host/a%2fb",
            "oci://host/é",
            "oci://host/a:",
            "oci://host/a:-x",
            "oci://host/a:x/y",
            "oci://host/a@",
            "oci://host/a@sha256:00",
            "oci://host/a@sha512:00",
            &format!("oci://host/a@{}", DIGEST.to_uppercase()),
            &format!("oci://host/a@{DIGEST}@{DIGEST}"),
            &format!("oci://host/{}", "a/".repeat(1000)),
            &format!("oci://host/{}", "a".repeat(256)),
            &format!("oci://host/a:{}", "a".repeat(129)),
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_in_a_reference_is_refused_and_not_shown() {
        let why = Reference::parse("oci://user:secret@host/a").expect_err("a user");
        assert!(
            why.contains("has a user") && !why.contains("secret"),
            "{why}"
        );
    }

    #[test]
    fn a_tag_is_refused_with_what_to_do() {
        let why = Reference::parse_pinned("oci://host/a:1").expect_err("a tag");
        assert!(why.contains("`wasgi pull oci://host/a:1`"), "{why}");
        assert!(Reference::parse_pinned(&format!("oci://host/a:1@{DIGEST}")).is_ok());
    }

    #[test]
    fn docker_hub_has_another_host() {
        let official = Reference::parse("oci://docker.io/a").expect("good");
        assert_eq!(official.authority(), "registry-1.docker.io");
        assert_eq!(official.repository(), "library/a");
        let other = Reference::parse("oci://docker.io/a/b").expect("good");
        assert_eq!(other.repository(), "a/b");
    }
}
