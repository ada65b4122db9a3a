//! Valid files with one fault.

use super::MAX_FILE_BYTES;
use super::binary::{
    COMPONENT, CUSTOM, NESTED_COMPONENT, Numbers, PREAMBLE_BYTES, Section, join, name, number,
    read_number, section, split,
};

/// Truncates the file at a random offset.
pub(super) fn cut(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    file[..numbers.below(file.len())].to_vec()
}

/// Applies a change to one section.
fn with_one(
    numbers: &mut Numbers,
    file: &[u8],
    change: impl FnOnce(&mut Numbers, &mut Vec<Section>, usize),
) -> Vec<u8> {
    let (preamble, mut sections) = split(file);
    if !sections.is_empty() {
        let at = numbers.below(sections.len());
        change(numbers, &mut sections, at);
    }
    join(&preamble, &sections)
}

/// Truncates a section and updates its declared length.
pub(super) fn section_cut(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    with_one(numbers, file, |numbers, sections, at| {
        let length = numbers.below(sections[at].content.len());
        sections[at].content.truncate(length);
    })
}

/// Truncates a section but not its declared length, so that it extends into the following one.
pub(super) fn section_cut_unsaid(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    let (preamble, sections) = split(file);
    let at = numbers.below(sections.len());
    let mut bytes = preamble;
    for (index, section) in sections.iter().enumerate() {
        let whole = section.bytes();
        let end = if index == at {
            numbers.below(whole.len())
        } else {
            whole.len()
        };
        bytes.extend_from_slice(&whole[..end]);
    }
    bytes
}

/// Repeats a section many times.
pub(super) fn section_repeated(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    with_one(numbers, file, |numbers, sections, at| {
        let again = sections[at].clone();
        let most = MAX_FILE_BYTES / (again.content.len() + 2);
        let count = 1 + numbers.up_to(0, most.clamp(2, 200_000));
        sections.splice(at..at, std::iter::repeat_n(again, count));
    })
}

/// Removes a section.
pub(super) fn section_dropped(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    with_one(numbers, file, |_, sections, at| {
        sections.remove(at);
    })
}

/// Swaps sections.
pub(super) fn sections_shuffled(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    let (preamble, mut sections) = split(file);
    for _ in 0..1 + numbers.below(4) {
        let (one, other) = (numbers.below(sections.len()), numbers.below(sections.len()));
        if !sections.is_empty() {
            sections.swap(one, other);
        }
    }
    join(&preamble, &sections)
}

/// Declares a wrong length for a section.
pub(super) fn size_lies(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    let (preamble, sections) = split(file);
    let at = numbers.below(sections.len());
    let mut bytes = preamble;
    for (index, section) in sections.iter().enumerate() {
        if index == at {
            let length = section.content.len();
            let lies = [0, length + 1, length.saturating_sub(1), length * 2, 1 << 31];
            let lie = lies[numbers.below(lies.len())];
            bytes.push(section.id);
            bytes.extend(number(lie));
            bytes.extend_from_slice(&section.content);
        } else {
            bytes.extend(section.bytes());
        }
    }
    bytes
}

/// Declares a wrong number of items in a section.
pub(super) fn count_lies(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    with_one(numbers, file, |numbers, sections, at| {
        let content = &mut sections[at].content;
        let Some((count, taken)) = read_number(content) else {
            return;
        };
        let lies = [0, count + 1, count * 1000, 1 << 20, u32::MAX as usize];
        let lie = number(lies[numbers.below(lies.len())]);
        content.splice(..taken, lie);
    })
}

/// Flips some bits.
pub(super) fn bits_flipped(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..numbers.up_to(1, 200) {
        let at = numbers.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << numbers.below(8);
        }
    }
    bytes
}

/// Inserts random bytes into a section.
pub(super) fn bytes_inserted(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    with_one(numbers, file, |numbers, sections, at| {
        let place = numbers.below(sections[at].content.len() + 1);
        let count = numbers.up_to(1, 4096);
        let noise = numbers.bytes(count);
        sections[at].content.splice(place..place, noise);
    })
}

/// Nests a file in components, at many levels.
pub(super) fn wrapped(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..numbers.up_to(1, 500) {
        if bytes.len() > MAX_FILE_BYTES / 2 {
            break;
        }
        bytes = [COMPONENT, &section(NESTED_COMPONENT, &bytes)].concat();
    }
    bytes
}

/// Adds custom sections of random content: many, long, or with a long list of names that tools
/// interpret.
pub(super) fn custom_sections(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    let known: [&[u8]; 5] = [b"name", b"producers", b"dylink.0", b"target_features", b"x"];
    let mut bytes = file.to_vec();
    let count = numbers.up_to(1, 100_000);
    let length = numbers.up_to(0, (MAX_FILE_BYTES / 2 / count).max(1));
    let noise = numbers.bytes(length);
    let what = known[numbers.below(known.len())];
    let custom = section(CUSTOM, &[name(what), noise].concat());
    bytes.extend(custom.repeat(count.min(MAX_FILE_BYTES / custom.len())));
    bytes
}

/// Overwrites bytes in the section that describes a module's interfaces, or adds such a section
/// with random content.
pub(super) fn interfaces_garbled(numbers: &mut Numbers, file: &[u8]) -> Vec<u8> {
    let (preamble, mut sections) = split(file);
    let is_told = |section: &Section| {
        section.id == CUSTOM
            && section
                .content
                .windows(14)
                .any(|part| part == b"component-type")
    };
    let told: Vec<usize> = (0..sections.len())
        .filter(|&at| is_told(&sections[at]))
        .collect();
    match told.get(numbers.below(told.len())) {
        Some(&at) => {
            for _ in 0..1 + numbers.below(8) {
                let place = numbers.below(sections[at].content.len());
                sections[at].content[place] = numbers.byte();
            }
        }
        None => {
            let count = numbers.up_to(1, 100_000);
            let content = [
                name(b"component-type:x"),
                COMPONENT.into(),
                numbers.bytes(count),
            ];
            sections.push(Section {
                id: CUSTOM,
                content: content.concat(),
            });
        }
    }
    join(&preamble, &sections)
}

/// Combines the beginning of one file with the rest of another.
pub(super) fn joined(numbers: &mut Numbers, first: &[u8], second: &[u8]) -> Vec<u8> {
    let (preamble, mut sections) = split(first);
    let (_, others) = split(second);
    sections.truncate(numbers.below(sections.len() + 1));
    sections.extend(others.into_iter().skip(numbers.below(4)));
    let mut bytes = join(&preamble, &sections);
    if numbers.below(4) == 0 {
        bytes.extend_from_slice(&second[PREAMBLE_BYTES.min(second.len())..]);
    }
    bytes
}
