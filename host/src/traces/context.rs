//! The context of a trace, as requests carry it: `traceparent` and `tracestate` (W3C Trace
//! Context).

use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// The maximum length of a `tracestate` that is passed on, in bytes: what the recommendation asks
/// for at least (section 3.3.1.5).
const MAX_STATE_BYTES: usize = 512;

/// The maximum number of members of a `tracestate` (section 3.3.1.1).
const MAX_STATE_MEMBERS: usize = 32;

/// The flag of a trace whose spans are recorded (section 3.2.2.5.1).
const SAMPLED: u8 = 1;

/// The identifier of a trace: not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId(pub(super) u128);

/// The identifier of a span: not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanId(pub(super) u64);

/// The span that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanContext {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    /// Whether the caller records the trace.
    pub(crate) is_sampled: bool,
}

impl TraceId {
    /// Creates a random identifier.
    pub(super) fn random() -> Self {
        let random = RandomState::new();
        let halves = [random.hash_one(0_u8), random.hash_one(1_u8)];
        let [high, low] = halves.map(u128::from);
        Self((high << 64 | low).max(1))
    }
}

impl SpanId {
    /// Creates a random identifier.
    pub(super) fn random() -> Self {
        Self(RandomState::new().hash_one(0_u8).max(1))
    }
}

impl SpanContext {
    /// Parses a `traceparent`: `00-<32 digits>-<16 digits>-<2 digits>`, in lower case. Of a later
    /// version, the same parts are used, and others may follow. Returns `None` for anything else,
    /// and a new trace begins.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.splitn(5, '-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        let has_more = parts.next().is_some();
        let is_valid = match version {
            0 => !has_more,
            0xff => false,
            _ => true,
        };
        let span = u64::try_from(span).ok()?;
        (is_valid && trace != 0 && span != 0).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            is_sampled: flags & u128::from(SAMPLED) != 0,
        })
    }
}

impl fmt::Display for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        write!(
            f,
            "00-{:032x}-{:016x}-{flags:02x}",
            self.trace.0, self.span.0
        )
    }
}

/// Parses a number of exactly `digits` digits in lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// Joins the lines of a `tracestate`. Returns `None` if the request has no such line, or if one is
/// malformed: it is then dropped as a whole (section 3.3.1). A list that is too long loses its last
/// members.
pub(crate) fn tracestate<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut members: Vec<&str> = Vec::new();
    for line in lines {
        let line = std::str::from_utf8(line).ok()?;
        for member in line.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let is_repeated = members.iter().any(|other| {
                let other = other.split_once('=').map(|(key, _)| key);
                other == Some(key)
            });
            if !is_key(key) || !is_value(value) || is_repeated || members.len() == MAX_STATE_MEMBERS
            {
                return None;
            }
            members.push(member);
        }
    }
    let mut joined = String::new();
    for member in members {
        if joined.len() + member.len() + 1 > MAX_STATE_BYTES {
            break;
        }
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(member);
    }
    (!joined.is_empty()).then_some(joined)
}

/// Section 3.3.1.3.1: up to 256 characters, optionally with a tenant and a system.
fn is_key(key: &str) -> bool {
    let is_rest =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
    let is_part = |part: &str, max: usize, digits: bool| {
        let first = part.bytes().next();
        let begins = first
            .is_some_and(|byte| byte.is_ascii_lowercase() || (digits && byte.is_ascii_digit()));
        begins && part.len() <= max && part.bytes().all(is_rest)
    };
    match key.split_once('@') {
        Some((tenant, system)) => is_part(tenant, 241, true) && is_part(system, 14, false),
        None => is_part(key, 256, true),
    }
}

/// Section 3.3.1.3.2: up to 256 printable ASCII characters, but no comma, equals sign, or space at
/// the end.
fn is_value(value: &str) -> bool {
    let is_char = |byte: u8| matches!(byte, b' '..=b'~') && !b",=".contains(&byte);
    (1..=256).contains(&value.len()) && value.bytes().all(is_char) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_is_written_as_it_was_read() {
        let context = SpanContext::parse(GOOD.as_bytes()).expect("valid");
        assert_eq!(context.to_string(), GOOD);
        assert!(context.is_sampled);
        let unsampled = GOOD.replace("-01", "-fe");
        let context = SpanContext::parse(unsampled.as_bytes()).expect("valid");
        assert!(context.to_string().ends_with("-00"));
        let later = format!("{GOOD}-more").replacen("00-", "cc-", 1);
        assert!(SpanContext::parse(later.as_bytes()).is_some());
        let later = GOOD.replacen("00-", "cc-", 1);
        assert!(SpanContext::parse(later.as_bytes()).is_some());
    }

    #[test]
    fn an_invalid_context_is_none() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é",
        ] {
            assert_eq!(SpanContext::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(SpanContext::parse(&[0xff; 55]), None);
    }

    #[test]
    fn a_state_is_kept_if_it_is_valid_and_bounded() {
        let joined = |lines: &[&str]| tracestate(lines.iter().map(|line| line.as_bytes()));
        assert_eq!(
            joined(&["a=1 , b=2", "", "c@d=x y"]).as_deref(),
            Some("a=1,b=2,c@d=x y")
        );
        assert_eq!(joined(&["foo=1,,bar=2,"]).as_deref(), Some("foo=1,bar=2"));
        let many: String = (0..33).map(|at| format!("k{at}=v,")).collect();
        for bad in [
            "", ",", "a", "A=1", "a=", "a=1,a=2", "a=b=c", "a=\x07", "@a=1", "a@=1", "é=1", &many,
        ] {
            assert_eq!(joined(&[bad]), None, "{bad}");
        }
        let long = format!("a={},b={},c=1", "x".repeat(250), "y".repeat(255));
        let kept = joined(&[&long]).expect("valid");
        assert!(
            kept.len() <= MAX_STATE_BYTES && kept.starts_with("a=xx"),
            "{kept}"
        );
    }
}
