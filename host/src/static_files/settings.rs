//! The options in the form that requests use, with their caches.

use anyhow::{Context, bail, ensure};

use super::cache::Cache;
use super::options::PageOptions;
use super::represent::Compressed;
use super::resolve::Kept;
use super::rules::{self, Rules};
use super::security;
use crate::router::RequestPath;

/// The reason why options are invalid.
#[derive(Debug)]
pub struct Unusable {
    /// The key in the configuration.
    pub key: &'static str,
    /// The error.
    pub error: anyhow::Error,
}

/// Checks whether options are valid.
///
/// # Errors
///
/// Fails with the first invalid option.
pub fn check(options: &PageOptions) -> Result<(), Unusable> {
    let unusable = |key| move |error| Unusable { key, error };
    if let Some(name) = &options.fallback {
        fallback_file(name).map_err(unusable("pages.fallback"))?;
    }
    rules::check("Cache-Control", &options.cache_control)
        .map_err(unusable("pages.cache-control"))?;
    rules::security_fields(&options.security).map_err(unusable("security"))?;
    Rules::new(options).map_err(unusable("pages.rules"))?;
    Ok(())
}

/// Checked options. They are replaced as a whole, together with the caches that depend on them.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) options: PageOptions,
    pub(super) rules: Rules,
    /// The file of `options.fallback`, relative to the root.
    pub(super) fallback: Option<Vec<u8>>,
    pub(super) kept: Kept,
    pub(super) compressed: Compressed,
}

impl Settings {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// Fails if an option is invalid; the error names it and the reason.
    pub(super) fn new(options: PageOptions) -> anyhow::Result<Settings> {
        let fallback = options.fallback.as_deref().map(|name| {
            fallback_file(name).with_context(|| format!("the fallback {name:?} can't be served"))
        });
        Ok(Settings {
            rules: Rules::new(&options)?,
            fallback: fallback.transpose()?,
            kept: Cache::new(options.cache_bytes),
            compressed: Cache::new(options.compress.cache_bytes),
            options,
        })
    }
}

/// Returns the file of a page that is named in the options, with or without a leading `/`.
fn fallback_file(name: &str) -> anyhow::Result<Vec<u8>> {
    let raw = format!("/{}", name.trim_start_matches('/'));
    let path = RequestPath::parse(raw.as_bytes()).map_err(|why| anyhow::anyhow!("{why}"))?;
    ensure!(!path.has_trailing_slash(), "it must be a file");
    if let Some(oddity) = path.oddity() {
        bail!("{oddity}");
    }
    let file = security::file_name(&path).context("its name is hidden")?;
    Ok(file.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fallback_is_a_file_that_may_be_served() {
        let settings = |fallback: &str| {
            Settings::new(PageOptions {
                fallback: Some(fallback.into()),
                ..PageOptions::default()
            })
        };
        for (fallback, file) in [("index.html", "index.html"), ("/app/x.html", "app/x.html")] {
            let file = file.as_bytes().to_vec();
            assert_eq!(settings(fallback).expect(fallback).fallback, Some(file));
        }
        for fallback in ["", "/", "app/", ".env", "x~", "a%00", "%", "100%.html"] {
            assert!(settings(fallback).is_err(), "{fallback}");
        }
    }
}
