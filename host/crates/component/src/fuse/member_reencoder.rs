//! Copies the sections of a member, with the indices of the merged module.

use std::collections::BTreeSet;

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{ConstExpr, Instruction};
use wasmparser::Operator;

use super::component::ItemKind;
use super::constant::{Constants, Value, fold};
use super::members::Members;
use super::numbers::Numbers;
use super::unsupported::{Copied, Result, Unsupported};

/// Maps the indices of a member to those of the merged module.
pub(super) struct MemberReencoder {
    functions: Vec<Option<u32>>,
    tables: Vec<Option<u32>>,
    memories: Vec<Option<u32>>,
    globals: Vec<Option<u32>>,
    constants: Vec<Option<Value>>,
    pub(super) types: Vec<u32>,
    /// The number of segments of earlier members.
    pub(super) elements_before: u32,
    pub(super) data_before: u32,
    /// Functions of the merged module that code takes a reference to.
    pub(super) referenced: BTreeSet<u32>,
}

impl MemberReencoder {
    pub(super) fn new(
        members: &Members<'_, '_>,
        member: usize,
        numbers: &Numbers,
        constants: &Constants,
    ) -> Result<Self> {
        let numbers = |kind| numbers.of_member(members, member, kind);
        let globals = numbers(ItemKind::Global)?;
        let constants = (0..globals.len() as u32)
            .map(|index| constants.value(members, member, index))
            .collect();
        Ok(Self {
            functions: numbers(ItemKind::Func)?,
            tables: numbers(ItemKind::Table)?,
            memories: numbers(ItemKind::Memory)?,
            globals,
            constants,
            types: Vec::new(),
            elements_before: 0,
            data_before: 0,
            referenced: BTreeSet::new(),
        })
    }

    fn constant(&self, global: u32) -> Option<Value> {
        self.constants.get(global as usize).copied().flatten()
    }
}

fn number(numbers: &[Option<u32>], index: u32) -> Copied<u32> {
    match numbers.get(index as usize) {
        Some(Some(number)) => Ok(*number),
        _ => Err(Error::UserError(Unsupported::new(
            "an index refers to an undefined item",
        ))),
    }
}

impl Reencode for MemberReencoder {
    type Error = Unsupported;

    fn function_index(&mut self, index: u32) -> Copied<u32> {
        number(&self.functions, index)
    }

    fn table_index(&mut self, index: u32) -> Copied<u32> {
        number(&self.tables, index)
    }

    fn memory_index(&mut self, index: u32) -> Copied<u32> {
        number(&self.memories, index)
    }

    fn global_index(&mut self, index: u32) -> Copied<u32> {
        number(&self.globals, index)
    }

    fn type_index(&mut self, index: u32) -> Copied<u32> {
        match self.types.get(index as usize) {
            Some(number) => Ok(*number),
            None => Err(Error::UserError(Unsupported::new("a type is missing"))),
        }
    }

    fn element_index(&mut self, index: u32) -> Copied<u32> {
        Ok(index.saturating_add(self.elements_before))
    }

    fn data_index(&mut self, index: u32) -> Copied<u32> {
        Ok(index.saturating_add(self.data_before))
    }

    fn instruction<'a>(&mut self, operator: Operator<'a>) -> Copied<Instruction<'a>> {
        match operator {
            Operator::GlobalGet { global_index } => {
                if let Some(value) = self.constant(global_index) {
                    return Ok(value.instruction());
                }
            }
            Operator::RefFunc { function_index } => {
                let function = self.function_index(function_index)?;
                self.referenced.insert(function);
            }
            _ => {}
        }
        utils::instruction(self, operator)
    }

    fn const_expr(&mut self, expression: wasmparser::ConstExpr<'_>) -> Copied<ConstExpr> {
        match fold(&expression, |index| self.constant(index)) {
            Some(value) => Ok(value.expression()),
            None => utils::const_expr(self, expression),
        }
    }
}
