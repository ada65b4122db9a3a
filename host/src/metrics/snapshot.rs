//! All values at one time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::table::METRICS;

/// All values at one time, by the metric's name in [`METRICS`] and the values of its labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Sample>", into = "Vec<Sample>")]
pub(crate) struct Snapshot(BTreeMap<(String, Vec<String>), Value>);

/// One value, as a process sends it to another.
type Sample = (String, Vec<String>, Value);

/// A value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Value {
    /// A count since the start. Those of several processes are added.
    Counter(f64),
    /// A number now. Those of several processes are added.
    Gauge(f64),
    /// A time, in seconds since 1970. Of several processes, the earliest counts.
    Time(f64),
    /// The fact that something exists, which is the same in all processes.
    Fact,
    /// Counts by size.
    Histogram {
        /// The sum of all sizes.
        sum: f64,
        /// The counts of each bucket; the last has no upper bound.
        buckets: Vec<u64>,
    },
}

impl Snapshot {
    /// Adds a value to the one that the metric has for these labels.
    pub(crate) fn add(&mut self, name: &str, labels: &[&str], value: Value) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.insert(name.to_owned(), labels, value);
    }

    fn insert(&mut self, name: String, labels: Vec<String>, value: Value) {
        let entry = self.0.entry((name, labels));
        entry.and_modify(|known| known.add(&value)).or_insert(value);
    }

    /// Adds all values of another process.
    pub(crate) fn merge(&mut self, other: &Self) {
        for ((name, labels), value) in &other.0 {
            self.insert(name.clone(), labels.clone(), value.clone());
        }
    }

    /// Keeps what remains of a process that has ended: counts, but not the state.
    #[must_use]
    pub(crate) fn into_counts(mut self) -> Self {
        self.0
            .retain(|_, value| matches!(value, Value::Counter(_) | Value::Histogram { .. }));
        self
    }

    /// Removes the values of handlers of which none of `others` has a value.
    pub(crate) fn keep_handlers_of<'other>(
        &mut self,
        others: impl IntoIterator<Item = &'other Self>,
    ) {
        let of_handler = |name: &str| {
            let metric = METRICS.iter().find(|metric| metric.name == name);
            metric.is_some_and(|metric| metric.labels.first() == Some(&"handler"))
        };
        let keys = others.into_iter().flat_map(|other| other.0.keys());
        let known = keys.filter(|(name, _)| of_handler(name));
        let known: BTreeSet<&String> = known.filter_map(|(_, labels)| labels.first()).collect();
        self.0.retain(|(name, labels), _| {
            !of_handler(name)
                || labels
                    .first()
                    .is_some_and(|handler| known.contains(handler))
        });
    }

    /// Returns the values of a metric, each with those of its labels.
    pub(crate) fn of_metric(&self, name: &str) -> impl Iterator<Item = (&[String], &Value)> {
        let first = (name.to_owned(), Vec::new());
        let own = self.0.range(first..);
        let name = name.to_owned();
        own.take_while(move |((other, _), _)| *other == name)
            .map(|((_, labels), value)| (&labels[..], value))
    }

    /// Returns the value of a metric for these labels.
    #[cfg(test)]
    pub(crate) fn get(&self, name: &str, labels: &[&str]) -> Option<&Value> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.get(&(name.to_owned(), labels))
    }
}

impl Value {
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(own), Self::Counter(other)) | (Self::Gauge(own), Self::Gauge(other)) => {
                *own += other;
            }
            (
                Self::Histogram { sum, buckets },
                Self::Histogram {
                    sum: other_sum,
                    buckets: other,
                },
            ) => {
                *sum += other_sum;
                for (own, other) in buckets.iter_mut().zip(other) {
                    *own += other;
                }
            }
            (Self::Time(own), Self::Time(other)) => *own = own.min(*other),
            // A fact stays one, and all processes have the same program.
            _ => {}
        }
    }
}

impl From<Vec<Sample>> for Snapshot {
    fn from(samples: Vec<Sample>) -> Self {
        let mut snapshot = Self::default();
        for (name, labels, value) in samples {
            snapshot.insert(name, labels, value);
        }
        snapshot
    }
}

impl From<Snapshot> for Vec<Sample> {
    fn from(snapshot: Snapshot) -> Self {
        let samples = snapshot.0.into_iter();
        samples
            .map(|((name, labels), value)| (name, labels, value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_added_and_arrive_as_they_were() {
        let histogram = |count| Value::Histogram {
            sum: 0.5,
            buckets: vec![count, 0],
        };
        let mut one = Snapshot::default();
        one.add("c", &["a"], Value::Counter(1.0));
        one.add("g", &[], Value::Gauge(2.0));
        one.add("f", &["a"], Value::Fact);
        one.add("t", &[], Value::Time(7.0));
        one.add("h", &[], histogram(3));
        let text = serde_json::to_string(&one).expect("written");
        assert_eq!(serde_json::from_str::<Snapshot>(&text).expect(&text), one);
        let mut sum = one.clone();
        sum.merge(&one);
        assert_eq!(sum.get("c", &["a"]), Some(&Value::Counter(2.0)));
        assert_eq!(sum.get("g", &[]), Some(&Value::Gauge(4.0)));
        assert_eq!(sum.get("t", &[]), Some(&Value::Time(7.0)));
        assert_eq!(sum.get("f", &["a"]), Some(&Value::Fact));
        let Some(Value::Histogram {
            sum: total,
            buckets,
        }) = sum.get("h", &[])
        else {
            panic!("{sum:?}");
        };
        assert_eq!((*total, &buckets[..]), (1.0, &[6, 0][..]));
        let counts = one.into_counts();
        assert!(counts.get("g", &[]).is_none() && counts.get("f", &["a"]).is_none());
        assert!(counts.get("c", &["a"]).is_some() && counts.get("h", &[]).is_some());
    }
}
