//! Finds the place of the script in an HTML document as it passes by: after the tag `<head>`, or
//! where it would be. Only an unfinished tag or comment is held back, so no block is delayed
//! otherwise.

/// The maximum length of an unfinished comment or tag before the head, in bytes. If it is longer,
/// the script goes to the end of the document.
const MAX_HELD_BYTES: usize = 16 * 1024;

/// A document that passes by, and the tag to insert into it.
#[derive(Debug)]
pub(crate) struct Insertion {
    tag: Vec<u8>,
    held: Vec<u8>,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing of the document was seen.
    Start,
    /// Nothing but what precedes a head was seen.
    BeforeHead,
    /// It was not found in time.
    AtEnd,
    Done,
}

/// The result of a search in the document so far.
enum Found {
    Here(usize),
    /// All before this position is complete and precedes the head. More bytes are needed.
    After(usize),
}

impl Insertion {
    /// Creates the insertion of a tag.
    pub(crate) fn new(tag: Vec<u8>) -> Self {
        Self {
            tag,
            held: Vec::new(),
            step: Step::Start,
        }
    }

    /// Returns the number of bytes that the document becomes longer.
    pub(crate) fn length(&self) -> u64 {
        self.tag.len() as u64
    }

    /// Takes the next bytes of the document, and returns what can be sent.
    pub(crate) fn push(&mut self, block: Vec<u8>) -> Vec<u8> {
        if matches!(self.step, Step::AtEnd | Step::Done) {
            return block;
        }
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend(block);
        match find(&bytes, self.step == Step::Start) {
            Found::Here(at) => {
                self.step = Step::Done;
                bytes.splice(at..at, self.tag.iter().copied());
            }
            Found::After(at) if bytes.len() - at > MAX_HELD_BYTES => self.step = Step::AtEnd,
            Found::After(at) => {
                if at > 0 {
                    self.step = Step::BeforeHead;
                }
                self.held = bytes.split_off(at);
            }
        }
        bytes
    }

    /// Returns what is left at the end of the document.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.held);
        if self.step != Step::Done {
            self.step = Step::Done;
            rest.extend_from_slice(&self.tag);
        }
        rest
    }

    /// Returns the position of the tag in a document that begins with these bytes. `None` if it is
    /// not among them.
    pub(crate) fn position(front: &[u8]) -> Option<usize> {
        match find(front, true) {
            Found::Here(at) => Some(at),
            Found::After(_) => None,
        }
    }
}

fn find(bytes: &[u8], is_start: bool) -> Found {
    const BOM: &[u8] = b"\xef\xbb\xbf";
    let mut at = 0;
    if is_start {
        if bytes.starts_with(BOM) {
            at = BOM.len();
        } else if BOM.starts_with(bytes) {
            return Found::After(0);
        }
    }
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let spaces = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
        at += spaces.count();
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.is_empty() || (rest.len() < 4 && b"<!--".starts_with(rest)) {
            return Found::After(at);
        }
        let length = match rest {
            [b'<', b'!', b'-', b'-', ..] => {
                // `<!-->` is a complete comment.
                let end = memchr::memmem::find(rest.get(2..).unwrap_or_default(), b"-->");
                end.map(|end| 2 + end + 3)
            }
            [b'<', b'!' | b'?', ..] => memchr::memchr(b'>', rest).map(|end| end + 1),
            [b'<', ..] => match tag_name(rest) {
                Some(b"html") => tag_length(rest),
                Some(b"head") => {
                    return tag_length(rest)
                        .map_or(Found::After(at), |length| Found::Here(at + length));
                }
                Some(_) => return Found::Here(at),
                None => None,
            },
            _ => return Found::Here(at),
        };
        match length {
            Some(length) => at += length,
            None => return Found::After(at),
        }
    }
}

/// Returns `html` or `head` if that is the name of the tag, or another name. `None` if the name is
/// not complete.
fn tag_name(tag: &[u8]) -> Option<&'static [u8]> {
    let name = tag.get(1..).unwrap_or_default();
    let length = name
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'));
    // A name that is already longer is another one.
    let length = length.or((name.len() > 4).then_some(5))?;
    let name = name.get(..length).unwrap_or_default();
    if name.eq_ignore_ascii_case(b"html") {
        Some(b"html")
    } else if name.eq_ignore_ascii_case(b"head") {
        Some(b"head")
    } else {
        Some(b"")
    }
}

/// Returns the length of a tag, whose quoted values may contain `>`.
fn tag_length(tag: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut is_value = false;
    for (index, &byte) in tag.iter().enumerate() {
        match quote {
            Some(mark) if byte == mark => quote = None,
            Some(_) => {}
            None if byte == b'>' => return Some(index + 1),
            None if is_value && matches!(byte, b'"' | b'\'') => {
                quote = Some(byte);
                is_value = false;
            }
            None if byte.is_ascii_whitespace() => {}
            None => is_value = byte == b'=',
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "<S>";

    fn whole(document: &str, size: usize) -> String {
        let mut insertion = Insertion::new(TAG.into());
        let mut sent = Vec::new();
        for block in document.as_bytes().chunks(size.max(1)) {
            sent.extend(insertion.push(block.to_vec()));
        }
        sent.extend(insertion.end());
        String::from_utf8(sent).expect("UTF-8")
    }

    #[test]
    fn the_script_is_first_in_the_head_however_the_document_is_cut() {
        for document in [
            "<!doctype html>\n<html lang=en><head>|<title>a</title></head><body>b</body></html>",
            "\u{feff}<!DOCTYPE html><HTML><HEAD\n class='a>b' >|<meta charset=utf-8>",
            "<!doctype html><html lang=en>\n|<meta charset=utf-8><title>no head</title>",
            "<!-- <head> --><!--><!doctype html><?xml?> <html data-a=\"<head>\" data-b='>'><head>|",
            "<html a=b\"c><head>|x</head>",
            "|<header>not a head</header>",
            "|<p>a fragment",
            "|text",
            "  \n|&amp; text",
            "<!doctype html>|<htmlx>",
            "<!doctype html>|<body onload=\"a\">",
        ] {
            let plain = document.replace('|', "");
            for size in 1..=plain.len() {
                let expected = document.replace('|', TAG);
                assert_eq!(whole(&plain, size), expected, "{size}");
            }
        }
    }

    #[test]
    fn what_never_comes_to_a_head_gets_the_script_at_its_end() {
        for document in [
            "",
            " ",
            "<!-- open",
            "<",
            "<!",
            "<html",
            "<html><he",
            "<head a='>",
        ] {
            for size in 1..=document.len().max(1) {
                assert_eq!(whole(document, size), format!("{document}{TAG}"));
            }
        }
    }

    #[test]
    fn only_an_unfinished_tag_is_held_back_and_not_for_long() {
        let mut insertion = Insertion::new(TAG.into());
        assert_eq!(
            insertion.push(b"<!doctype html><ht".to_vec()),
            b"<!doctype html>"
        );
        assert_eq!(
            insertion.push(b"ml><body>now".to_vec()),
            b"<html><S><body>now"
        );
        assert_eq!(insertion.push(b"<head>".to_vec()), b"<head>");
        assert!(insertion.end().is_empty());

        let mut insertion = Insertion::new(TAG.into());
        let comment = [b"<!--".to_vec(), vec![b'x'; 10 << 20]].concat();
        assert_eq!(insertion.push(comment.clone()).len(), comment.len());
        assert!(insertion.held.is_empty());
        assert_eq!(insertion.end(), TAG.as_bytes());
    }
}
