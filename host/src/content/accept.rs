//! What a client says it takes: `Accept-Encoding` and `Accept` (RFC 9110 section 12.5).
//!
//! Both are lists of names with a quality, from 0, for "not at all", to 1. A member that can't be
//! read is passed over. There is no response with status 406: a client that refuses every form of a
//! page gets the page as it is.

use super::coding::Coding;

/// Members of a list that are looked at. Browsers send four; a list of thousands is no preference.
const MAX_MEMBERS: usize = 64;

/// A quality in thousandths, 0 to 1,000.
type Quality = u16;

const BEST: Quality = 1_000;

/// What an `Accept-Encoding` says. Without the field, and for an empty one, only the page as it is
/// will do: to a client that says nothing, a coding would be a surprise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encodings {
    brotli: Option<Quality>,
    zstd: Option<Quality>,
    gzip: Option<Quality>,
    identity: Option<Quality>,
    /// `*`: everything that is not named.
    others: Option<Quality>,
}

impl Encodings {
    /// Picks the codings out of a request's fields. Several `Accept-Encoding` are one list.
    pub(crate) fn from_fields<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Encodings {
        let mut found = Encodings::default();
        for (name, value) in fields {
            if name.eq_ignore_ascii_case("Accept-Encoding") {
                found.add(value);
            }
        }
        found
    }

    fn add(&mut self, value: &[u8]) {
        for (name, quality) in members(value) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let place = if is("br") {
                &mut self.brotli
            } else if is("zstd") {
                &mut self.zstd
            } else if is("gzip") || is("x-gzip") {
                // RFC 9110 section 8.4.1.3: the two are the same.
                &mut self.gzip
            } else if is("identity") {
                &mut self.identity
            } else if is("*") {
                &mut self.others
            } else {
                continue;
            };
            // The first of several values for one coding applies.
            place.get_or_insert(quality);
        }
    }

    /// The codings that the client likes at least as much as the plain page, best first; those that
    /// it likes alike in the order of `ours`.
    pub(crate) fn ranked(self, ours: [Coding; 3]) -> impl Iterator<Item = Coding> {
        // A plain page is always welcome, unless the field says no (section 12.5.3); but only one
        // that is named is preferred to anything.
        let least = self.identity.unwrap_or(0).max(1);
        let mut ranked = ours.map(|coding| (self.quality(coding), coding));
        // Keeps the order of those that are equal.
        ranked.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
        ranked
            .into_iter()
            .filter(move |(quality, _)| *quality >= least)
            .map(|(_, coding)| coding)
    }

    /// Whether the page as it is won't do: the field says so, by name or by `*`.
    pub(crate) fn refuses_plain(self) -> bool {
        self.identity.or(self.others) == Some(0)
    }

    fn quality(self, coding: Coding) -> Quality {
        let named = match coding {
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            Coding::Gzip => self.gzip,
        };
        named.or(self.others).unwrap_or(0)
    }
}

/// Whether one of the `Accept` fields names `media_type` itself, and does not refuse it. `*/*`
/// does not count: scripts and images are asked for with it too.
pub(crate) fn names_type<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    media_type: &str,
) -> bool {
    quality_of_type(fields, media_type) > 0
}

/// Whether `one` is wanted rather than `other`. Both have to be named to be compared.
pub(crate) fn prefers_type<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
    one: &str,
    other: &str,
) -> bool {
    quality_of_type(fields.clone(), one) > quality_of_type(fields, other)
}

fn quality_of_type<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    media_type: &str,
) -> Quality {
    fields
        .filter(|(name, _)| name.eq_ignore_ascii_case("Accept"))
        .flat_map(|(_, value)| members(value))
        .filter(|(name, _)| name.eq_ignore_ascii_case(media_type.as_bytes()))
        .map(|(_, quality)| quality)
        .max()
        .unwrap_or(0)
}

/// The members of a list, each with its quality.
fn members(list: &[u8]) -> impl Iterator<Item = (&[u8], Quality)> {
    list.split(|&byte| byte == b',')
        .take(MAX_MEMBERS)
        .filter_map(|member| {
            let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().filter(|name| !name.is_empty())?;
            // Other parameters belong to the name, and we have nothing with any.
            let weight = parts.find_map(|part| match part {
                [b'q' | b'Q', b'=', weight @ ..] => Some(weight),
                _ => None,
            });
            match weight {
                None => Some((name, BEST)),
                Some(weight) => Some((name, parse_quality(weight)?)),
            }
        })
}

/// A `qvalue` (section 12.4.2): 0 or 1, with up to three decimals.
fn parse_quality(text: &[u8]) -> Option<Quality> {
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut quality = match whole {
        b'0' => 0,
        b'1' => BEST,
        _ => return None,
    };
    for (decimal, worth) in decimals.iter().zip([100, 10, 1]) {
        quality += worth * Quality::try_from(char::from(*decimal).to_digit(10)?).ok()?;
    }
    (quality <= BEST).then_some(quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(value: &str) -> String {
        let fields = [("accept-encoding", value.as_bytes())].into_iter();
        let ranked = Encodings::from_fields(fields).ranked(Coding::BY_SIZE);
        ranked.map(Coding::name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn codings_in_their_order() {
        let table = [
            // What browsers and tools send.
            ("gzip, deflate, br, zstd", "br zstd gzip"),
            ("gzip, deflate, br", "br gzip"),
            ("gzip, deflate", "gzip"),
            ("gzip;q=1.0, deflate;q=0.6, identity;q=0.3", "gzip"),
            ("deflate", ""),
            ("identity", ""),
            ("", ""),
            ("*", "br zstd gzip"),
            // Names.
            ("GZIP", "gzip"),
            ("x-gzip", "gzip"),
            ("gzipped, xbr, br-2", ""),
            ("*/*", ""),
            // Qualities.
            ("br;q=0.5, gzip;q=0.8", "gzip br"),
            ("br;q=0.001, gzip;q=0", "br"),
            ("gzip;q=0", ""),
            ("gzip;q=0.000", ""),
            ("gzip;q=1.000", "gzip"),
            ("gzip;Q=0.5", "gzip"),
            ("gzip ; q=0.5 , br ;q=0.5", "br gzip"),
            ("gzip;level=9;q=0.5, br;q=0.6", "br gzip"),
            ("*;q=0", ""),
            ("*;q=0, gzip", "gzip"),
            ("*;q=0.5, gzip;q=0", "br zstd"),
            ("br;q=0, *", "zstd gzip"),
            ("zstd;q=0.2, *;q=0.4", "br gzip zstd"),
            // The plain page, liked more or less or not at all.
            ("identity;q=0", ""),
            ("identity;q=0, gzip", "gzip"),
            ("identity;q=0, gzip;q=0.1", "gzip"),
            ("identity;q=0, *;q=0", ""),
            ("identity, gzip", "gzip"),
            ("identity, gzip;q=0.5", ""),
            ("identity;q=0.5, gzip;q=0.5, br;q=0.2", "gzip"),
            // What can't be read is passed over.
            ("gzip;q=2", ""),
            ("gzip;q=1.001", ""),
            ("gzip;q=0.0001", ""),
            ("gzip;q=-1", ""),
            ("gzip;q=", ""),
            ("gzip;q=.5", ""),
            ("gzip;q=a, br", "br"),
            ("gzip;q=0.a, br", "br"),
            ("gzip;q=0, gzip", ""),
            ("gzip, gzip;q=0", "gzip"),
            (",, ,gzip,;,;q=1", "gzip"),
            ("gzip br", ""),
        ];
        for (value, codings) in table {
            assert_eq!(ranked(value), codings, "{value}");
        }
        assert_eq!(Encodings::default().ranked(Coding::BY_SPEED).count(), 0);
    }

    #[test]
    fn several_fields_are_one_list() {
        let fields = [
            ("Accept-Encoding", &b"gzip;q=0.5"[..]),
            ("Accept", b"br"),
            ("ACCEPT-ENCODING", b"zstd"),
        ];
        let ranked = Encodings::from_fields(fields.into_iter()).ranked(Coding::BY_SIZE);
        assert!(ranked.eq([Coding::Zstd, Coding::Gzip]));
    }

    #[test]
    fn our_order_counts_among_equals() {
        let fields = [("Accept-Encoding", &b"br, gzip, zstd"[..])].into_iter();
        let ranked = Encodings::from_fields(fields).ranked(Coding::BY_SPEED);
        assert!(ranked.eq(Coding::BY_SPEED));
    }

    #[test]
    fn a_type_is_accepted_only_if_it_is_named_and_not_refused() {
        let table = [
            ("text/html,application/xhtml+xml,*/*;q=0.8", true, false),
            ("TEXT/HTML;q=0.1", true, false),
            ("text/html;q=0", false, false),
            ("*/*", false, false),
            ("text/*", false, false),
            ("", false, false),
            ("application/json", false, true),
            ("application/json, text/html", true, false),
            ("application/json;q=0.9, text/html;q=0.8", true, true),
            ("application/json;q=0.9, text/html", true, false),
        ];
        for (value, html, json) in table {
            let fields = [("accept", value.as_bytes())].into_iter();
            assert_eq!(names_type(fields.clone(), "text/html"), html, "{value}");
            let prefers = prefers_type(fields, "application/json", "text/html");
            assert_eq!(prefers, json, "{value}");
        }
    }

    #[test]
    fn a_long_list_is_cut() {
        let value = format!("{}gzip", "x,".repeat(MAX_MEMBERS));
        assert_eq!(ranked(&value), "");
        let value = format!("{}gzip", "x,".repeat(MAX_MEMBERS - 1));
        assert_eq!(ranked(&value), "gzip");
    }
}
