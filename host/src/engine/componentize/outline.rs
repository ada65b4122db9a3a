//! What a core module is by its outside: its exports and its custom sections, by name.
//!
//! Reads just as much of the format as that takes (WebAssembly core specification, section 5.5);
//! whether the rest is valid is for others to check.

/// The names that a module shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) exports: Vec<String>,
    pub(super) custom_sections: Vec<String>,
}

/// Magic and version, in bytes.
const PREAMBLE_BYTES: usize = 8;

/// The ids of the sections that are read.
const CUSTOM: u8 = 0;
const EXPORT: u8 = 7;

impl Outline {
    /// Reads a module. None where its sections are cut short or broken.
    pub(super) fn of(module: &[u8]) -> Option<Self> {
        let mut outline = Self::default();
        let mut rest = Reader(module.get(PREAMBLE_BYTES..)?);
        while !rest.0.is_empty() {
            let id = rest.byte()?;
            let mut section = Reader(rest.block()?);
            match id {
                CUSTOM => outline.custom_sections.push(section.name()?),
                EXPORT => outline.read_exports(&mut section)?,
                _ => {}
            }
        }
        Some(outline)
    }

    fn read_exports(&mut self, section: &mut Reader<'_>) -> Option<()> {
        for _ in 0..section.number()? {
            let name = section.name()?;
            let _kind = section.byte()?;
            let _index = section.number()?;
            self.exports.push(name);
        }
        Some(())
    }
}

/// The bytes that have not been read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// A `u32` in LEB128: seven bits to a byte, the lowest first.
    fn number(&mut self) -> Option<u32> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            let bits = u32::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                return None;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Bytes with their length in front.
    fn block(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (block, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(block)
    }

    fn name(&mut self) -> Option<String> {
        String::from_utf8(self.block()?.to_vec()).ok()
    }
}

/// Modules for tests, assembled by hand.
#[cfg(test)]
pub(super) mod example {
    /// A section: its id, its length, its content. All of it is short.
    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        assert!(length < 128, "one byte of LEB128");
        [&[id, length], content].concat()
    }

    fn name(name: &str) -> Vec<u8> {
        [&[name.len() as u8], name.as_bytes()].concat()
    }

    /// Two exports are the memory, which is all there is.
    pub(crate) fn module(exports: &[&str]) -> Vec<u8> {
        let mut list = vec![exports.len() as u8];
        for export in exports {
            list.extend(name(export));
            // Memory 0.
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

    /// A custom section with nothing in it but its name.
    pub(crate) fn custom_section(text: &str) -> Vec<u8> {
        section(0, &name(text))
    }

    /// A command for preview 1 that writes `output` to its standard output.
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
        // fd_write(1, iovec at 0, one of them, count to 8), and its result is dropped.
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

    /// The last section of that command.
    pub(crate) fn command_data(output: &[u8]) -> Vec<u8> {
        const CONST: u8 = 0x41;
        let length = u8::try_from(output.len()).expect("short");
        // The iovec: where the text is, and how long.
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
    fn names_are_read() {
        let outline = Outline::of(&example::module(&["memory", "other"])).expect("a module");
        assert_eq!(outline.exports, ["memory", "other"]);
        assert_eq!(outline.custom_sections, ["a-custom-section"]);
        let outline = Outline::of(&example::command(b"")).expect("a module");
        assert_eq!(outline.exports, ["memory", "_start"]);
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
            assert_eq!(Outline::of(&module), None, "{bad:?}");
        }
        assert_eq!(Outline::of(b"\0asm"), None);
        assert_eq!(Outline::of(preamble), Some(Outline::default()));
    }
}
