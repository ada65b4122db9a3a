//! The outline of a core module: its exports and custom sections, by name, and whether Go's
//! compiler produced it. Doesn't validate the code.

use wasmparser::{BinaryReaderError, Parser, Payload};

/// The outline of a module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) exports: Vec<String>,
    pub(super) custom_sections: Vec<String>,
    /// Go marks its modules in two sections; either can be missing.
    pub(super) is_of_go: bool,
}

/// The section that Go's linker writes by default (`-buildid=` omits it).
const GO_SECTION: &str = "go:buildid";

/// The section with the names of the tools. Go's linker always writes it.
const PRODUCERS: &str = "producers";
const GO_PRODUCER: &[u8] = b"Go cmd/compile";

impl Outline {
    /// Reads a module. Returns `None` if its sections are truncated or malformed.
    pub(super) fn from_module(module: &[u8]) -> Option<Self> {
        Self::read(module).ok()
    }

    fn read(module: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut outline = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ExportSection(section) => {
                    for export in section {
                        outline.exports.push(export?.name.to_owned());
                    }
                }
                Payload::CustomSection(section) => {
                    let name = section.name();
                    outline.is_of_go |= name == GO_SECTION
                        || (name == PRODUCERS
                            && memchr::memmem::find(section.data(), GO_PRODUCER).is_some());
                    outline.custom_sections.push(name.to_owned());
                }
                _ => {}
            }
        }
        Ok(outline)
    }
}

/// Hand-assembled modules for tests.
#[cfg(test)]
pub(super) mod example {
    /// Returns a section: its id, its length, its content, all short.
    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        assert!(length < 128, "one byte of LEB128");
        [&[id, length], content].concat()
    }

    fn name(name: &str) -> Vec<u8> {
        [&[name.len() as u8], name.as_bytes()].concat()
    }

    /// Returns a module that exports its memory under each of the names. It has nothing else.
    pub(crate) fn module(exports: &[&str]) -> Vec<u8> {
        let mut list = vec![exports.len() as u8];
        for export in exports {
            list.extend(name(export));
            // A memory, with index 0.
            list.extend([2, 0]);
        }
        [
            b"\0asm\x01\0\0\0".to_vec(),
            section(5, &[1, 0, 1]),
            section(7, &list),
            custom_section("a-custom-section"),
        ]
        .concat()
    }

    /// Returns a custom section with a name and no content.
    pub(crate) fn custom_section(text: &str) -> Vec<u8> {
        section(0, &name(text))
    }

    /// Returns a producers section with one tool.
    pub(crate) fn producers(tool: &str) -> Vec<u8> {
        let parts = [name("producers"), vec![1], name("processed-by"), vec![1]];
        section(0, &[parts.concat(), name(tool), name("1.0")].concat())
    }

    /// Returns a command for preview 1 that writes `output` to its standard output.
    pub(crate) fn command(output: &[u8]) -> Vec<u8> {
        const I32: u8 = 0x7f;
        const CONST: u8 = 0x41;
        // () -> () and fd_write: (i32, i32, i32, i32) -> i32.
        let types = [2, 0x60, 0, 0, 0x60, 4, I32, I32, I32, I32, 1, I32];
        let import = [
            vec![1],
            name("wasi_snapshot_preview1"),
            name("fd_write"),
            vec![0, 1],
        ];
        let exports = [
            vec![2],
            name("memory"),
            vec![2, 0],
            name("_start"),
            vec![0, 1],
        ];
        // fd_write(1, iovec at 0, one of them, count to 8); drop the result.
        let body = [
            0, CONST, 1, CONST, 0, CONST, 1, CONST, 8, 0x10, 0, 0x1a, 0x0b,
        ];
        let code = [&[1, body.len() as u8], &body[..]].concat();
        [
            b"\0asm\x01\0\0\0".to_vec(),
            section(1, &types),
            section(2, &import.concat()),
            section(3, &[1, 0]),
            section(5, &[1, 0, 1]),
            section(7, &exports.concat()),
            section(10, &code),
            command_data(output),
        ]
        .concat()
    }

    /// Returns the last section of that command.
    pub(crate) fn command_data(output: &[u8]) -> Vec<u8> {
        const CONST: u8 = 0x41;
        let length = u8::try_from(output.len()).expect("short");
        // The iovec: the address and length of the text.
        let iovec = [16, 0, 0, 0, length, 0, 0, 0];
        let data = [
            &[2, 0, CONST, 0, 0x0b, 8],
            &iovec[..],
            &[0, CONST, 16, 0x0b, length],
            output,
        ];
        section(11, &data.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_lists_exports_and_custom_sections() {
        let outline =
            Outline::from_module(&example::module(&["memory", "other"])).expect("a module");
        assert_eq!(outline.exports, ["memory", "other"]);
        assert_eq!(outline.custom_sections, ["a-custom-section"]);
        let outline = Outline::from_module(&example::command(b"")).expect("a module");
        assert_eq!(outline.exports, ["memory", "_start"]);
        assert!(!outline.is_of_go);
    }

    #[test]
    fn go_is_known_by_either_section() {
        for (section, is_of_go) in [
            (example::custom_section("go:buildid"), true),
            (example::producers("Go cmd/compile"), true),
            (example::producers("clang"), false),
        ] {
            let module = [example::module(&[]), section].concat();
            let outline = Outline::from_module(&module).expect("a module");
            assert_eq!(outline.is_of_go, is_of_go, "{outline:?}");
        }
    }

    #[test]
    fn lengths_that_lie_are_no_panic() {
        let preamble = b"\0asm\x01\0\0\0";
        for bad in [
            &[0][..],
            &[7, 5, 1],
            &[7, 1, 200],
            &[7, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[7, 0xff, 0xff, 0xff, 0xff, 0x1f],
            &[7, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
            &[7, 5, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0, 3, 2, 0xff, 0xff],
        ] {
            let module = [preamble, bad].concat();
            assert_eq!(Outline::from_module(&module), None, "{bad:?}");
        }
        assert_eq!(Outline::from_module(b"\0asm"), None);
        assert_eq!(Outline::from_module(preamble), Some(Outline::default()));
    }
}
