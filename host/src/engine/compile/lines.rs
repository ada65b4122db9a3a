//! The messages of [`Task::Lines`](super::protocol::Task::Lines): positions in compiled code, as
//! text in a file, and the lines of the source that they belong to.

use std::fmt::Write;

use crate::engine::lines::Line;

/// The maximum number of positions.
pub(in crate::engine) const MAX_POSITIONS: usize = 64;

/// The maximum size of the reply, in bytes: a file and a function for each of some hundred lines.
pub(super) const MAX_REPLY_BYTES: u64 = 256 << 10;

/// Encodes positions, one in each line.
pub(super) fn encode_positions(positions: &[u64]) -> String {
    positions
        .iter()
        .take(MAX_POSITIONS)
        .fold(String::new(), |mut text, position| {
            // Writing to a string never fails.
            let _ = writeln!(text, "{position}");
            text
        })
}

/// Decodes positions.
pub(super) fn decode_positions(text: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(text);
    let positions = text.lines().map_while(|line| line.parse().ok());
    positions.take(MAX_POSITIONS).collect()
}

/// Encodes the lines of each position: the number of the position, the line, the column, the
/// function and the file.
pub(super) fn encode(found: &[Vec<Line>]) -> String {
    let mut text = String::new();
    for (number, lines) in found.iter().enumerate() {
        for line in lines {
            let clean = |name: &str| name.replace(char::is_control, "?");
            // Writing to a string never fails.
            let _ = writeln!(
                text,
                "{number}\t{}\t{}\t{}\t{}",
                line.line,
                line.column,
                clean(&line.function),
                clean(&line.file)
            );
        }
    }
    text
}

/// Decodes the lines of `count` positions. Those after the first invalid one, or after the maximum
/// size, are missing.
pub(super) fn decode(text: &[u8], count: usize) -> Vec<Vec<Line>> {
    let mut found = vec![Vec::new(); count];
    let text = String::from_utf8_lossy(text);
    let complete = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    for line in complete {
        let mut parts = line.trim_end_matches('\n').splitn(5, '\t');
        let mut number = || parts.next()?.parse::<u32>().ok();
        let (Some(place), Some(line), Some(column)) = (number(), number(), number()) else {
            break;
        };
        let (Some(function), Some(file)) = (parts.next(), parts.next()) else {
            break;
        };
        let Some(lines) = found.get_mut(place as usize) else {
            break;
        };
        lines.push(Line {
            function: function.to_owned(),
            file: file.to_owned(),
            line,
            column,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let positions = [0, 7, u64::MAX];
        assert_eq!(
            decode_positions(encode_positions(&positions).as_bytes()),
            positions
        );
        let many = [1; 1000];
        assert_eq!(
            decode_positions(encode_positions(&many).as_bytes()).len(),
            MAX_POSITIONS
        );
        let line = |file: &str| Line {
            function: "a b".to_owned(),
            file: file.to_owned(),
            line: 3,
            column: 0,
        };
        let found = vec![vec![line("/a"), line("/b")], Vec::new(), vec![line("")]];
        assert_eq!(decode(encode(&found).as_bytes(), 3), found);
        let hostile = vec![vec![line("/a\tb\n9\t1\t1\tf\tg")]];
        let decoded = decode(encode(&hostile).as_bytes(), 1);
        assert_eq!(decoded, [[line("/a?b?9?1?1?f?g")]]);
    }

    #[test]
    fn a_hostile_reply_has_no_effect() {
        for text in [
            &b"7\t1\t1\tf\tg\n"[..],
            b"-1\t1\t1\tf\tg\n",
            b"0\t99999999999\t1\tf\tg\n",
            b"0\t1\t1\tf\n",
            b"0\t1\t1\tf\tcut",
            b"\xff\n",
        ] {
            assert_eq!(decode(text, 2), [vec![], vec![]], "{}", text.escape_ascii());
        }
    }
}
