//! Reads debugging information.

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, Error, LittleEndian};

use super::modules::CoreModule;
use super::{Line, MAX_INLINED, shortened};

/// The debugging information of a module.
pub(super) type Lines<'a> = Context<EndianSlice<'a, LittleEndian>>;

/// Returns the debugging information of a module, if it has some.
pub(super) fn context<'a>(module: &CoreModule<'a>) -> Option<Lines<'a>> {
    module.custom_section(".debug_line")?;
    let dwarf = Dwarf::load(|section| {
        let content = module.custom_section(section.name()).unwrap_or_default();
        Ok::<_, Error>(EndianSlice::new(content, LittleEndian))
    });
    Context::from_dwarf(dwarf.ok()?).ok()
}

/// Returns the lines of an address, which counts from the start of the code section's content. What
/// can't be read is left out.
pub(super) fn lines(context: &Lines<'_>, address: u64) -> Vec<Line> {
    let mut lines = Vec::new();
    let Ok(mut frames) = context.find_frames(address).skip_all_loads() else {
        return lines;
    };
    while let Ok(Some(frame)) = frames.next() {
        let function = frame.function.as_ref();
        let function = function.and_then(|function| function.raw_name().ok());
        let place = frame.location.as_ref();
        lines.push(Line {
            function: function.as_deref().map(shortened).unwrap_or_default(),
            file: place
                .and_then(|place| place.file)
                .map(shortened)
                .unwrap_or_default(),
            line: place.and_then(|place| place.line).unwrap_or_default(),
            column: place.and_then(|place| place.column).unwrap_or_default(),
        });
        if lines.len() == MAX_INLINED {
            break;
        }
    }
    lines
}
