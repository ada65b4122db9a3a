//! Checks the ranges of values and their consistency.

use super::pulled;
use super::table::HANDLER_KEYS;
use super::{Complaint, Config, Key, all_keys};
use crate::bundle::PublicKey;
use crate::confinement::ConfineMode;
use crate::{state, static_files};

/// Checks what the types cannot express, in a configuration whose defaults are already adjusted.
///
/// # Errors
///
/// Fails if a value is out of range, or if two values that were set contradict each other.
pub(super) fn check(config: &Config) -> Result<(), Complaint> {
    for key in all_keys() {
        if let Some(why) = key.out_of_bounds(config, None) {
            return Err(Complaint::new(key.name, why));
        }
    }
    for (part, whole) in pairs() {
        if part.number(config) > whole.number(config) {
            let why = format!("{} is more than {} is", part.shown(config), whole.name);
            return Err(Complaint::new(part.name, why));
        }
    }
    handlers(config)?;
    if let Some(Err(error)) = config.bundle.public_key.as_deref().map(PublicKey::parse) {
        return Err(Complaint::new("bundle.public-key", error.to_string()));
    }
    if let Some(host) = config.oci.wrong_host() {
        let why = format!("{host:?} is no host, with a port if a reference has one");
        return Err(Complaint::new("oci.plain-http", why));
    }
    companions(config)?;
    if config.site.build && config.server.confine != ConfineMode::Off {
        let why = "a confined server can't run compilers (site.build): run `wasgi build` before, \
                   or set it to \"off\"";
        return Err(Complaint::new("server.confine", why));
    }
    hosts(config)?;
    state::check_options(&config.state).map_err(|why| Complaint::new("state.url", why))?;
    static_files::check(&config.page_options())
        .map_err(|why| Complaint::new(why.key, format!("{:#}", why.error)))
}

/// Checks for keys that have no effect without another one.
fn companions(config: &Config) -> Result<(), Complaint> {
    let (tls, proxy) = (&config.tls, &config.proxy);
    let (cert, key) = (tls.cert.is_some(), tls.key.is_some());
    for (key, is_set, other, other_is_set) in [
        ("tls.cert", cert, "tls.key", key),
        ("tls.key", key, "tls.cert", cert),
        (
            "tls.redirect-http",
            tls.redirect_http.is_some(),
            "tls.cert",
            config.has_tls(),
        ),
        (
            "tls.redirect-port",
            tls.redirect_port.is_some(),
            "tls.redirect-http",
            tls.redirect_http.is_some(),
        ),
        (
            "server.group",
            config.server.group.is_some(),
            "server.user",
            config.server.user.is_some(),
        ),
        (
            "proxy.protocol",
            proxy.protocol,
            "proxy.trusted",
            !proxy.trusted.is_empty(),
        ),
    ] {
        if is_set && !other_is_set {
            let why = format!("has no effect without {other}");
            return Err(Complaint::new(key, why));
        }
    }
    Ok(())
}

/// Checks the virtual hosts: each as the site that it is.
fn hosts(config: &Config) -> Result<(), Complaint> {
    let has_certificate = config.tls.cert.is_some() || !config.acme.names.is_empty();
    config.hosts.check(has_certificate)?;
    config.check_acme()?;
    if config.hosts.is_empty() && !config.site.default_host {
        let why = "no request would be served without [hosts]: add the table of a host";
        return Err(Complaint::new("site.default-host", why));
    }
    for (name, host) in config.of_hosts()? {
        check(&host).map_err(|complaint| complaint.of_host(&name))?;
    }
    Ok(())
}

/// Checks the settings of individual handlers.
fn handlers(config: &Config) -> Result<(), Complaint> {
    pulled::check(&config.handlers)?;
    for (name, handler) in config.handlers.iter() {
        for key in HANDLER_KEYS {
            let max = key
                .within
                .and_then(find)
                .and_then(|whole| whole.number(config));
            if let Some(why) = key.out_of_bounds(handler, max) {
                let why = format!("{}: {why}", key.name);
                return Err(Complaint::new(format!("handlers.{name}"), why));
            }
        }
        let checked = handler.grants().check();
        checked.map_err(|error| Complaint::of_grant(name, &error))?;
    }
    Ok(())
}

/// Returns the keys that have no effect beyond the value of another one, each with that one.
fn pairs() -> impl DoubleEndedIterator<Item = (&'static Key<Config>, &'static Key<Config>)> {
    all_keys().filter_map(|part| Some((part, find(part.within?)?)))
}

fn find(name: &str) -> Option<&'static Key<Config>> {
    all_keys().find(|key| key.name == name)
}

/// Adjusts defaults that contradict a value that was set: lowers a part to its whole, or raises a
/// whole to its part.
pub(super) fn yield_defaults(config: &mut Config, is_set: impl Fn(&str) -> bool) {
    let mut moved: Vec<&str> = Vec::new();
    let is_fixed =
        |key: &Key<Config>, moved: &[&str]| is_set(key.name) || moved.contains(&key.name);
    // A value that was adjusted for one pair counts as set for the next.
    for _ in pairs() {
        // The innermost pair first: a part that was set raises its whole, and that one the next.
        for (part, whole) in pairs().rev() {
            if part.number(config) <= whole.number(config) {
                continue;
            }
            let (from, to) = match (is_fixed(part, &moved), is_fixed(whole, &moved)) {
                (true, true) => continue,
                (true, false) => (part, whole),
                (false, _) => (whole, part),
            };
            if let Some(value) = from.value(config) {
                (to.place.set)(config, &value);
            }
            moved.push(to.name);
        }
    }
}
