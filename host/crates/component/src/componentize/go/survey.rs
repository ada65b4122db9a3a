//! Counts the items of a Go command and finds the variable with the end of its data. Changes
//! nothing.

use std::collections::{BTreeMap, HashSet};

use wasmparser::{
    BinaryReaderError, DataKind, DataSectionReader, ExportSectionReader, ExternalKind,
    FunctionBody, Operator, Parser, Payload, TypeRef,
};

use super::{MAX_BYTES, PAGE_BYTES, REALLOC};

/// The size of the variable: Go's pointers have 64 bits.
const END_BYTES: usize = 8;

/// The facts about a module that the transformation needs.
#[derive(Default)]
pub(super) struct Survey<'m> {
    pub(super) types_count: u32,
    pub(super) imported_functions_count: u32,
    pub(super) imported_globals_count: u32,
    pub(super) bodies: Vec<FunctionBody<'m>>,
    pub(super) globals_count: u32,
    pub(super) data_count: u32,
    memory_bytes: u64,
    /// The data with its addresses, in the order of initialization.
    data: Vec<(u64, &'m [u8])>,
    pub(super) has_realloc: bool,
}

/// The variable with the end of the data: its address and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) address: u32,
    pub(super) value: u64,
}

impl<'m> Survey<'m> {
    pub(super) fn from_module(module: &'m [u8]) -> Result<Self, BinaryReaderError> {
        let mut survey = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section {
                        let count = group?.types().len();
                        survey.types_count += u32::try_from(count).unwrap_or(u32::MAX);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) => survey.imported_functions_count += 1,
                            TypeRef::Global(_) => survey.imported_globals_count += 1,
                            _ => {}
                        }
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        let bytes = memory?.initial.saturating_mul(PAGE_BYTES);
                        survey.memory_bytes = bytes.min(MAX_BYTES);
                    }
                }
                Payload::GlobalSection(section) => survey.globals_count = section.count(),
                Payload::ExportSection(section) => survey.read_exports(section)?,
                Payload::CodeSectionEntry(body) => survey.bodies.push(body),
                Payload::DataSection(section) => survey.read_data(section)?,
                _ => {}
            }
        }
        Ok(survey)
    }

    /// Returns whether changing only existing data can set a variable to another value. A byte that
    /// no segment contains is zero and must stay so.
    pub(super) fn can_change(&self, address: u32, value: u64) -> bool {
        let mut bytes = (u64::from(address)..).zip(value.to_le_bytes());
        bytes.all(|(at, byte)| {
            byte == 0
                || self
                    .data
                    .iter()
                    .any(|(start, data)| at >= *start && at < start + data.len() as u64)
        })
    }

    fn read_exports(&mut self, section: ExportSectionReader<'m>) -> Result<(), BinaryReaderError> {
        for export in section {
            let export = export?;
            self.has_realloc |= export.name == REALLOC && export.kind == ExternalKind::Func;
        }
        Ok(())
    }

    fn read_data(&mut self, section: DataSectionReader<'m>) -> Result<(), BinaryReaderError> {
        self.data_count = section.count();
        for datum in section {
            let datum = datum?;
            if let DataKind::Active { offset_expr, .. } = &datum.kind
                && let Some(start) = place(offset_expr)?
            {
                self.data.push((start, datum.data));
            }
        }
        Ok(())
    }

    /// Returns the indices of the functions that read the size of the memory.
    pub(super) fn functions_with_size(&self) -> Result<HashSet<u32>, BinaryReaderError> {
        let mut found = HashSet::new();
        for (index, body) in (self.imported_functions_count..).zip(&self.bodies) {
            for operator in body.get_operators_reader()? {
                if matches!(operator?, Operator::MemorySize { .. }) {
                    found.insert(index);
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Returns the fixed addresses from which `functions` and their callers load whole pointers.
    pub(super) fn loads_around(
        &self,
        functions: &HashSet<u32>,
    ) -> Result<Vec<u32>, BinaryReaderError> {
        let mut found = Vec::new();
        for (index, body) in (self.imported_functions_count..).zip(&self.bodies) {
            let mut is_meant = functions.contains(&index);
            let mut loads = Vec::new();
            let mut address = None;
            for operator in body.get_operators_reader()? {
                address = match operator? {
                    Operator::I32Const { value } => Some(value.cast_unsigned()),
                    // As the I32WrapI64 after it would do.
                    Operator::I64Const { value } => Some(value as u32),
                    Operator::I32WrapI64 => address,
                    Operator::I64Load { memarg } => {
                        let offset = u32::try_from(memarg.offset).ok();
                        let sum = |address: u32| address.checked_add(offset?);
                        loads.extend(address.and_then(sum));
                        None
                    }
                    Operator::Call { function_index } => {
                        is_meant |= functions.contains(&function_index);
                        None
                    }
                    _ => None,
                };
            }
            if is_meant {
                found.append(&mut loads);
            }
        }
        Ok(found)
    }

    /// Finds, among the variables at `addresses`, the one with the end of the data.
    pub(super) fn find_end(&self, addresses: &[u32]) -> Result<End, String> {
        let ends = self.data.iter().map(|(at, data)| at + data.len() as u64);
        // Excludes 0, which is no end.
        let behind_data = ends.max().unwrap_or(0).max(1);
        let ends: BTreeMap<u32, u64> = self
            .values_at(addresses)
            .into_iter()
            .filter(|(_, value)| (behind_data..=self.memory_bytes).contains(value))
            .collect();
        match ends.into_iter().collect::<Vec<_>>()[..] {
            [(address, value)] => Ok(End { address, value }),
            [] => Err("no variable holds the end of its data".to_owned()),
            _ => Err("several variables may hold the end of its data".to_owned()),
        }
    }

    /// Returns the values of the variables at the start of the program. Reads each segment once,
    /// and each of its bytes once per variable near it.
    fn values_at(&self, addresses: &[u32]) -> BTreeMap<u32, u64> {
        let mut values: BTreeMap<u32, [u8; END_BYTES]> = BTreeMap::new();
        values.extend(addresses.iter().map(|address| (*address, [0; END_BYTES])));
        for (start, data) in &self.data {
            let end = start + data.len() as u64;
            let first = start.saturating_sub(END_BYTES as u64 - 1);
            let within = u32::try_from(first)
                .ok()
                .map(|first| values.range_mut(first..));
            let near = within.into_iter().flatten();
            for (address, bytes) in near.take_while(|(address, _)| u64::from(**address) < end) {
                for (at, byte) in (u64::from(*address)..).zip(bytes) {
                    let place = at
                        .checked_sub(*start)
                        .and_then(|at| usize::try_from(at).ok());
                    // The last segment wins.
                    if let Some(datum) = place.and_then(|place| data.get(place)) {
                        *byte = *datum;
                    }
                }
            }
        }
        let numbers = values.into_iter();
        numbers
            .map(|(address, bytes)| (address, u64::from_le_bytes(bytes)))
            .collect()
    }
}

/// Returns the address of a segment if it is a constant.
pub(super) fn place(offset: &wasmparser::ConstExpr<'_>) -> Result<Option<u64>, BinaryReaderError> {
    Ok(match offset.get_operators_reader().read()? {
        Operator::I32Const { value } => Some(value.cast_unsigned().into()),
        _ => None,
    })
}
