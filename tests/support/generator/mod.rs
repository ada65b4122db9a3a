//! Generates hostile files: deeply nested, long, large, with many items, truncated, or with wrong
//! lengths.
//!
//! Half of the kinds are valid modules and components with one fault: these get further than files
//! that are invalid from the first byte. The same seed produces the same files.

pub(crate) mod binary;
mod damaged;
mod excessive;
pub(crate) mod opcodes;
mod text;

use binary::Numbers;

/// The maximum length of a file, in bytes. A server accepts longer handlers, but they take too long
/// to write here.
const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// A file for the folder of handlers.
#[derive(Clone, Debug)]
pub(crate) struct Generated {
    /// The name without its extension, which is its route: `h0007-cut`.
    pub(crate) route: String,
    /// The name with its extension.
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
}

/// A kind of file, and the function that generates one.
struct Kind {
    name: &'static str,
    extension: &'static str,
    make: Make,
}

/// How a file is made: from nothing, or from valid files.
enum Make {
    New(fn(&mut Numbers) -> Vec<u8>),
    Damage(fn(&mut Numbers, &[u8]) -> Vec<u8>),
    /// Both files are valid.
    Join(fn(&mut Numbers, &[u8], &[u8]) -> Vec<u8>),
}

/// An infinite iterator of files, which cycles through the kinds.
pub(crate) struct Generator {
    numbers: Numbers,
    /// Valid modules and components.
    seeds: Vec<Vec<u8>>,
    made: usize,
}

impl Generator {
    /// Creates a generator. The same seed and valid files, of which there must be at least one,
    /// produce the same output.
    pub(crate) fn new(seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        assert!(!seeds.is_empty(), "there is nothing to damage");
        Self {
            numbers: Numbers::new(seed),
            seeds,
            made: 0,
        }
    }

    /// Returns the number of kinds. This many consecutive files include each kind once.
    pub(crate) fn kinds() -> usize {
        KINDS.len()
    }

    fn seed(&mut self) -> Vec<u8> {
        let at = self.numbers.below(self.seeds.len());
        self.seeds[at].clone()
    }
}

impl Iterator for Generator {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        let kind = &KINDS[self.made % KINDS.len()];
        let mut bytes = match kind.make {
            Make::New(make) => make(&mut self.numbers),
            Make::Damage(damage) => {
                let seed = self.seed();
                damage(&mut self.numbers, &seed)
            }
            Make::Join(join) => {
                let (first, second) = (self.seed(), self.seed());
                join(&mut self.numbers, &first, &second)
            }
        };
        bytes.truncate(MAX_FILE_BYTES);
        let route = format!("h{:04}-{}", self.made, kind.name);
        self.made += 1;
        Some(Generated {
            file: format!("{route}.{}", kind.extension),
            route,
            bytes,
        })
    }
}

const fn new(name: &'static str, make: fn(&mut Numbers) -> Vec<u8>) -> Kind {
    Kind {
        name,
        extension: "wasm",
        make: Make::New(make),
    }
}

const fn damage(name: &'static str, make: fn(&mut Numbers, &[u8]) -> Vec<u8>) -> Kind {
    Kind {
        name,
        extension: "wasm",
        make: Make::Damage(make),
    }
}

const fn text(name: &'static str, make: fn(&mut Numbers) -> Vec<u8>) -> Kind {
    Kind {
        name,
        extension: "wat",
        make: Make::New(make),
    }
}

const KINDS: [Kind; 30] = [
    damage("cut", damaged::cut),
    damage("section-cut", damaged::section_cut),
    damage("section-cut-unsaid", damaged::section_cut_unsaid),
    damage("section-repeated", damaged::section_repeated),
    damage("section-dropped", damaged::section_dropped),
    damage("sections-shuffled", damaged::sections_shuffled),
    damage("size-lies", damaged::size_lies),
    damage("count-lies", damaged::count_lies),
    damage("bits-flipped", damaged::bits_flipped),
    damage("bytes-inserted", damaged::bytes_inserted),
    damage("wrapped", damaged::wrapped),
    damage("custom-sections", damaged::custom_sections),
    damage("interfaces-garbled", damaged::interfaces_garbled),
    Kind {
        name: "joined",
        extension: "wasm",
        make: Make::Join(damaged::joined),
    },
    new("types-nested", excessive::types_nested),
    new("instance-types-nested", excessive::instance_types_nested),
    new("components-nested", excessive::components_nested),
    new("blocks-nested", excessive::blocks_nested),
    new("block-parameters", excessive::block_parameters),
    new("locals", excessive::locals),
    new("types", excessive::types),
    new("functions", excessive::functions),
    new("imports", excessive::imports),
    new("exports", excessive::exports),
    new("data", excessive::data),
    new("branches", excessive::branches),
    new("sizes", excessive::sizes),
    new("names", excessive::names),
    new("noise", excessive::noise),
    text("text", text::text),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_same_for_the_same_seed_and_never_too_large() {
        let valid = binary::Command::new().bytes();
        let make = |seed| {
            Generator::new(seed, vec![valid.clone()])
                .take(3 * KINDS.len())
                .map(|file| (file.file, file.bytes))
                .collect::<Vec<_>>()
        };
        let files = make(7);
        assert_eq!(files, make(7));
        assert_ne!(files, make(8));
        assert!(files.iter().all(|(_, bytes)| bytes.len() <= MAX_FILE_BYTES));
    }

    #[test]
    fn a_valid_file_comes_out_of_its_parts_again() {
        let valid = binary::Command::new().bytes();
        let (preamble, sections) = binary::split(&valid);
        assert_eq!(sections.len(), 5);
        assert_eq!(binary::join(&preamble, &sections), valid);
    }
}
