//! Which traces are recorded: `OTEL_TRACES_SAMPLER`.

use super::context::{SpanContext, TraceId};

/// A standard sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampler {
    /// Whether the caller's decision is followed, if there is a caller.
    follows_parent: bool,
    /// The share of the other traces that is recorded, 0 to 1.
    ratio: f64,
}

impl Sampler {
    /// Parses the variables `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`. The default is
    /// `parentbased_always_on`.
    pub(super) fn parse(
        name: Option<&str>,
        argument: Option<&str>,
        warn: &mut impl FnMut(String),
    ) -> Self {
        let name = name.unwrap_or("parentbased_always_on");
        let (follows_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => {
                let parsed = argument.map_or(Ok(1.0), str::parse::<f64>);
                parsed
                    .ok()
                    .filter(|ratio| (0.0..=1.0).contains(ratio))
                    .unwrap_or_else(|| {
                        warn("OTEL_TRACES_SAMPLER_ARG: expected 0 to 1: 1 is used".into());
                        1.0
                    })
            }
            _ => {
                let names =
                    "always_on, always_off, traceidratio, or one of these after parentbased_";
                warn(format!(
                    "OTEL_TRACES_SAMPLER: expected {names}: all traces are recorded"
                ));
                return Self {
                    follows_parent: true,
                    ratio: 1.0,
                };
            }
        };
        Self {
            follows_parent,
            ratio,
        }
    }

    /// Returns whether a trace is recorded.
    pub(super) fn samples(&self, trace: TraceId, parent: Option<&SpanContext>) -> bool {
        if let Some(parent) = parent.filter(|_| self.follows_parent) {
            return parent.is_sampled;
        }
        // The lower half of the identifier is random, and all services decide alike.
        let random = (trace.0 as u64) >> 1;
        (random as f64) < self.ratio * (1_u64 << 63) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::context::SpanId;

    #[test]
    fn each_sampler_decides_by_its_rule() {
        let parse = |name, argument| {
            let mut warnings = 0;
            let sampler = Sampler::parse(name, argument, &mut |_| warnings += 1);
            (sampler, warnings)
        };
        let parent = |is_sampled| SpanContext {
            trace: TraceId(1),
            span: SpanId(1),
            is_sampled,
        };
        let low = TraceId(u128::from(u64::MAX / 5));
        let high = TraceId(u128::from(u64::MAX / 5 * 2));
        for (name, argument, expected) in [
            (None, None, [true, true, false, true]),
            (Some("always_on"), None, [true, true, true, true]),
            (Some("always_off"), None, [false, false, false, false]),
            (Some("traceidratio"), Some("0.3"), [true, false, true, true]),
            (
                Some("parentbased_always_off"),
                None,
                [false, false, false, true],
            ),
            (
                Some("parentbased_traceidratio"),
                Some("0.3"),
                [true, false, false, true],
            ),
        ] {
            let (sampler, warnings) = parse(name, argument);
            let found = [
                sampler.samples(low, None),
                sampler.samples(high, None),
                sampler.samples(low, Some(&parent(false))),
                sampler.samples(low, Some(&parent(true))),
            ];
            assert_eq!((found, warnings), (expected, 0), "{name:?}");
        }
        assert_eq!(parse(Some("jaeger"), None).1, 1);
        assert_eq!(parse(Some("traceidratio"), Some("2")).1, 1);
        assert_eq!(parse(Some("traceidratio"), Some("NaN")).1, 1);
    }
}
