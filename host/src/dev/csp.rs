//! Extends a page's Content-Security-Policy by what the script of `wasgi dev` needs, and by nothing
//! else: one script, its event stream, and the page itself, to read it again.

use std::fmt::Write;

/// What a policy has to allow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs<'a> {
    /// The origin of the server: `http://localhost:8000`.
    pub(crate) origin: &'a str,
    /// The path of the page, percent-encoded.
    pub(crate) path: &'a str,
    /// The nonce of the script's tag.
    pub(crate) nonce: &'a str,
}

/// Returns whether a field contains a policy.
pub(crate) fn is_policy(name: &str) -> bool {
    name.eq_ignore_ascii_case("Content-Security-Policy")
        || name.eq_ignore_ascii_case("Content-Security-Policy-Report-Only")
}

/// Returns the policies in a field's value with what the script needs.
pub(crate) fn extend(value: &[u8], needs: Needs<'_>) -> Vec<u8> {
    // A policy is ASCII; other bytes make a directive invalid, and stay as they are in meaning.
    let value = String::from_utf8_lossy(value);
    let policies: Vec<String> = value.split(',').map(|policy| one(policy, needs)).collect();
    policies.join(", ").into_bytes()
}

fn one(policy: &str, needs: Needs<'_>) -> String {
    let mut directives: Vec<(String, Vec<&str>)> = Vec::new();
    for directive in policy.split(';') {
        let mut words = directive.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        let name = name.to_ascii_lowercase();
        // Of two directives of a name, the first counts.
        if !directives.iter().any(|(known, _)| *known == name) {
            directives.push((name, words.collect()));
        }
    }
    let endpoints = format!("{}/_wasgi/", needs.origin);
    let page = format!(
        "{}{}",
        needs.origin,
        needs.path.replace(';', "%3B").replace(',', "%2C")
    );
    let nonce = format!("'nonce-{}'", needs.nonce);
    let scripts = ["script-src-elem", "script-src", "default-src"];
    let by_nonce = list(&directives, &scripts).is_some_and(|list| list.iter().any(ignores_hosts));
    let script = if by_nonce { &nonce } else { &endpoints };
    allow(&mut directives, &scripts, &[script]);
    allow(
        &mut directives,
        &["connect-src", "default-src"],
        &[&endpoints, &page],
    );
    let mut text = String::new();
    for (name, sources) in &directives {
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a string never fails.
        let _ = write!(text, "{separator}{name}");
        for source in sources {
            let _ = write!(text, " {source}");
        }
    }
    text
}

/// Returns whether a list with this source takes nonces: some ignore hosts then, and the author
/// does not rely on inline scripts.
fn ignores_hosts(source: &&str) -> bool {
    let source = source.to_ascii_lowercase();
    [
        "'nonce-",
        "'sha256-",
        "'sha384-",
        "'sha512-",
        "'strict-dynamic'",
    ]
    .iter()
    .any(|front| source.starts_with(front))
}

/// Returns the list of the first of these directives that occurs.
fn list<'d, 'p>(
    directives: &'d [(String, Vec<&'p str>)],
    names: &[&str],
) -> Option<&'d Vec<&'p str>> {
    names.iter().find_map(|name| {
        let found = directives.iter().find(|(known, _)| known == name);
        found.map(|(_, sources)| sources)
    })
}

/// Adds sources to the first of the directives `names`, with the list of the first that the policy
/// has. If it has none of them, everything is allowed.
fn allow<'p>(directives: &mut Vec<(String, Vec<&'p str>)>, names: &[&str], sources: &[&'p str]) {
    let Some(list) = list(directives, names) else {
        return;
    };
    let is_kept = |source: &&&str| !source.eq_ignore_ascii_case("'none'");
    let list: Vec<&str> = list
        .iter()
        .filter(is_kept)
        .chain(sources)
        .copied()
        .collect();
    let Some(name) = names.first() else { return };
    match directives.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = list,
        None => directives.push(((*name).to_owned(), list)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extended(policy: &str) -> String {
        let needs = Needs {
            origin: "http://localhost:8000",
            path: "/a;b,c",
            nonce: "N",
        };
        String::from_utf8(extend(policy.as_bytes(), needs)).expect("UTF-8")
    }

    const OWN: &str = "http://localhost:8000/_wasgi/";
    const PAGE: &str = "http://localhost:8000/a%3Bb%2Cc";

    #[test]
    fn nothing_else_becomes_allowed() {
        assert_eq!(
            extended("default-src 'none'"),
            format!("default-src 'none'; script-src-elem {OWN}; connect-src {OWN} {PAGE}")
        );
        assert_eq!(
            extended("Default-Src 'self'; script-src 'self' 'unsafe-inline';"),
            format!(
                "default-src 'self'; script-src 'self' 'unsafe-inline'; \
                 script-src-elem 'self' 'unsafe-inline' {OWN}; connect-src 'self' {OWN} {PAGE}"
            )
        );
        assert_eq!(
            extended("script-src 'none'; connect-src 'none'; style-src 'self'"),
            format!(
                "script-src 'none'; connect-src {OWN} {PAGE}; style-src 'self'; \
                 script-src-elem {OWN}"
            )
        );
    }

    #[test]
    fn a_policy_of_nonces_or_hashes_gets_a_nonce() {
        for list in [
            "'nonce-abc' 'strict-dynamic'",
            "'sha256-x'",
            "'NONCE-abc' 'unsafe-inline'",
        ] {
            let text = extended(&format!("script-src {list}"));
            assert_eq!(
                text,
                format!("script-src {list}; script-src-elem {list} 'nonce-N'")
            );
        }
    }

    #[test]
    fn a_policy_that_does_not_concern_the_script_stays() {
        for policy in ["frame-ancestors 'none'", "style-src 'self'; img-src *", ""] {
            assert_eq!(extended(policy), policy);
        }
    }

    #[test]
    fn each_policy_of_a_field_is_extended() {
        let text = extended("default-src 'self', script-src 'none'");
        assert_eq!(text.matches("script-src-elem").count(), 2, "{text}");
    }
}
