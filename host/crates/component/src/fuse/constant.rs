//! Globals whose value is known ahead of time.
//!
//! A shared library's position in the memory and in the table is such a global: the values are set
//! when the component is built. With constants in their place, wasmtime can lay out table and
//! memory at compilation, and compiled code doesn't need to load them.

use std::collections::{HashMap, HashSet};

use wasm_encoder::{ConstExpr, Instruction};
use wasmparser::Operator;

use super::component::ItemKind;
use super::members::{Defined, Members, Source};
use super::unsupported::Result;

/// A constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
}

/// The globals with known values.
#[derive(Default)]
pub(super) struct Constants(HashMap<Defined, Value>);

impl Constants {
    /// Finds the known globals of some members. Only these members can write to them, except to
    /// globals in `shown`, which others can access.
    pub(super) fn from_members(
        members: &Members<'_, '_>,
        list: &[usize],
        shown: &HashSet<Defined>,
    ) -> Result<Self> {
        let mut written = shown.clone();
        for member in list {
            add_written(members, *member, &mut written)?;
        }
        let mut constants = Self::default();
        for &member in list {
            let inner = &members.list[member].inner;
            for (index, global) in (0..).zip(&inner.globals) {
                let defined = Defined { member, index };
                if global.ty.mutable && written.contains(&defined) {
                    continue;
                }
                let value = fold(&global.init_expr, |index| {
                    constants.value(members, member, index)
                });
                if let Some(value) = value {
                    constants.0.insert(defined, value);
                }
            }
        }
        Ok(constants)
    }

    /// Returns the value of a global, by its index in a member.
    pub(super) fn value(
        &self,
        members: &Members<'_, '_>,
        member: usize,
        index: u32,
    ) -> Option<Value> {
        match members.source(ItemKind::Global, member, index) {
            Ok(Source::Defined(defined)) => self.get(defined),
            _ => None,
        }
    }

    /// Returns the value of a global.
    pub(super) fn get(&self, defined: Defined) -> Option<Value> {
        self.0.get(&defined).copied()
    }
}

impl Value {
    pub(super) fn instruction(self) -> Instruction<'static> {
        match self {
            Value::I32(value) => Instruction::I32Const(value),
            Value::I64(value) => Instruction::I64Const(value),
            Value::F32(bits) => Instruction::F32Const(wasm_encoder::Ieee32::new(bits)),
            Value::F64(bits) => Instruction::F64Const(wasm_encoder::Ieee64::new(bits)),
        }
    }

    pub(super) fn expression(self) -> ConstExpr {
        ConstExpr::extended([self.instruction()])
    }
}

/// Returns the value of an expression if all its operands are known.
pub(super) fn fold(
    expression: &wasmparser::ConstExpr<'_>,
    global: impl Fn(u32) -> Option<Value>,
) -> Option<Value> {
    let mut stack = Vec::new();
    for operator in expression.get_operators_reader() {
        let value = match operator.ok()? {
            Operator::I32Const { value } => Value::I32(value),
            Operator::I64Const { value } => Value::I64(value),
            Operator::F32Const { value } => Value::F32(value.bits()),
            Operator::F64Const { value } => Value::F64(value.bits()),
            Operator::GlobalGet { global_index } => global(global_index)?,
            Operator::End => break,
            operator => {
                let (right, left) = (stack.pop()?, stack.pop()?);
                combine(&operator, left, right)?
            }
        };
        stack.push(value);
    }
    match stack[..] {
        [value] => Some(value),
        _ => None,
    }
}

/// Evaluates a binary operator of constant expressions.
fn combine(operator: &Operator<'_>, left: Value, right: Value) -> Option<Value> {
    Some(match (operator, left, right) {
        (Operator::I32Add, Value::I32(a), Value::I32(b)) => Value::I32(a.wrapping_add(b)),
        (Operator::I32Sub, Value::I32(a), Value::I32(b)) => Value::I32(a.wrapping_sub(b)),
        (Operator::I32Mul, Value::I32(a), Value::I32(b)) => Value::I32(a.wrapping_mul(b)),
        (Operator::I64Add, Value::I64(a), Value::I64(b)) => Value::I64(a.wrapping_add(b)),
        (Operator::I64Sub, Value::I64(a), Value::I64(b)) => Value::I64(a.wrapping_sub(b)),
        (Operator::I64Mul, Value::I64(a), Value::I64(b)) => Value::I64(a.wrapping_mul(b)),
        _ => return None,
    })
}

fn add_written(
    members: &Members<'_, '_>,
    member: usize,
    written: &mut HashSet<Defined>,
) -> Result<()> {
    for body in &members.list[member].inner.bodies {
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            if let Operator::GlobalSet { global_index } = operators.read()?
                && let Source::Defined(defined) =
                    members.source(ItemKind::Global, member, global_index)?
            {
                written.insert(defined);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(expression: &str) -> Option<Value> {
        let text = format!(
            r#"(module (import "" "known" (global i32)) (import "" "other" (global i32))
            (global i32 {expression}))"#
        );
        let bytes = wat::parse_str(text).expect("a module");
        let inner = super::super::core_module::CoreModule::parse(&bytes).expect("it is plain");
        let known = |index| (index == 0).then_some(Value::I32(7));
        fold(&inner.globals[0].init_expr, known)
    }

    #[test]
    fn what_is_known_is_a_number_and_the_rest_is_not() {
        for (expression, value) in [
            ("i32.const 5", Some(Value::I32(5))),
            ("i64.const 5", Some(Value::I64(5))),
            ("f64.const 1", Some(Value::F64(1f64.to_bits()))),
            ("global.get 0", Some(Value::I32(7))),
            ("global.get 1", None),
            (
                "(i32.add (global.get 0) (i32.const -8))",
                Some(Value::I32(-1)),
            ),
            (
                "(i32.sub (i32.const 1) (i32.mul (global.get 0) (i32.const 2)))",
                Some(Value::I32(-13)),
            ),
            ("(i32.add (global.get 0) (global.get 1))", None),
            (
                "(i32.add (i32.const 0x7fffffff) (i32.const 1))",
                Some(Value::I32(i32::MIN)),
            ),
            (
                "(i64.mul (i64.const 3) (i64.const -3))",
                Some(Value::I64(-9)),
            ),
            ("ref.null func", None),
        ] {
            assert_eq!(folded(expression), value, "{expression}");
        }
    }
}
