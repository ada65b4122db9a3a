//! The fields that the options add: security fields for every response, `Cache-Control` and others
//! for the pages that match a rule.

use std::borrow::Cow;

use anyhow::{Context, bail, ensure};
use wasgi_fields::bytes::{is_token, is_value_byte};

use super::answer::{Answer, Field};
use super::options::{PageOptions, Rule, Security};
use super::pattern::Pattern;

/// Fields that only the server sets. Each describes the framing or the content of the body, so that
/// clients and proxies would misinterpret a body with another value.
const OURS: [&str; 15] = [
    "Accept-Ranges",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Date",
    "ETag",
    "Keep-Alive",
    "Last-Modified",
    "Server",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Vary",
];

/// All fields that the options define, checked.
#[derive(Debug)]
pub(super) struct Rules {
    /// The fields of every response.
    always: Vec<Field>,
    /// `Cache-Control` for pages, if any.
    cache_control: Option<Vec<u8>>,
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    pattern: Pattern,
    content_type: Option<Vec<u8>>,
    fields: Vec<Field>,
}

impl Rules {
    /// Checks the options' fields and patterns.
    ///
    /// # Errors
    ///
    /// Fails if one of them is invalid; the error names it and the reason.
    pub(super) fn new(options: &PageOptions) -> anyhow::Result<Rules> {
        let cache_control = options.cache_control.trim();
        check("Cache-Control", cache_control)?;
        let rules = options.rules.iter().map(|rule| {
            Compiled::new(rule).with_context(|| format!("in the rule for {:?}", rule.path))
        });
        Ok(Rules {
            always: security_fields(&options.security)?,
            cache_control: (!cache_control.is_empty()).then(|| cache_control.into()),
            rules: rules.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Adds the fields of every response.
    pub(super) fn finish(&self, mut answer: Answer) -> Answer {
        for field in &self.always {
            set(&mut answer.fields, field);
        }
        answer
    }

    /// Returns the rules for the page in this file, whose name is relative to the root.
    pub(super) fn of_page(&self, name: &[u8]) -> PageRules<'_> {
        let mut matching = Vec::new();
        if !self.rules.is_empty() {
            let path = path_of(name);
            let rules = self.rules.iter();
            matching.extend(rules.filter(|rule| rule.pattern.matches(&path)));
        }
        PageRules {
            rules: self,
            matching,
        }
    }
}

/// The rules that apply to one page.
#[derive(Debug)]
pub(super) struct PageRules<'a> {
    rules: &'a Rules,
    matching: Vec<&'a Compiled>,
}

impl PageRules<'_> {
    /// Returns the page's media type, if a rule sets it.
    pub(super) fn content_type(&self) -> Option<&[u8]> {
        let mut matching = self.matching.iter().rev();
        matching.find_map(|rule| rule.content_type.as_deref())
    }

    /// Reports whether the page must not be transformed (RFC 9111 section 5.2.2.6).
    pub(super) fn no_transform(&self) -> bool {
        let rules = self.matching.iter().rev();
        let mut fields = rules.flat_map(|rule| rule.fields.iter().rev());
        let of_rules = fields
            .find(|(name, _)| name.eq_ignore_ascii_case("Cache-Control"))
            .map(|(_, value)| &**value);
        let value = of_rules.or(self.rules.cache_control.as_deref());
        value.is_some_and(|value| {
            value
                .split(|&byte| byte == b',')
                .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
        })
    }

    /// Adds the fields of a response about the page.
    pub(super) fn finish(&self, mut answer: Answer) -> Answer {
        if let Some(value) = &self.rules.cache_control {
            answer = answer.with("Cache-Control", value.clone());
        }
        let mut answer = self.rules.finish(answer);
        for field in self.matching.iter().flat_map(|rule| &rule.fields) {
            set(&mut answer.fields, field);
        }
        answer
    }
}

/// Returns the path that patterns are matched against: the file's own name, regardless of the
/// requested path.
fn path_of(name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(name.len() + 1);
    for segment in name.split(|&byte| byte == b'/') {
        if !segment.is_empty() {
            path.push(b'/');
            path.extend_from_slice(segment);
        }
    }
    path
}

impl Compiled {
    fn new(rule: &Rule) -> anyhow::Result<Compiled> {
        let mut fields = Vec::new();
        if let Some(value) = &rule.cache_control {
            fields.push(field("Cache-Control", value)?);
        }
        for (name, value) in &rule.fields {
            fields.push(field(name, value)?);
        }
        if let Some(value) = &rule.content_type {
            check_value("Content-Type", value)?;
        }
        let content_type = rule.content_type.as_deref().map(str::trim);
        Ok(Compiled {
            content_type: content_type.map(|value| value.as_bytes().to_vec()),
            pattern: Pattern::parse(&rule.path)?,
            fields,
        })
    }
}

/// Returns the security fields to send.
///
/// # Errors
///
/// Fails if one of them is not a valid field.
pub(super) fn security_fields(security: &Security) -> anyhow::Result<Vec<Field>> {
    let nosniff = if security.nosniff { "nosniff" } else { "" };
    let fields = [
        ("X-Content-Type-Options", nosniff),
        ("X-Frame-Options", &security.frame_options),
        ("Referrer-Policy", &security.referrer_policy),
        ("Content-Security-Policy", &security.content_security_policy),
        ("Permissions-Policy", &security.permissions_policy),
        (
            "Cross-Origin-Opener-Policy",
            &security.cross_origin_opener_policy,
        ),
        (
            "Strict-Transport-Security",
            &security.strict_transport_security,
        ),
    ];
    let sent = fields.iter().filter(|(_, value)| !value.is_empty());
    sent.map(|(name, value)| {
        check(name, value)?;
        Ok((Cow::Borrowed(*name), value.as_bytes().to_vec().into()))
    })
    .collect()
}

fn field(name: &str, value: &str) -> anyhow::Result<Field> {
    check(name, value)?;
    let value = value.trim().as_bytes().to_vec();
    Ok((Cow::Owned(name.to_owned()), Cow::Owned(value)))
}

/// Checks whether a field is valid (RFC 9110 sections 5.1 and 5.5).
pub(super) fn check(name: &str, value: &str) -> anyhow::Result<()> {
    ensure!(
        is_token(name.as_bytes()),
        "{name:?} is not a valid field name"
    );
    if let Some(ours) = OURS.iter().find(|ours| ours.eq_ignore_ascii_case(name)) {
        bail!("only the server sets the field {ours}");
    }
    check_value(name, value)
}

fn check_value(name: &str, value: &str) -> anyhow::Result<()> {
    ensure!(
        value.bytes().all(is_value_byte),
        "the value of {name} has a control character: {value:?}"
    );
    Ok(())
}

/// Replaces the fields of the same name; an empty value removes them.
fn set(fields: &mut Vec<Field>, field: &Field) {
    fields.retain(|(name, _)| !name.eq_ignore_ascii_case(&field.0));
    if !field.1.is_empty() {
        fields.push(field.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &str, fields: &[(&str, &str)]) -> Rule {
        let fields = fields.iter().map(|&(n, v)| (n.to_owned(), v.to_owned()));
        Rule {
            path: path.into(),
            fields: fields.collect(),
            ..Rule::default()
        }
    }

    fn rules(rules: Vec<Rule>) -> anyhow::Result<Rules> {
        Rules::new(&PageOptions {
            rules,
            ..PageOptions::default()
        })
    }

    fn shown(answer: &Answer) -> String {
        let fields = answer
            .fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.escape_ascii()));
        fields.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_later_rule_takes_precedence() {
        let rules = rules(vec![
            rule("/**", &[("X-A", "1"), ("x-b", "1")]),
            rule("/a/*.css", &[("X-a", "2"), ("Cache-Control", "max-age=9")]),
            rule("/a/bare.css", &[("X-A", ""), ("X-C", "3")]),
        ])
        .expect("rules");
        let answer = |name: &str| {
            let answer = Answer::empty(200).with("Content-Type", b"text/css");
            shown(&rules.of_page(name.as_bytes()).finish(answer))
        };
        let sniff = "X-Content-Type-Options: nosniff";
        assert_eq!(
            answer("b"),
            format!("Content-Type: text/css; Cache-Control: no-cache; {sniff}; X-A: 1; x-b: 1")
        );
        assert_eq!(
            answer("a//b.css"),
            format!("Content-Type: text/css; {sniff}; x-b: 1; Cache-Control: max-age=9; X-a: 2")
        );
        assert_eq!(
            answer("a/bare.css"),
            format!("Content-Type: text/css; {sniff}; x-b: 1; Cache-Control: max-age=9; X-C: 3")
        );
    }

    #[test]
    fn invalid_fields_and_patterns_are_rejected() {
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a:", "x"),
            ("Ä", "x"),
            ("X", "a\r\nSet-Cookie: b"),
            ("X", "\0"),
            ("content-length", "5"),
            ("ETag", "\"x\""),
            ("transfer-encoding", "chunked"),
            ("Content-Encoding", "gzip"),
        ] {
            let told = rules(vec![rule("/x", &[(name, value)])]);
            let told = format!("{:#}", told.expect_err(name));
            assert!(told.starts_with("in the rule for \"/x\": "), "{told}");
        }
        assert!(rules(vec![rule("x", &[])]).is_err());
        let broken = PageOptions {
            cache_control: "a\nb".into(),
            ..PageOptions::default()
        };
        assert!(Rules::new(&broken).is_err());
    }

    #[test]
    fn only_configured_security_fields_are_sent() {
        let security = Security {
            nosniff: false,
            frame_options: "DENY".into(),
            ..Security::default()
        };
        let options = PageOptions {
            security,
            ..PageOptions::default()
        };
        let rules = Rules::new(&options).expect("rules");
        assert_eq!(
            shown(&rules.finish(Answer::empty(404))),
            "X-Frame-Options: DENY"
        );
    }

    #[test]
    fn a_later_rule_sets_the_content_type() {
        let with = |path: &str, content_type: &str| Rule {
            path: path.into(),
            content_type: Some(content_type.into()),
            ..Rule::default()
        };
        let typed = rules(vec![with("/a*", "text/x"), with("/ab", "text/y")]).expect("rules");
        for (name, content_type) in [("a", Some("text/x")), ("ab", Some("text/y")), ("b", None)] {
            let rules = typed.of_page(name.as_bytes());
            assert_eq!(rules.content_type(), content_type.map(str::as_bytes));
        }
        assert!(rules(vec![with("/a", "text/x\n")]).is_err());
    }

    #[test]
    fn no_transform_comes_from_the_rule_or_the_default() {
        let with = |value: &str| rule("/a", &[("cache-control", value)]);
        let rules = rules(vec![with("No-Transform, max-age=5"), rule("/b", &[])]).expect("rules");
        let may_not = |rules: &Rules, name: &[u8]| rules.of_page(name).no_transform();
        assert!(may_not(&rules, b"a") && !may_not(&rules, b"b"));
        let everywhere = PageOptions {
            cache_control: "no-cache,no-transform".into(),
            rules: vec![with("no-cache")],
            ..PageOptions::default()
        };
        let rules = Rules::new(&everywhere).expect("rules");
        assert!(!may_not(&rules, b"a") && may_not(&rules, b"b"));
    }
}
