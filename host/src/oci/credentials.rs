//! The user and the password for a registry: from environment variables, or from the file in which
//! `docker login` and `oras login` store them.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use http::HeaderValue;
use serde::Deserialize;

use crate::{base64, regular_file};

/// The variable that names the registry for which the other two are.
const REGISTRY: &str = "WASGI_REGISTRY";

/// The variable with the user.
const USER: &str = "WASGI_REGISTRY_USER";

/// The variable with the password or the access token.
const PASSWORD: &str = "WASGI_REGISTRY_PASSWORD";

/// The maximum size of docker's file, in bytes: ten thousand registries.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The host under which docker's file has the password for Docker Hub.
const DOCKER_HUB_KEYS: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    user: String,
    password: String,
}

/// What is known about the password for a registry.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) credentials: Option<Credentials>,
    /// Why there are none although the user has logged in.
    pub(super) note: Option<String>,
}

/// The parts of docker's file that matter.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfig {
    auths: HashMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl Known {
    /// Looks for the password for a registry. `file` is docker's file if the configuration names
    /// one.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read, or if only some of the variables are set.
    pub(super) fn find(registry: &str, file: Option<&Path>) -> anyhow::Result<Self> {
        let variables = [REGISTRY, USER, PASSWORD].map(std::env::var);
        let [host, user, password] = variables.map(Result::ok);
        if host.is_some() || user.is_some() || password.is_some() {
            let (Some(host), Some(user), Some(password)) = (host, user, password) else {
                anyhow::bail!(
                    "the variables {REGISTRY} (the registry's host), {USER} and {PASSWORD} belong \
                     together: one of them is missing"
                );
            };
            if host == registry {
                return Ok(Self::with(Some(Credentials::new(user, password)?)));
            }
        }
        let Some(path) = file.map(Path::to_owned).or_else(default_file) else {
            return Ok(Self::with(None));
        };
        let shown = path.display();
        let text = match regular_file::read_text(&path, MAX_FILE_BYTES) {
            Err(error) if error.is_not_found() && file.is_none() => return Ok(Self::with(None)),
            result => result.with_context(|| format!("{shown}: can't be read"))?,
        };
        // The error of the parser could contain what is in the file.
        let config: DockerConfig = serde_json::from_str(&text)
            .map_err(|_| anyhow::anyhow!("{shown}: is no config.json of docker"))?;
        config
            .find(registry)
            .with_context(|| format!("{shown}: the entry for {registry}"))
    }

    fn with(credentials: Option<Credentials>) -> Self {
        Self {
            credentials,
            note: None,
        }
    }
}

/// Returns where docker stores passwords.
pub(super) fn default_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let absolute = |path: &PathBuf| path.is_absolute();
    let folder = set("DOCKER_CONFIG").filter(absolute);
    let folder = folder.or_else(|| Some(set("HOME").filter(absolute)?.join(".docker")));
    Some(folder?.join("config.json"))
}

impl DockerConfig {
    fn find(&self, registry: &str) -> anyhow::Result<Known> {
        let is_it = |key: &str| {
            let host = key.split_once("://").map_or(key, |(_, rest)| rest);
            let host = host.split('/').next().unwrap_or(host);
            host.eq_ignore_ascii_case(registry)
                || (registry == "docker.io" && DOCKER_HUB_KEYS.contains(&host))
        };
        let auth = self.auths.iter().find(|(key, _)| is_it(key));
        let auth = auth.map(|(_, auth)| auth);
        if let Some(credentials) = auth.map(Auth::credentials).transpose()?.flatten() {
            return Ok(Known::with(Some(credentials)));
        }
        let helper = self.cred_helpers.iter().find(|(key, _)| is_it(key));
        let helper = helper.map(|(_, helper)| helper);
        let store = self.creds_store.as_ref().filter(|_| auth.is_some());
        let note = match (helper.or(store), auth) {
            (Some(_), _) => Some("docker keeps its password with a credential helper"),
            (None, Some(auth)) if !auth.identitytoken.is_empty() => {
                Some("docker has an identity token and no password for it")
            }
            _ => None,
        };
        let note = note.map(|what| {
            format!("{what}, which is not supported: set {REGISTRY}, {USER} and {PASSWORD}")
        });
        Ok(Known {
            credentials: None,
            note,
        })
    }
}

impl Auth {
    /// Returns the user and the password of an entry, which may have neither.
    fn credentials(&self) -> anyhow::Result<Option<Credentials>> {
        if !self.identitytoken.is_empty() {
            return Ok(None);
        }
        if self.auth.is_empty() {
            return match self.username.is_empty() || self.password.is_empty() {
                true => Ok(None),
                false => Credentials::new(self.username.clone(), self.password.clone()).map(Some),
            };
        }
        let decoded = base64::decode(&self.auth).and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.context("is not base64 of a user and a password")?;
        // Docker itself appends zeros to some.
        let (user, password) = decoded
            .trim_end_matches('\0')
            .split_once(':')
            .context("has no user and password")?;
        Credentials::new(user.to_owned(), password.to_owned()).map(Some)
    }
}

impl Credentials {
    fn new(user: String, password: String) -> anyhow::Result<Self> {
        let is_plain = |text: &str| !text.contains(char::is_control);
        // RFC 7617 section 2.
        ensure!(
            !user.contains(':') && is_plain(&user) && is_plain(&password),
            "the user or the password has a character that can't be sent"
        );
        Ok(Self { user, password })
    }

    /// Returns the value of an Authorization field (RFC 7617).
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        let both = format!("{}:{}", self.user, self.password);
        let value = format!("Basic {}", base64::encode(both.as_bytes()));
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, registry: &str) -> anyhow::Result<Known> {
        let config: DockerConfig = serde_json::from_str(text).expect("JSON");
        config.find(registry)
    }

    #[test]
    fn the_password_of_a_registry_is_found_under_each_form_of_its_name() {
        for (key, registry) in [
            ("registry.example.com", "registry.example.com"),
            ("https://registry.example.com", "registry.example.com"),
            ("https://registry.example.com/v2/", "registry.example.com"),
            ("localhost:5000", "localhost:5000"),
            ("https://index.docker.io/v1/", "docker.io"),
        ] {
            // ada:a:b
            let text = format!(r#"{{"auths":{{"{key}":{{"auth":"YWRhOmE6Yg=="}}}}}}"#);
            let found = find(&text, registry).expect("good").credentials;
            let field = found.and_then(|it| it.basic()).expect("a password");
            assert_eq!(field.to_str().ok(), Some("Basic YWRhOmE6Yg=="), "{key}");
            assert!(field.is_sensitive());
            let other = find(&text, "example.com").expect("good");
            assert!(other.credentials.is_none() && other.note.is_none(), "{key}");
        }
    }

    #[test]
    fn a_password_that_docker_keeps_elsewhere_is_told() {
        for text in [
            r#"{"auths":{"registry.example.com":{}},"credsStore":"desktop"}"#,
            r#"{"credHelpers":{"registry.example.com":"ecr-login"}}"#,
            r#"{"auths":{"registry.example.com":{"auth":"YWRhOg==","identitytoken":"secret"}}}"#,
        ] {
            let known = find(text, "registry.example.com").expect("good");
            assert!(known.credentials.is_none());
            let note = known.note.expect(text);
            assert!(note.contains("WASGI_REGISTRY_USER") && !note.contains("secret"));
        }
    }

    #[test]
    fn a_damaged_entry_is_an_error_without_its_content() {
        for auth in ["c2VjcmV0", "secret!", "c2VjcmV0Cjo="] {
            let text = format!(r#"{{"auths":{{"a":{{"auth":"{auth}"}}}}}}"#);
            let error = format!("{:#}", find(&text, "a").expect_err(auth));
            assert!(
                !error.contains("secret") && !error.contains(auth),
                "{error}"
            );
        }
        let credentials = Credentials::new("ada".into(), "secret".into()).expect("good");
        assert_eq!(format!("{credentials:?}"), "Credentials(***)");
    }
}
