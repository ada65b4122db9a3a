//! The options for pages: the section `[pages]` of the configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{content, units};

/// How pages are served.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PageOptions {
    /// The maximum size of the cache of short pages, in bytes; 0 disables it. The state of a cached
    /// page's file is checked for each request, so that an edit takes effect at once. 32 MiB: all
    /// short pages of nearly every site.
    #[serde(rename = "cache", with = "units::size")]
    pub cache_bytes: usize,
    /// Whether `page.html.br`, `.zst` or `.gz` is sent instead of `page.html` to clients that
    /// accept it.
    pub precompressed: bool,
    /// Whether a folder without an index page is served as a listing of its contents.
    pub listing: bool,
    /// Whether `/about` serves `about.html`.
    pub clean_urls: bool,
    /// The page, such as `index.html`, that is served instead of "404 Not Found" when a browser
    /// requests a document: for applications with routing in the browser.
    pub fallback: Option<String>,
    /// The value of `Cache-Control` for pages; empty for none. `no-cache` allows a client to store
    /// a copy, but it must revalidate it, which costs a 304. So an edit takes effect at once.
    pub cache_control: String,
    /// Rules for some of the pages. If several match, the last one takes precedence.
    pub rules: Vec<Rule>,
    /// The security fields of all responses. They have their own section.
    #[serde(skip)]
    pub security: Security,
    /// The compression of text for clients that accept it, if there is no precompressed file. It
    /// has its own section.
    #[serde(skip)]
    pub compress: content::CompressOptions,
}

/// Security fields: the section `[security]` of the configuration. Empty ones are not sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Security {
    /// Whether to send `X-Content-Type-Options: nosniff`, so that no browser guesses a different
    /// type, and runs an upload that is declared as an image as a script.
    pub nosniff: bool,
    /// `X-Frame-Options`, such as `DENY`.
    pub frame_options: String,
    /// `Referrer-Policy`, such as `strict-origin-when-cross-origin`.
    pub referrer_policy: String,
    /// `Content-Security-Policy`, such as `default-src 'self'`.
    pub content_security_policy: String,
    /// `Permissions-Policy`, such as `camera=()`.
    pub permissions_policy: String,
    /// `Cross-Origin-Opener-Policy`, such as `same-origin`.
    pub cross_origin_opener_policy: String,
    /// `Strict-Transport-Security`, such as `max-age=31536000`. Only for sites that all visitors
    /// reach by HTTPS, now and for the whole declared time.
    pub strict_transport_security: String,
}

/// Fields for the pages whose file matches a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// The pattern for files: a path below the folder of pages, with a leading `/`. `*` matches any
    /// number of characters in one name, `**` any number across folders, and `?` one character.
    pub path: String,
    /// The media type, instead of the one for the file's extension.
    pub content_type: Option<String>,
    /// Replaces `cache-control`.
    pub cache_control: Option<String>,
    /// Further fields. Each replaces any field of the same name; an empty value removes it.
    pub fields: BTreeMap<String, String>,
}

impl Default for PageOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * 1024 * 1024,
            precompressed: true,
            listing: false,
            clean_urls: false,
            fallback: None,
            cache_control: "no-cache".into(),
            rules: Vec::new(),
            security: Security::default(),
            compress: content::CompressOptions::default(),
        }
    }
}

impl Default for Security {
    fn default() -> Self {
        Self {
            nosniff: true,
            frame_options: String::new(),
            referrer_policy: String::new(),
            content_security_policy: String::new(),
            permissions_policy: String::new(),
            cross_origin_opener_policy: String::new(),
            strict_transport_security: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_serialization() {
        let text = r#"{
            "clean-urls": true,
            "fallback": "app.html",
            "cache": "1MiB",
            "rules": [{ "path": "/assets/**", "cache-control": "max-age=60", "fields": { "X-A": "b" } }]
        }"#;
        let read: PageOptions = serde_json::from_str(text).expect("options");
        let said = PageOptions {
            clean_urls: true,
            fallback: Some("app.html".into()),
            cache_bytes: 1 << 20,
            rules: vec![Rule {
                path: "/assets/**".into(),
                content_type: None,
                cache_control: Some("max-age=60".into()),
                fields: [("X-A".into(), "b".into())].into(),
            }],
            ..PageOptions::default()
        };
        assert_eq!(read, said);
        let text = serde_json::to_string(&read).expect("text");
        assert_eq!(
            serde_json::from_str::<PageOptions>(&text).expect("again"),
            read
        );
        assert!(serde_json::from_str::<PageOptions>(r#"{ "clean_urls": true }"#).is_err());
    }
}
