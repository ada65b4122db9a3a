//! The keys of `[pages]`, `[security]` and `[compress]`: how pages are sent.

use super::super::Config;
use super::super::key::{Key, Place, key, place};
use super::super::value::Field;
use super::at::at;
use super::bounds::GIB;

pub(super) const PAGE_KEYS: &[Key<Config>] = &[
    key("pages.cache", at!(pages.cache_bytes))
        .size(0, 64 * GIB)
        .doc("memory for short pages; `\"0B\"` disables it"),
    key("pages.precompressed", at!(pages.precompressed)).doc(
        "whether `page.html.br`, `.zst` or `.gz` is sent instead of `page.html` to clients \
             that accept it",
    ),
    key("pages.listing", at!(pages.listing))
        .doc("whether a folder without an index is answered with a list of its contents"),
    key("pages.clean-urls", at!(pages.clean_urls))
        .doc("whether `/about` is answered with `about.html`"),
    key("pages.fallback", at!(pages.fallback))
        .unset("none")
        .doc("the page that answers when a browser requests a document that doesn't exist"),
    key("pages.cache-control", at!(pages.cache_control))
        .doc("the field `Cache-Control` of pages; `\"\"` for none"),
    key("pages.rules", at!(pages.rules)).doc("fields for pages whose path matches a pattern"),
    key("security.nosniff", at!(security.nosniff))
        .doc("whether to send `X-Content-Type-Options: nosniff`"),
    key("security.frame-options", at!(security.frame_options))
        .doc("`X-Frame-Options`, such as `DENY`"),
    key("security.referrer-policy", at!(security.referrer_policy))
        .doc("`Referrer-Policy`, such as `no-referrer`"),
    key(
        "security.content-security-policy",
        at!(security.content_security_policy),
    )
    .doc("`Content-Security-Policy`, such as `default-src 'self'`"),
    key(
        "security.permissions-policy",
        at!(security.permissions_policy),
    )
    .doc("`Permissions-Policy`, such as `camera=()`"),
    key(
        "security.cross-origin-opener-policy",
        at!(security.cross_origin_opener_policy),
    )
    .doc("`Cross-Origin-Opener-Policy`, such as `same-origin`"),
    key(
        "security.strict-transport-security",
        at!(security.strict_transport_security),
    )
    .doc("`Strict-Transport-Security`, such as `max-age=31536000`"),
    key("compress.pages", at!(compress.pages))
        .doc("whether text from the folder of pages is compressed for clients that accept it"),
    key("compress.handlers", at!(compress.handlers))
        .doc("whether text from handlers is compressed, block by block"),
    key("compress.min-size", at!(compress.min_bytes))
        .size(0, GIB)
        .doc("shorter bodies are not compressed"),
    key("compress.cache", at!(compress.cache_bytes))
        .size(0, 64 * GIB)
        .doc("memory for compressed pages; `\"0B\"` disables it"),
];
