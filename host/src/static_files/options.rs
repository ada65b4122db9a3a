//! What can be chosen about the pages: the section `[pages]` of the configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{content, units};

/// How pages are served.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// What the cache of short pages may hold, in bytes; 0 for no cache. A page in it still costs a
    /// look at the file's state for each request, so that an edit is seen at once. 32 MiB: all
    /// short pages of nearly every site.
    #[serde(rename = "cache", with = "units::size")]
    pub cache_bytes: usize,
    /// Whether `page.html.br`, `.zst` or `.gz` is sent in place of `page.html` to who takes it.
    pub precompressed: bool,
    /// Whether a folder without an index page is answered with a list of what is in it.
    pub listing: bool,
    /// Whether `/about` is answered with `about.html`.
    pub clean_urls: bool,
    /// The page, such as `index.html`, that answers in place of "404 Not Found" where a browser
    /// asks for a document: for applications that find their way in the browser.
    pub fallback: Option<String>,
    /// The value of `Cache-Control` for pages; empty for none. `no-cache`: a copy may be kept, but
    /// is good only after asking, which costs a 304. So an edit is seen at once.
    pub cache_control: String,
    /// What is different for some pages. Where several match, a later one wins.
    pub rules: Vec<Rule>,
    /// The fields that tell browsers what not to do with any answer from here. A section of its
    /// own.
    #[serde(skip)]
    pub security: Security,
    /// Whether text is compressed for who takes it, where there is no file beside it that was
    /// compressed beforehand. A section of its own.
    #[serde(skip)]
    pub compress: content::Options,
}

/// Security fields: the section `[security]` of the configuration. Those that are empty are not
/// sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Security {
    /// Whether to send `X-Content-Type-Options: nosniff`: no browser shall guess another type than
    /// it is told, and run as a script what somebody uploaded as a picture.
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
    /// `Strict-Transport-Security`, such as `max-age=31536000`. Only if every visitor comes by
    /// HTTPS, now and for as long as that says.
    pub strict_transport_security: String,
}

/// Fields for the pages whose file matches a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// Which files: a path below the folder of pages, with a `/` in front. `*` is any number of
    /// characters in one name, `**` any number across folders, `?` is one character.
    pub path: String,
    /// The media type, in place of the one that the file's ending stands for.
    pub content_type: Option<String>,
    /// Replaces `cache-control`.
    pub cache_control: Option<String>,
    /// More fields, each in place of one of the same name that would be sent otherwise; with an
    /// empty value, none of that name is sent.
    pub fields: BTreeMap<String, String>,
}

impl Default for Options {
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
            compress: content::Options::default(),
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
    fn read_as_they_are_written() {
        let text = r#"{
            "clean-urls": true,
            "fallback": "app.html",
            "cache": "1MiB",
            "rules": [{ "path": "/assets/**", "cache-control": "max-age=60", "fields": { "X-A": "b" } }]
        }"#;
        let read: Options = serde_json::from_str(text).expect("options");
        let said = Options {
            clean_urls: true,
            fallback: Some("app.html".into()),
            cache_bytes: 1 << 20,
            rules: vec![Rule {
                path: "/assets/**".into(),
                content_type: None,
                cache_control: Some("max-age=60".into()),
                fields: [("X-A".into(), "b".into())].into(),
            }],
            ..Options::default()
        };
        assert_eq!(read, said);
        let text = serde_json::to_string(&read).expect("text");
        assert_eq!(serde_json::from_str::<Options>(&text).expect("again"), read);
        assert!(serde_json::from_str::<Options>(r#"{ "clean_urls": true }"#).is_err());
    }
}
