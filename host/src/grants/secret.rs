//! Secrets: variables whose values are not in `wasgi.toml`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::variable;
use crate::regular_file;

/// The maximum size of a secret, in bytes: several times a certificate chain.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The source of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretSource {
    /// A file, as Docker, Kubernetes and systemd provide secrets. One line end at its end is not
    /// part of the value.
    File(PathBuf),
    /// A variable of the server's environment. It is read once, when the server starts: a process's
    /// environment doesn't change.
    Variable(String),
}

impl SecretSource {
    /// Resolves a relative file against a folder.
    pub(super) fn start_at(&mut self, resolve: &impl Fn(&Path) -> PathBuf) {
        if let Self::File(path) = self {
            *path = resolve(path);
        }
    }

    /// Reads the secret.
    ///
    /// # Errors
    ///
    /// Fails if it can't be read or can't be the value of a variable: one line without the value.
    pub(super) fn read(&self) -> Result<String, String> {
        match self {
            Self::File(path) => read_file(path).map_err(|why| format!("{}: {why}", path.display())),
            Self::Variable(name) => std::env::var_os(name)
                .ok_or_else(|| format!("the server's environment has no variable {name}"))?
                .into_string()
                .map_err(|_| format!("the variable {name} is not UTF-8")),
        }
    }

    /// Returns the file, if it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Variable(_) => None,
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let text = regular_file::read_text(path, MAX_SECRET_BYTES);
    let mut value = text.map_err(|error| error.to_string())?;
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    variable::check_value(&value)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("written");
        SecretSource::File(file.path().into()).read()
    }

    #[test]
    fn a_line_end_at_the_end_is_not_part_of_a_secret() {
        assert_eq!(read(b"secret\n").as_deref(), Ok("secret"));
        assert_eq!(read(b"secret\r\n").as_deref(), Ok("secret"));
        assert_eq!(read(b"two\nlines\n\n").as_deref(), Ok("two\nlines\n"));
        assert_eq!(read(b"").as_deref(), Ok(""));
    }

    #[test]
    fn what_no_variable_can_hold_is_rejected_without_being_shown() {
        for (bad, why) in [
            (&b"s3cret\0"[..], "NUL"),
            (b"s3cret\xff", "UTF-8"),
            (&[b's'; 64 * 1024 + 1], "larger than 64 KiB"),
        ] {
            let error = read(bad).expect_err(why);
            assert!(error.contains(why) && !error.contains("s3cret"), "{error}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        for path in [
            folder.path().into(),
            folder.path().join("none"),
            "/dev/zero".into(),
        ] {
            let error = SecretSource::File(path).read().expect_err("no secret");
            assert!(error.starts_with('/'), "{error}");
        }
        let error = SecretSource::Variable("WASGI_NOT_SET".into()).read();
        assert!(error.is_err_and(|error| error.contains("no variable WASGI_NOT_SET")));
    }
}
