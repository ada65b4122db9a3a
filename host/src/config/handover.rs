//! Serializes a whole configuration for another process of the same program.

use anyhow::ensure;

use super::{Config, file, show};

impl Config {
    /// Serializes the configuration as text that [`Config::from_handover`] reads.
    ///
    /// # Errors
    ///
    /// Fails if the text does not restore the same configuration, since it contains a path that is
    /// not UTF-8.
    pub fn handover(&self) -> anyhow::Result<String> {
        let text = show::show(self.clone());
        let arrived = Self::from_handover(&text);
        ensure!(
            arrived.is_ok_and(|arrived| arrived == *self),
            "the configuration can't be sent to another process: does it contain a path that is \
             not UTF-8?"
        );
        Ok(text)
    }

    /// Parses the output of [`Config::handover`]. The configuration was checked before, and is not
    /// checked again.
    ///
    /// # Errors
    ///
    /// Fails if the text is anything else.
    pub fn from_handover(text: &str) -> anyhow::Result<Self> {
        let contents = file::read(text).map_err(|complaint| anyhow::anyhow!("{complaint}"))?;
        Ok(contents.config)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;
    use crate::config::{ResolvedConfig, Sources};

    #[test]
    fn a_configuration_arrives_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("wasgi.toml");
        let text = "[server]\naddr = \"[::1]:0\"\nprocesses = 3\n[limits]\nbody = \"7B\"\n\
                    [handlers.\"users/[id]\"]\nreuse = 7\n[handlers.\"*\"]\nwall-time = \"2s\"\n\
                    [proxy]\ntrusted = [\"10.0.0.0/8\"]\n[tls]\ncert = \"c\"\nkey = \"k\"\n\
                    [site]\nroot = \"a \\\"b\\\"\\n\"\n";
        std::fs::write(file, text).expect("written");
        let sources = Sources {
            site: folder.path().into(),
            file: None,
        };
        let config = ResolvedConfig::load(&sources, |_| {})
            .expect("it is good")
            .config;
        let handover = config.handover().expect("it can be written");
        assert_eq!(Config::from_handover(&handover).expect(&handover), config);
    }

    #[test]
    fn relative_paths_stay_relative() {
        let mut config = Config::default();
        config.site.root = Some("html".into());
        let handover = config.handover().expect("it can be written");
        let arrived = Config::from_handover(&handover).expect(&handover);
        assert_eq!(arrived.site.root(), Path::new("html"));
    }

    #[test]
    fn what_would_be_lost_is_an_error() {
        let mut config = Config::default();
        config.site.root = Some(Path::new(OsStr::from_bytes(b"/\xff")).into());
        let error = config.handover().expect_err("no text can say this");
        assert!(error.to_string().contains("UTF-8"), "{error}");
    }
}
