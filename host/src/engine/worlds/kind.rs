//! Determines the kind of a handler from a component's exports.

use std::fmt;

use wasmtime::component::Component;

use crate::engine::fuse;
use crate::policy::Policy;

/// The kind of handler of a program. If its exports match several kinds, the first in this order
/// applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    /// Of this project's world: `wit/gateway.wit`.
    Gateway,
    /// Of the world `wasi:http/proxy`.
    WasiHttp,
    /// A program with a `main`, run as CGI: of the world `wasi:cli/command`.
    Command,
}

impl HandlerKind {
    const ALL: [Self; 3] = [Self::Gateway, Self::WasiHttp, Self::Command];

    /// Returns the kind of a component with these exports, if any.
    fn from_exports(exports: &[&str]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| exports.iter().any(|export| kind.is_known_by(export)))
    }

    /// Returns the name for users.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "wasgi",
            Self::WasiHttp => "wasi:http",
            Self::Command => "cgi",
        }
    }

    /// Returns the interface that a handler of this kind exports, with the accepted versions.
    pub(in crate::engine) const fn export(self) -> &'static str {
        match self {
            Self::Gateway => fuse::APPLICATION,
            Self::WasiHttp => "wasi:http/incoming-handler@0.2",
            Self::Command => "wasi:cli/run@0.2",
        }
    }

    /// Returns the name prefix of the imports that every handler of this kind has.
    pub(in crate::engine) fn own_imports(self) -> &'static str {
        match self {
            Self::Gateway => "wasgi:gateway/",
            Self::WasiHttp => "wasi:http/types@",
            Self::Command => "wasi:cli/",
        }
    }

    /// Restricts a policy to what a handler of this kind supports: other kinds can't be called
    /// again in the same instance.
    pub fn limit(self, mut policy: Policy) -> Policy {
        if self != Self::Gateway {
            policy.reuse = 1;
        }
        policy
    }

    /// Returns whether its input strings end at a NUL, so that a string with a NUL would be
    /// truncated.
    pub fn has_c_strings(self) -> bool {
        self == Self::Command
    }

    fn is_known_by(self, export: &str) -> bool {
        match export.strip_prefix(self.export()) {
            Some("") => true,
            // `0.2` matches every `0.2.x`.
            Some(rest) => self != Self::Gateway && rest.starts_with('.'),
            None => false,
        }
    }
}

/// Returns the kind of a component, or the error for its author.
pub(in crate::engine) fn detect(
    component: &Component,
    engine: &wasmtime::Engine,
) -> Result<HandlerKind, String> {
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    HandlerKind::from_exports(&exports).ok_or_else(|| no_kind(&exports))
}

fn no_kind(exports: &[&str]) -> String {
    /// The maximum number of exports in the message: enough to identify the component.
    const SHOWN: usize = 8;
    let mut has = exports
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match exports.len() {
        0 => has.push_str("nothing"),
        count if count > SHOWN => has.push_str(&format!(" and {} more", count - SHOWN)),
        _ => {}
    }
    let wanted = HandlerKind::ALL.map(HandlerKind::export).join(" or ");
    let is_later = |export: &&str| {
        export.starts_with("wasi:http/handler@0.3") || export.starts_with("wasi:cli/run@0.3")
    };
    let advice = if exports.iter().any(is_later) {
        "WASI 0.3 is not supported: build it for WASI 0.2"
    } else {
        "build it with a wasgi SDK, for wasi:http, or as a command"
    };
    format!("a component, but not a handler: it exports {has}, and must export {wanted}; {advice}")
}

impl fmt::Display for HandlerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_one_of_its_exports() {
        for (exports, kind) in [
            (
                &["wasgi:gateway/application@0.1.0"][..],
                Some(HandlerKind::Gateway),
            ),
            (
                &["memory", "wasi:http/incoming-handler@0.2.0"],
                Some(HandlerKind::WasiHttp),
            ),
            (
                &["wasi:http/incoming-handler@0.2.12"],
                Some(HandlerKind::WasiHttp),
            ),
            (&["wasi:cli/run@0.2.6"], Some(HandlerKind::Command)),
            (
                &["wasi:cli/run@0.2.6", "wasi:http/incoming-handler@0.2.6"],
                Some(HandlerKind::WasiHttp),
            ),
            (&["wasgi:gateway/application@0.1.01"], None),
            (&["wasgi:gateway/application@0.2.0"], None),
            (&["wasi:http/incoming-handler@0.20.0"], None),
            (&["wasi:http/handler@0.3.0"], None),
            (&["wasi:cli/run@0.3.0"], None),
            (&["run"], None),
            (&[], None),
        ] {
            assert_eq!(HandlerKind::from_exports(exports), kind, "{exports:?}");
        }
    }

    #[test]
    fn a_component_of_no_kind_is_told_what_was_looked_for() {
        let text = no_kind(&[]);
        for kind in HandlerKind::ALL {
            assert!(text.contains(kind.export()), "{text}");
        }
        assert!(text.contains("exports nothing"), "{text}");
        let text = no_kind(&["wasi:http/handler@0.3.0"]);
        assert!(text.contains("exports wasi:http/handler@0.3.0"), "{text}");
        assert!(text.contains("WASI 0.3 is not supported"), "{text}");
        let text = no_kind(&["a"; 20]);
        assert!(text.contains("and 12 more"), "{text}");
    }
}
