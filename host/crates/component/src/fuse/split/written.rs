//! Determines which globals a module's code can write to, ignoring functions that can't be called.
//!
//! A linker leaves functions in a shared library that set its globals at load time, one for each
//! address from another library. In a snapshot, they have already run and have no callers.

use std::collections::BTreeSet;

use wasmparser::{ElementItems, ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef};

use super::super::unsupported::Result;

/// The call graph of a module.
#[derive(Default)]
struct Calls {
    /// The number of imported functions: they have the first indices.
    imported: u32,
    /// For each defined function, the ends of its ranges in [`Self::callees`] and [`Self::sets`].
    ends: Vec<(usize, usize)>,
    callees: Vec<u32>,
    sets: Vec<u32>,
    /// Functions that can be called from outside or through a table.
    roots: Vec<u32>,
    /// Globals that other modules can write to.
    exported: Vec<u32>,
}

/// Returns the indices of the globals. `roots` are functions that are called from outside, in
/// addition to those that the module exports.
pub(super) fn globals(module: &[u8], roots: Vec<u32>) -> Result<BTreeSet<u32>> {
    let mut calls = Calls {
        roots,
        ..Calls::default()
    };
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    calls.imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    match export.kind {
                        ExternalKind::Func => calls.roots.push(export.index),
                        ExternalKind::Global => calls.exported.push(export.index),
                        _ => {}
                    }
                }
            }
            Payload::StartSection { func, .. } => calls.roots.push(func),
            Payload::ElementSection(section) => {
                for element in section {
                    calls.element(element?.items)?;
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    calls.references(&global?.init_expr)?;
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    if let wasmparser::TableInit::Expr(expression) = table?.init {
                        calls.references(&expression)?;
                    }
                }
            }
            Payload::CodeSectionEntry(body) => calls.body(&body)?,
            _ => {}
        }
    }
    Ok(calls.written())
}

impl Calls {
    fn element(&mut self, items: ElementItems<'_>) -> Result<()> {
        match items {
            ElementItems::Functions(functions) => {
                for function in functions {
                    self.roots.push(function?);
                }
            }
            ElementItems::Expressions(_, expressions) => {
                for expression in expressions {
                    self.references(&expression?)?;
                }
            }
        }
        Ok(())
    }

    fn references(&mut self, expression: &wasmparser::ConstExpr<'_>) -> Result<()> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.roots.push(function_index);
            }
        }
        Ok(())
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            match operators.read()? {
                Operator::Call { function_index }
                | Operator::ReturnCall { function_index }
                | Operator::RefFunc { function_index } => self.callees.push(function_index),
                Operator::GlobalSet { global_index } => self.sets.push(global_index),
                _ => {}
            }
        }
        self.ends.push((self.callees.len(), self.sets.len()));
        Ok(())
    }

    /// Returns the globals that reachable functions write to.
    fn written(mut self) -> BTreeSet<u32> {
        let mut written = BTreeSet::from_iter(self.exported);
        let mut is_seen = vec![false; self.ends.len()];
        while let Some(function) = self.roots.pop() {
            let Some(place) = function.checked_sub(self.imported) else {
                continue;
            };
            let place = place as usize;
            let Some(seen) = is_seen.get_mut(place) else {
                continue;
            };
            if std::mem::replace(seen, true) {
                continue;
            }
            let end = self.ends.get(place).copied().unwrap_or_default();
            let before = place
                .checked_sub(1)
                .and_then(|before| self.ends.get(before));
            let (calls, sets) = before.copied().unwrap_or_default();
            self.roots
                .extend(self.callees.get(calls..end.0).unwrap_or_default());
            written.extend(self.sets.get(sets..end.1).unwrap_or_default());
        }
        written
    }
}
