//! A lexer for Rust that separates words, punctuation, comments and literals: enough to recognize
//! code.

/// A token of a Rust file.
#[derive(Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// The line on which it starts, from 1.
    pub(crate) line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A name, a keyword or a number.
    Word,
    /// One character of punctuation.
    Mark,
    Comment,
    /// A string or a character.
    Literal,
}

/// Returns all tokens of a file.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (kind, length) = measure(rest, first);
        let (token, after) = rest.split_at(length);
        if let Some(kind) = kind {
            tokens.push(Token {
                kind,
                text: token,
                line,
            });
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

/// Returns the words and punctuation of a file, without its tests, which are last. A declaration of
/// tests in another file, `mod tests;`, can be anywhere.
pub(crate) fn code_before_tests(text: &str) -> Vec<Token<'_>> {
    let mut code = code(text);
    if let Some(start) = (0..code.len()).find(|start| is_tests(&code[*start..])) {
        code.truncate(start);
    }
    code
}

/// Returns whether the code starts with a module that is only for tests, of any visibility.
fn is_tests(code: &[Token<'_>]) -> bool {
    let mut words = code.iter().map(|token| token.text).peekable();
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    if !words.by_ref().take(attribute.len()).eq(attribute) {
        return false;
    }
    if words.next_if_eq(&"pub").is_some() && words.peek() == Some(&"(") {
        words.find(|word| *word == ")");
    }
    // The name of the module is in between.
    words.next() == Some("mod") && words.nth(1) == Some("{")
}

/// Returns the words and punctuation of a file.
pub(crate) fn code(text: &str) -> Vec<Token<'_>> {
    let mut tokens = tokens(text);
    tokens.retain(|token| matches!(token.kind, Kind::Word | Kind::Mark));
    tokens
}

/// Returns the kind and the length, in bytes, of the token at the start of `rest`. White space has
/// no kind.
fn measure(rest: &str, first: char) -> (Option<Kind>, usize) {
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if rest.starts_with("//") {
        return (Some(Kind::Comment), rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Some(Kind::Comment), block_comment(rest));
    }
    if let Some(length) = text_literal(rest).or_else(|| character(rest)) {
        return (Some(Kind::Literal), length);
    }
    match rest.find(|c: char| !c.is_alphanumeric() && c != '_') {
        Some(0) => (Some(Kind::Mark), first.len_utf8()),
        Some(length) => (Some(Kind::Word), length),
        None => (Some(Kind::Word), rest.len()),
    }
}

/// Returns the length of a block comment, which may be nested.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(found) = rest[at..].find(['/', '*']) {
        at += found;
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Returns the length of a string literal, plain or raw, including its prefix.
fn text_literal(rest: &str) -> Option<usize> {
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c']).len();
    let after = &rest[prefix.min(1)..];
    let start = rest.len() - after.len();
    if let Some(body) = after.strip_prefix('"') {
        return Some(start + 1 + closing(body, '"').unwrap_or(body.len()));
    }
    let raw = after.strip_prefix('r')?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let body = raw[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(start + 1 + hashes + 1 + length)
}

/// Returns the length of a character literal, or none for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let mut characters = body.chars();
    let first = characters.next()?;
    if first == '\\' {
        return closing(body, '\'').map(|length| 1 + length);
    }
    (characters.next() == Some('\'')).then(|| 1 + first.len_utf8() + 1)
}

/// Returns the length up to and including the closing mark. Skips escapes.
fn closing(body: &str, mark: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in body.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == mark => return Some(at + mark.len_utf8()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, kind: Kind) -> Vec<&str> {
        tokens(text)
            .into_iter()
            .filter(|token| token.kind == kind)
            .map(|t| t.text)
            .collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = concat!(
            "a // b \"c\"\n",
            "d /* e /* f */ \" */ g\n",
            r#""h // \" i" j"#,
            "\n",
            r##"r#"k " l"# m b"n" br"\" o '"' p '\'' q"##,
        );
        assert_eq!(
            texts(text, Kind::Word),
            ["a", "d", "g", "j", "m", "o", "p", "q"]
        );
        assert_eq!(
            texts(text, Kind::Comment),
            ["// b \"c\"", "/* e /* f */ \" */"]
        );
    }

    #[test]
    fn a_lifetime_is_no_literal() {
        assert_eq!(
            texts("fn f<'a>(x: &'a str) -> char { 'x' }", Kind::Literal),
            ["'x'"]
        );
    }

    #[test]
    fn lines_are_counted_through_literals() {
        let found: Vec<_> = code("a \"\n\n\" b\nc")
            .iter()
            .map(|t| (t.text, t.line))
            .collect();
        assert_eq!(found, [("a", 1), ("b", 3), ("c", 4)]);
    }

    #[test]
    fn what_never_closes_ends_with_the_file() {
        for text in ["\"abc", "/* abc", "r#\"abc\"", "'\\", "'", "b"] {
            assert_eq!(
                tokens(text).iter().map(|t| t.text).collect::<String>(),
                text
            );
        }
    }

    #[test]
    fn the_tests_are_cut_off() {
        let text = "fn a() {}\n#[cfg(test)]\nfn b() {}\n#[cfg(test)]\nmod tests { fn c() {} }";
        let code = code_before_tests(text);
        assert!(
            code.iter().any(|token| token.text == "b"),
            "one function is not the tests"
        );
        assert!(!code.iter().any(|token| token.text == "c"));
    }

    #[test]
    fn tests_that_other_tests_can_use_are_tests() {
        for visibility in ["pub", "pub(super)", "pub(in crate::a)"] {
            let text =
                format!("fn a() {{}} #[cfg(test)] {visibility} mod sample {{ fn c() {{}} }}");
            let code = code_before_tests(&text);
            assert!(code.iter().any(|token| token.text == "a"));
            assert!(!code.iter().any(|token| token.text == "c"), "{visibility}");
        }
    }

    #[test]
    fn code_below_a_declaration_of_tests_in_another_file_is_code() {
        let code = code_before_tests("#[cfg(test)]\nmod tests;\nuse a::b;");
        assert!(code.iter().any(|token| token.text == "b"));
    }
}
