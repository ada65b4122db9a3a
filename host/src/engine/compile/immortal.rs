//! Makes the objects in an interpreter's memory immortal, so that CPython doesn't count references
//! to them.
//!
//! Each change of a count is a write to the snapshot, which copies a page for the request. CPython
//! doesn't change the count of an immortal object (PEP 683). The interpreter lists its objects
//! (`wasgi/guest/census.py`), and this module sets their counts, as `wasgi/immortal.py` does for
//! built components, whose comment says why this is sound.
//!
//! The list is the interpreter's own, so a script may have changed it. Then it spoils its own
//! memory. The work for a list has a limit, the size of the memory.

use serde::Deserialize;

/// `_Py_IMMORTAL_INITIAL_REFCNT` of CPython 3.14 for 32-bit pointers.
const IMMORTAL: u32 = 5 << 28;

/// `_Py_IMMORTAL_MINIMUM_REFCNT` of CPython 3.14: counts from here on mark immortal objects.
const MIN_IMMORTAL: u32 = 1 << 30;

/// From here on a count's sign bit is set, which the interpreter never does.
const END_OF_COUNTS: u32 = 1 << 31;

/// Marks an instruction without known length.
const UNKNOWN: u8 = 255;

/// The size of a pointer and of a count in bytes.
const WORD_BYTES: usize = 4;

/// The objects of an interpreter: its answer, described in `wasgi/guest/census.py`.
#[derive(Deserialize)]
pub(super) struct Census {
    /// The address of the list of objects.
    list: u32,
    /// The address of the type of code objects.
    code_type: u32,
    /// The offset of the instructions in a code object, in bytes.
    code_offset: u32,
    /// The instruction that loads a constant and counts the reference.
    counting: u8,
    /// The instruction that loads a constant without counting.
    not_counting: u8,
    /// For each instruction, the number of units of two bytes that follow it.
    lengths: Vec<u8>,
}

/// Makes all listed objects immortal, and returns how many were not yet. The memory is unchanged
/// after an error.
///
/// # Errors
///
/// Fails if the list or one of its objects is not as expected: a description.
pub(super) fn immortalize(memory: &mut [u8], census: &Census) -> Result<usize, &'static str> {
    let listed = listed(memory, census.list).ok_or("the list of its objects is not in memory")?;
    let codes = checked(memory, &listed, census)?;
    let mut changed = 0;
    for &object in &listed {
        let place = object as usize;
        if let Some(count) = memory.get_mut(place..place + WORD_BYTES)
            && u32::from_le_bytes([count[0], count[1], count[2], count[3]]) < MIN_IMMORTAL
        {
            count.copy_from_slice(&IMMORTAL.to_le_bytes());
            changed += 1;
        }
    }
    for code in codes {
        stop_counting_constants(&mut memory[code], census);
    }
    Ok(changed)
}

/// Returns the addresses of the listed objects.
fn listed(memory: &[u8], list: u32) -> Option<Vec<u32>> {
    // The fields of a list: its count, its type, its length, and the address of its items.
    let length = word(memory, list.checked_add(8)?)? as usize;
    let items = word(memory, list.checked_add(12)?)? as usize;
    let end = length.checked_mul(WORD_BYTES)?.checked_add(items)?;
    let words = memory.get(items..end)?.chunks_exact(WORD_BYTES);
    let mut listed: Vec<u32> = words
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    listed.sort_unstable();
    listed.dedup();
    Some(listed)
}

/// Checks the counts and types of objects, and returns the places of the instructions of those that
/// are code.
fn checked(
    memory: &[u8],
    listed: &[u32],
    census: &Census,
) -> Result<Vec<std::ops::Range<usize>>, &'static str> {
    if census.lengths.len() != 256 {
        return Err("the interpreter has other instructions");
    }
    let max_count = u32::try_from(memory.len() / WORD_BYTES).unwrap_or(MIN_IMMORTAL);
    let mut left = memory.len();
    let mut codes = Vec::new();
    let field = |object: u32, offset: u32| word(memory, object.checked_add(offset)?);
    for &object in listed {
        let (count, kind) = (field(object, 0), field(object, 4));
        let (Some(count), Some(kind)) = (count, kind) else {
            return Err("a listed object is not in memory");
        };
        if !matches!(count, 1.. if count <= max_count || is_immortal(count)) {
            return Err("a listed object has no plausible count");
        }
        // The type is also listed, or immortal already.
        if !is_immortal(field(kind, 0).unwrap_or_default()) && listed.binary_search(&kind).is_err()
        {
            return Err("a listed object has no known type");
        }
        if kind == census.code_type {
            // Its count, its type, and its length in units of two bytes.
            let units = field(object, 8).unwrap_or(u32::MAX) as usize;
            let start = object as usize + census.code_offset as usize;
            let end = units.saturating_mul(2).saturating_add(start);
            // Code objects don't overlap.
            left = (left.checked_sub(end - start)).ok_or("a code object is too long")?;
            if end > memory.len() {
                return Err("a code object is not in memory");
            }
            codes.push(start..end);
        }
    }
    Ok(codes)
}

/// Makes code load its constants, which are listed too, without counting them. Code that has
/// already run uses a specialized instruction that always counts.
fn stop_counting_constants(code: &mut [u8], census: &Census) {
    let mut at = 0;
    while let Some(instruction) = code.get_mut(at) {
        let length = census.lengths[usize::from(*instruction)];
        if length == UNKNOWN {
            return;
        }
        if *instruction == census.counting {
            *instruction = census.not_counting;
        }
        at += 2 + 2 * usize::from(length);
    }
}

fn is_immortal(count: u32) -> bool {
    (MIN_IMMORTAL..END_OF_COUNTS).contains(&count)
}

fn word(memory: &[u8], address: u32) -> Option<u32> {
    let at = address as usize;
    let bytes = memory.get(at..at.checked_add(WORD_BYTES)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: u32 = 0x100;
    const ITEMS: u32 = 0x200;
    const CODE_TYPE: u32 = 0x400;
    const CODE_OFFSET: u32 = 16;
    /// The instructions of the tests: one unit long, but for `LONG` with two more.
    const COUNTING: u8 = 1;
    const NOT_COUNTING: u8 = 2;
    const LONG: u8 = 3;

    fn census() -> Census {
        let mut lengths = vec![0; 256];
        lengths[usize::from(LONG)] = 2;
        lengths[usize::from(UNKNOWN)] = UNKNOWN;
        Census {
            list: LIST,
            code_type: CODE_TYPE,
            code_offset: CODE_OFFSET,
            counting: COUNTING,
            not_counting: NOT_COUNTING,
            lengths,
        }
    }

    fn set(memory: &mut [u8], address: u32, words: &[u32]) {
        for (place, word) in memory[address as usize..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    fn get(memory: &[u8], address: u32) -> u32 {
        word(memory, address).expect("in memory")
    }

    /// A memory with a list of these objects, and of the type of code, whose type is itself.
    fn memory(objects: &[u32]) -> Vec<u8> {
        let mut memory = vec![0; 0x2000];
        let length = u32::try_from(objects.len()).expect("few") + 1;
        set(&mut memory, LIST, &[1, 0, length, ITEMS]);
        set(&mut memory, ITEMS, &[CODE_TYPE]);
        set(&mut memory, ITEMS + 4, objects);
        set(&mut memory, CODE_TYPE, &[7, CODE_TYPE]);
        memory
    }

    #[test]
    fn listed_objects_become_immortal_and_others_are_unchanged() {
        let mut memory = memory(&[0x500, 0x600]);
        set(&mut memory, 0x500, &[3, CODE_TYPE + 0x400]);
        // Its type was immortal before, and is not listed.
        set(&mut memory, CODE_TYPE + 0x400, &[MIN_IMMORTAL, 0]);
        set(&mut memory, 0x600, &[MIN_IMMORTAL + 5, CODE_TYPE + 0x400]);
        set(&mut memory, 0x700, &[3, CODE_TYPE]);
        assert_eq!(immortalize(&mut memory, &census()), Ok(2));
        assert_eq!(get(&memory, 0x500), IMMORTAL);
        assert_eq!(get(&memory, CODE_TYPE), IMMORTAL);
        assert_eq!(get(&memory, 0x600), MIN_IMMORTAL + 5);
        assert_eq!(get(&memory, 0x700), 3);
    }

    #[test]
    fn code_loads_its_constants_without_counting() {
        let mut memory = memory(&[0x500]);
        set(&mut memory, 0x500, &[1, CODE_TYPE, 5]);
        let code = [COUNTING, 9, LONG, 9, COUNTING, 9, COUNTING, 9, COUNTING, 9];
        memory[0x510..0x51A].copy_from_slice(&code);
        // Behind the code.
        memory[0x51A] = COUNTING;
        assert_eq!(immortalize(&mut memory, &census()), Ok(2));
        let expected = [
            NOT_COUNTING,
            9,
            LONG,
            9,
            COUNTING,
            9,
            COUNTING,
            9,
            NOT_COUNTING,
            9,
        ];
        assert_eq!(memory[0x510..0x51A], expected);
        assert_eq!(memory[0x51A], COUNTING);
    }

    #[test]
    fn an_instruction_of_unknown_length_ends_the_change_of_its_code() {
        let mut memory = memory(&[0x500]);
        set(&mut memory, 0x500, &[1, CODE_TYPE, 3]);
        memory[0x510..0x516].copy_from_slice(&[COUNTING, 9, UNKNOWN, 9, COUNTING, 9]);
        assert_eq!(immortalize(&mut memory, &census()), Ok(2));
        let expected = [NOT_COUNTING, 9, UNKNOWN, 9, COUNTING, 9];
        assert_eq!(memory[0x510..0x516], expected);
    }

    #[test]
    fn anything_unexpected_leaves_the_memory_unchanged() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(&str, Change); 8] = [
            ("a list outside of memory", |memory| memory.truncate(0x108)),
            ("items outside of memory", |memory| {
                set(memory, LIST + 12, &[0xFFFF_FFF0]);
            }),
            ("more items than memory", |memory| {
                set(memory, LIST + 8, &[u32::MAX]);
            }),
            ("an object outside of memory", |memory| {
                set(memory, ITEMS + 4, &[u32::MAX]);
            }),
            ("a count of nothing", |memory| set(memory, 0x500, &[0])),
            ("an implausible count", |memory| {
                set(memory, 0x500, &[0x1_0000]);
            }),
            ("a type that is not listed", |memory| {
                set(memory, 0x504, &[0x600, 0]);
            }),
            ("code that is longer than memory", |memory| {
                set(memory, 0x504, &[CODE_TYPE, u32::MAX]);
            }),
        ];
        for (case, change) in cases {
            let mut memory = memory(&[0x500]);
            set(&mut memory, 0x500, &[1, CODE_TYPE, 1]);
            change(&mut memory);
            let before = memory.clone();
            assert!(immortalize(&mut memory, &census()).is_err(), "{case}");
            assert_eq!(memory, before, "{case}");
        }
    }

    #[test]
    fn code_that_overlaps_is_not_read_again_and_again() {
        let objects: Vec<u32> = (0..64).map(|index| 0x500 + 16 * index).collect();
        let mut memory = memory(&objects);
        for &object in &objects {
            set(&mut memory, object, &[1, CODE_TYPE, 0x200]);
        }
        let refused = immortalize(&mut memory, &census());
        assert_eq!(refused, Err("a code object is too long"));
    }
}
