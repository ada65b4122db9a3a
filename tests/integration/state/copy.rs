//! `wasgi state copy` and `export` while handlers write.

use std::collections::BTreeMap;
use std::fs;

use super::{KINDS, site, state};
use crate::support::attempts::{ask, configure};
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::writers::Writers;

/// The buckets in the order in which an export has them. The keys of the second one take most of
/// its time, so that writes come between those of the others if it isn't a snapshot.
const GRANTS: &str = "[handlers.\"*\"]\nkey-value = [\
    { name = \"first\", shared = \"1-first\" }, { name = \"many\", shared = \"2-many\" }, \
    { name = \"last\", shared = \"3-last\" }, { name = \"pairs\", shared = \"pairs\" }]\n";

const CLIENTS: usize = 4;

/// The values of all buckets, by bucket and key.
type Values = BTreeMap<(String, String), String>;

fn parse(export: &str) -> Values {
    let entry = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        let text = |name: &str| line[name].as_str().expect("text").to_owned();
        ((text("bucket"), text("key")), text("value"))
    };
    export.lines().map(entry).collect()
}

/// Checks that a snapshot has what was acknowledged before it, and nothing without what was written
/// before that: each client increments its key in the first bucket, then in the last one, and then
/// sets a pair of keys to the sum.
#[track_caller]
fn expect_consistent(values: &Values, acknowledged: &[u64]) {
    for (client, acknowledged) in acknowledged.iter().enumerate() {
        let number = |bucket: &str, key: String| -> u64 {
            let value = values.get(&(format!("shared:{bucket}"), key));
            value.map_or(0, |value| value.parse().expect("a number"))
        };
        let key = format!("c{client}");
        let [first, last, pair, other] = [
            number("1-first", key.clone()),
            number("3-last", key.clone()),
            number("pairs", format!("first-{key}")),
            number("pairs", format!("last-{key}")),
        ];
        let shown = format!("{acknowledged} acknowledged; {first}, {last}, {pair} and {other}");
        assert_eq!(pair, other, "a batch is whole: {shown}");
        assert!(*acknowledged <= pair, "{shown}");
        assert!(pair <= last && last <= first, "{shown}");
        assert!(first <= pair + 1, "{shown}");
    }
}

/// Checks that the sizes that a copy lists are those of its entries.
#[track_caller]
fn expect_sizes(copy: &Site, values: &Values) {
    let mut sizes: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for ((bucket, key), value) in values {
        let size = sizes.entry(bucket).or_default();
        *size = (size.0 + 1, size.1 + key.len() + value.len());
    }
    let lines = sizes
        .iter()
        .map(|(bucket, (keys, bytes))| format!("{bucket}\t{keys} keys\t{bytes} bytes"));
    let lines: Vec<String> = lines.collect();
    assert_eq!(state(copy, &["list"]), lines.join("\n"));
}

#[test]
fn a_copy_or_an_export_while_handlers_write_is_a_snapshot_of_all_buckets() {
    const ROUNDS: usize = 4;
    let site = site();
    configure(&site, GRANTS);
    let server = Server::with(&site, &["--processes", "2"]);
    assert_eq!(ask(&server, "grants", "kv1=many,fill"), "filled");
    let write = |client: usize| {
        let kind = KINDS[client % 3];
        let sum = ask(&server, kind, &format!("kv=first,add,c{client},1"));
        let other = ask(&server, kind, &format!("kv=last,add,c{client},1"));
        assert_eq!(sum, other);
        let both = format!("kv=pairs,both,c{client},{sum}");
        assert_eq!(ask(&server, kind, &both), "set");
        sum.parse().ok()
    };
    let writers = Writers::run(CLIENTS, write, |writers| {
        for _ in 0..ROUNDS {
            writers.wait_for_another_write();
            let exported = acknowledged(writers);
            let values = parse(&state(&site, &["export"]));
            expect_consistent(&values, &exported);

            let copied = acknowledged(writers);
            let copy = copy_of(&site);
            let values = parse(&state(&copy, &["export"]));
            expect_consistent(&values, &copied);
            expect_sizes(&copy, &values);
        }
    });

    // The last copy has all that was written, and a server serves it.
    let copy = copy_of(&site);
    configure(&copy, GRANTS);
    let restored = Server::new(&copy);
    writers.expect_stored(|client| {
        let query = format!("kv=first,get,c{client}");
        let stored = ask(&restored, "grants", &query);
        assert_eq!(stored, ask(&server, "grants", &query));
        stored.parse().expect("a number")
    });
    assert_eq!(ask(&restored, "grants", "kv=first,set,new,x"), "set");
}

/// Returns the number of acknowledged writes of each client.
fn acknowledged(writers: &Writers) -> Vec<u64> {
    let possible = writers.possible();
    possible.iter().map(|possible| *possible.start()).collect()
}

/// Copies a site's state to another site.
#[track_caller]
fn copy_of(site: &Site) -> Site {
    let copy = super::site();
    fs::create_dir(copy.path().join("state")).expect("a folder");
    let file = copy.path().join("state/state.redb");
    state(site, &["copy", file.to_str().expect("text")]);
    copy
}
