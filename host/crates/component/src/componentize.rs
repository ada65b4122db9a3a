//! Converts a core module into a component: a module that declares its interfaces, or a program for
//! WASI preview 1.
//!
//! A module of the first kind has custom sections `component-type…`, written by `wit-bindgen` and
//! the SDK. One of the second kind exports `_start`, as C compilers produce it. `wit-component`
//! encodes both, with the adapter that implements preview 1 with WASI 0.2. `go` reserves memory for
//! the adapter in a program that has none.

mod go;
mod outline;

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use outline::Outline;

/// The entry point of a program for preview 1.
const START: &str = "_start";

/// The name prefix of the sections that declare a module's interfaces.
const TYPE_SECTION: &str = "component-type";

/// Converts a core module into a component. An error is one line.
pub fn from_module(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let outline = Outline::from_module(bytes)
        .ok_or("an invalid or truncated core module: check that the file is complete")?;
    let has_start = outline.exports.iter().any(|name| name == START);
    let has_type = outline
        .custom_sections
        .iter()
        .any(|name| name.starts_with(TYPE_SECTION));
    let adapter = match (has_type, has_start) {
        (_, true) => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        (true, false) => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        (false, false) => return Err(neither(&outline)),
    };
    let mut module = Cow::Borrowed(bytes);
    if outline.is_of_go && !has_type {
        module = go::make_room(bytes).map_err(|why| unsuitable_go(&why))?;
    }
    encode(&module, adapter).map_err(|error| {
        let causes = format!("{error:#}");
        let causes: Vec<&str> = causes.split_whitespace().collect();
        format!(
            "a core module that can't be converted to a component: {}",
            causes.join(" ")
        )
    })
}

fn encode(bytes: &[u8], adapter: &[u8]) -> anyhow::Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(bytes)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?
        .encode()
}

/// Returns the error for a Go command in which the adapter has no memory. Without it, each request
/// would trap.
fn unsuitable_go(why: &str) -> String {
    format!(
        "a Go command for WASI preview 1 that can't be converted to a component: {why}; build it \
         with `GOOS=wasip1 GOARCH=wasm go build`, or build a component with TinyGo (-target=wasip2)"
    )
}

/// Returns the error for a module that is not a handler.
fn neither(outline: &Outline) -> String {
    /// The maximum number of exports in the message.
    const SHOWN: usize = 8;
    let names: Vec<&str> = outline
        .exports
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect();
    let has = match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.join(", "),
    };
    format!(
        "a core module, but not a handler: it exports {has}, and must export {START} (a command \
         for WASI preview 1) or have a section {TYPE_SECTION} (of wit-bindgen); or build a \
         component for wasm32-wasip2"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::componentize::outline::example;

    #[test]
    fn a_command_becomes_a_component() {
        let component = from_module(&example::command(b"Status: 204\n\n")).expect("a component");
        assert!(component.starts_with(b"\0asm\x0d\0\x01\0"));
        let has = |text: &[u8]| component.windows(text.len()).any(|window| window == text);
        assert!(has(b"wasi:cli/run@0.2"));
        assert!(has(b"Status: 204"));
    }

    #[test]
    fn a_module_that_is_no_handler_is_told_what_was_looked_for() {
        let error = from_module(&example::module(&["memory", "f"])).expect_err("no handler");
        assert!(error.contains("exports memory, f"), "{error}");
        assert!(error.contains("_start"), "{error}");
        let error = from_module(&example::module(&[])).expect_err("no handler");
        assert!(error.contains("exports nothing"), "{error}");
    }

    #[test]
    fn a_command_of_go_that_has_no_room_is_told_why_and_what_to_do() {
        let text = r#"(module (memory (export "memory") 1)
            (func (export "_start") memory.size drop) (@custom "go:buildid" ""))"#;
        let error = from_module(&wat::parse_str(text).expect("a module")).expect_err("no data");
        assert!(
            error.contains("no variable holds the end of its data"),
            "{error}"
        );
        assert!(error.contains("TinyGo"), "{error}");
    }

    #[test]
    fn what_is_broken_is_told_so_wherever_it_breaks() {
        let whole = example::command(b"Status: 204\n\n");
        let without_data = whole.len() - example::command_data(b"Status: 204\n\n").len();
        for end in 8..whole.len() {
            let result = from_module(&whole[..end]);
            assert_eq!(result.is_ok(), end == without_data, "cut at {end}");
        }
        // `_start` is exported, but is not a function without parameters.
        let error = from_module(&example::module(&["_start"])).expect_err("no function");
        assert!(
            error.contains("can't be converted to a component"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}
