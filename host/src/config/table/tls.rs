//! The keys of `[tls]`, `[acme]` and `[proxy]`: between the server and its clients.

use super::super::Config;
use super::super::key::FlagKind::*;
use super::super::key::{Key, Place, key, place};
use super::super::value::Field;
use super::at::at;

pub(super) const TLS_KEYS: &[Key<Config>] = &[
    key("tls.cert", at!(tls.cert))
        .unset("none: no TLS")
        .restart()
        .flag(
            "--tls-cert",
            File,
            "Serve HTTPS with this certificate, in PEM, followed by its chain",
        )
        .doc("the certificate followed by the intermediate ones, in PEM"),
    key("tls.key", at!(tls.key))
        .unset("none")
        .restart()
        .flag("--tls-key", File, "The certificate's private key, in PEM")
        .doc("its private key, in PEM"),
    key("tls.redirect-http", at!(tls.redirect_http))
        .unset("nowhere")
        .restart()
        .flag(
            "--redirect-http",
            Addr,
            "An address for plain HTTP, whose requests are redirected to HTTPS",
        )
        .doc("an address without TLS whose requests are redirected to https"),
    key("tls.redirect-port", at!(tls.redirect_port))
        .unset("the server's own")
        .restart()
        .doc("the port in these redirects"),
    key("acme.names", at!(acme.names))
        .unset("none")
        .restart()
        .doc(
            "the names in a [certificate that the server obtains](tls.md#automatic-certificates) in \
             place of `tls.cert`, such as `[\"example.com\", \"www.example.com\"]`, up to 100",
        ),
    key("acme.email", at!(acme.email))
        .unset("none")
        .restart()
        .doc("where the certificate authority sends messages about the account"),
    key("acme.agree-to-terms", at!(acme.agree_to_terms))
        .restart()
        .doc("whether you agree to the authority's terms of service; `true` is required"),
    key("acme.directory", at!(acme.directory))
        .restart()
        .doc("the URL of the authority's directory; the default is that of Let's Encrypt"),
    key("acme.ca", at!(acme.ca))
        .unset("those of the system")
        .restart()
        .doc("the authorities that the directory's own certificate may be from, in PEM"),
    key("acme.folder", at!(acme.folder))
        .unset("`acme` in the site's folder")
        .restart()
        .doc("the folder of the account's key and of certificates"),
    key("acme.challenge", at!(acme.challenge))
        .restart()
        .doc("how to prove that a name is this server's: `\"http-01\"`, `\"tls-alpn-01\"` or `\"auto\"`"),
    key("proxy.trusted", at!(proxy.trusted))
        .flag(
            "--trust-proxy",
            Networks,
            "A proxy whose X-Forwarded fields are trusted; repeatable",
        )
        .doc("addresses and networks of proxies, such as `\"10.0.0.0/8\"`"),
    key("proxy.fields", at!(proxy.fields))
        .doc("the fields that they set: `\"x-forwarded\"`, `\"forwarded\"` or `\"none\"`"),
    key("proxy.protocol", at!(proxy.protocol))
        .flag(
            "--proxy-protocol",
            On,
            "Connections from trusted proxies begin with a PROXY header",
        )
        .doc("whether their connections begin with a PROXY header"),
];
