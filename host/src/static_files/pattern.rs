//! Patterns with `*`, `**` and `?` that select the paths of a rule.

use anyhow::ensure;

/// The maximum number of tokens in a pattern: the number of bits in the largest integer type, minus
/// one bit for the position after the last token.
const MAX_TOKENS: usize = 127;

/// A pattern for whole paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<GlobToken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GlobToken {
    /// This byte.
    Byte(u8),
    /// `?`: any byte but `/`.
    One,
    /// `*`: any number of bytes other than `/`.
    InName,
    /// `**`: any number of bytes.
    Anywhere,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// Fails if the pattern does not start with `/` or `**`, so that it would match nothing, or if
    /// it is too long.
    pub(super) fn parse(text: &str) -> anyhow::Result<Pattern> {
        ensure!(
            text.starts_with('/') || text.starts_with("**"),
            "the pattern {text:?} must start with a slash"
        );
        let mut tokens = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            tokens.push(match first {
                b'*' if rest.starts_with(b"*") => {
                    let stars = rest.iter().take_while(|&&byte| byte == b'*').count();
                    rest = rest.split_at(stars).1;
                    GlobToken::Anywhere
                }
                b'*' => GlobToken::InName,
                b'?' => GlobToken::One,
                byte => GlobToken::Byte(*byte),
            });
        }
        ensure!(
            tokens.len() <= MAX_TOKENS,
            "the pattern {text:?} is longer than {MAX_TOKENS} characters"
        );
        Ok(Pattern { tokens })
    }

    /// Reports whether the pattern matches all of `path`.
    ///
    /// Follows all possible matches at once, with one bit for each position in the pattern, so the
    /// time is proportional to the path's length regardless of the number of stars.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let mut places = self.skip_stars(1);
        for &byte in path {
            let mut next = 0;
            let mut left = places;
            while left != 0 {
                let place = left.trailing_zeros();
                left &= left - 1;
                next |= match self.tokens.get(place as usize) {
                    Some(GlobToken::Byte(wanted)) if *wanted == byte => 2_u128 << place,
                    Some(GlobToken::One) if byte != b'/' => 2 << place,
                    Some(GlobToken::InName) if byte != b'/' => 1 << place,
                    Some(GlobToken::Anywhere) => 1 << place,
                    _ => 0,
                };
            }
            places = self.skip_stars(next);
            if places == 0 {
                return false;
            }
        }
        places & (1 << self.tokens.len()) != 0
    }

    /// Adds the positions after a star to `places`, since a star can match nothing.
    fn skip_stars(&self, mut places: u128) -> u128 {
        for (place, token) in self.tokens.iter().enumerate() {
            if places & (1 << place) != 0
                && matches!(token, GlobToken::InName | GlobToken::Anywhere)
            {
                places |= 2 << place;
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_stays_in_a_folder_and_two_cross_folders() {
        let table = [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/a", "/", false),
            ("/", "/", true),
            ("/*", "/a.css", true),
            ("/*", "/", true),
            ("/*", "/a/b", false),
            ("/*.css", "/a.css", true),
            ("/*.css", "/a.css.map", false),
            ("/*.css", "/a/b.css", false),
            ("/**.css", "/a/b.css", true),
            ("/**/*.css", "/a/b/c.css", true),
            ("/**/*.css", "/c.css", false),
            ("**/*.css", "/c.css", true),
            ("/**", "/a/b/c", true),
            ("/assets/**", "/assets/x/y.js", true),
            ("/assets/**", "/assets", false),
            ("/assets/**", "/assetsx", false),
            ("/a?c", "/abc", true),
            ("/a?c", "/a/c", false),
            ("/a?c", "/ac", false),
            ("/*a*b*", "/xxaxxbxx", true),
            ("/*a*b*", "/xxbxxaxx", false),
            ("/*/x/**/y", "/1/x/2/3/y", true),
            ("/*/x/**/y", "/1/2/x/3/y", false),
            ("/**/x*y/z", "/a/xy/b/x/xaay/z", true),
            ("/***", "/a/b", true),
            ("/[a]", "/[a]", true),
            ("/ä*", "/äö", true),
        ];
        for (pattern, path, matches) in table {
            let parsed = Pattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(path.as_bytes()), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_above_the_limit_is_rejected() {
        let pattern = Pattern::parse(&format!("/{}", "?".repeat(MAX_TOKENS - 1))).expect("fits");
        assert!(pattern.matches(format!("/{}", "x".repeat(MAX_TOKENS - 1)).as_bytes()));
        assert!(!pattern.matches(format!("/{}", "x".repeat(MAX_TOKENS)).as_bytes()));
        assert!(Pattern::parse(&format!("/{}", "x".repeat(MAX_TOKENS))).is_err());
        assert!(Pattern::parse("a").is_err() && Pattern::parse("").is_err());
    }

    /// A pattern that takes exponential time in a backtracking matcher.
    #[test]
    fn many_stars_do_not_slow_a_match() {
        let pattern = Pattern::parse(&format!("/{}b", "**a*".repeat(30))).expect("fits");
        assert!(!pattern.matches(format!("/{}", "a".repeat(8_000)).as_bytes()));
    }
}
