//! Tests of the dashboard and the alerts in `docs/`.

use serde::Deserialize;

use super::table::{METRICS, MetricKind};

const DASHBOARD: &str = include_str!("../../../docs/grafana-dashboard.json");

const ALERTS: &str = include_str!("../../../docs/prometheus-alerts.yml");

/// The beginnings of names: those of `process_` are the same for each program.
const PREFIXES: [&str; 2] = ["wasgi_", "process_"];

/// The width of a dashboard, in columns.
const COLUMNS: u32 = 24;

/// The part of Grafana's schema of dashboards that the file uses: its version 39, in which each of
/// these fields has this name and type. A field that is not in the schema is rejected.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only their presence and types are checked")]
struct Dashboard {
    title: String,
    uid: String,
    schema_version: u32,
    version: u32,
    editable: bool,
    timezone: String,
    refresh: String,
    tags: Vec<String>,
    time: Range,
    templating: Variables,
    annotations: Annotations,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their presence and types are checked")]
struct Range {
    from: String,
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variables {
    list: Vec<Variable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their presence and types are checked")]
struct Variable {
    name: String,
    label: String,
    r#type: String,
    query: String,
    current: Nothing,
    hide: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    list: [(); 0],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only their presence and types are checked")]
struct Panel {
    id: u32,
    r#type: String,
    title: String,
    datasource: DataSource,
    grid_pos: Place,
    field_config: FieldConfig,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataSource {
    r#type: String,
    uid: String,
}

/// Where a panel is, in columns and rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    x: u32,
    y: u32,
    w: u32,
    h: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their presence and types are checked")]
struct FieldConfig {
    defaults: Defaults,
    overrides: [(); 0],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their presence and types are checked")]
struct Defaults {
    unit: String,
    min: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Target {
    ref_id: String,
    datasource: DataSource,
    expr: String,
    legend_format: String,
}

impl Place {
    fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }
}

/// Returns the names of metrics in a query.
pub(super) fn names_in(query: &str) -> Vec<&str> {
    let is_word = |one: char| one.is_ascii_alphanumeric() || one == '_';
    let words = query.split(|one| !is_word(one));
    let is_name = |word: &&str| PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    words.filter(is_name).collect()
}

fn exists(name: &str) -> bool {
    let bare = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    METRICS.iter().any(|metric| match metric.kind {
        MetricKind::Histogram => bare.is_some_and(|bare| bare == metric.full_name()),
        MetricKind::Counter | MetricKind::Gauge => name == metric.full_name(),
    })
}

fn is_distinct<T: PartialEq>(all: &[T]) -> bool {
    (0..all.len()).all(|at| !all[..at].contains(&all[at]))
}

#[test]
fn the_dashboard_fits_grafanas_schema() {
    let dashboard: Dashboard = serde_json::from_str(DASHBOARD).expect("as the schema says");
    assert_eq!(dashboard.schema_version, 39);
    assert_eq!(dashboard.annotations.list.len(), 0);
    let variables = &dashboard.templating.list;
    let variables: Vec<_> = variables
        .iter()
        .map(|one| (&*one.name, &*one.r#type))
        .collect();
    assert_eq!(variables, [("datasource", "datasource")]);
    let panels = &dashboard.panels;
    let ids: Vec<u32> = panels.iter().map(|panel| panel.id).collect();
    assert!(is_distinct(&ids), "{ids:?}");
    for (at, panel) in panels.iter().enumerate() {
        let title = &panel.title;
        assert_eq!(panel.r#type, "timeseries", "{title}");
        let place = &panel.grid_pos;
        assert!(place.w > 0 && place.x + place.w <= COLUMNS, "{title}");
        let mut before = panels[..at].iter();
        assert!(
            !before.any(|other| other.grid_pos.overlaps(place)),
            "{title}"
        );
        let sources = panel.targets.iter().map(|target| &target.datasource);
        for source in sources.chain([&panel.datasource]) {
            assert_eq!(source.r#type, "prometheus", "{title}");
            assert_eq!(source.uid, "${datasource}", "{title}");
        }
        let names: Vec<&str> = panel.targets.iter().map(|one| &*one.ref_id).collect();
        assert!(!names.is_empty() && is_distinct(&names), "{title}");
        assert!(
            panel
                .targets
                .iter()
                .all(|one| !one.legend_format.is_empty())
        );
    }
}

#[test]
fn each_query_of_the_dashboard_names_metrics_that_exist() {
    let dashboard: Dashboard = serde_json::from_str(DASHBOARD).expect("as the schema says");
    let targets = dashboard.panels.iter().flat_map(|panel| &panel.targets);
    for Target { expr, .. } in targets {
        let names = names_in(expr);
        assert!(!names.is_empty(), "{expr}");
        for name in names {
            assert!(exists(name), "{expr}: there is no metric {name}");
        }
    }
    let histogram = "wasgi_http_request_duration_seconds";
    assert!(!exists(histogram), "it has no such series");
    assert!(exists(&format!("{histogram}_bucket")));
    assert!(!exists("wasgi_http_requests"));
}

#[test]
fn each_metric_is_on_the_dashboard_or_says_nothing_over_time() {
    const WITHOUT: [&str; 4] = [
        "wasgi_build_info",
        "wasgi_handler_info",
        "wasgi_ready",
        "wasgi_processes",
    ];
    for metric in METRICS {
        let name = metric.full_name();
        let is_shown = names_in(DASHBOARD).iter().any(|one| one.starts_with(&name));
        assert_ne!(is_shown, WITHOUT.contains(&&*name), "{name}");
    }
}

#[test]
fn each_alert_names_metrics_that_exist() {
    let names: Vec<&str> = names_in(ALERTS);
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(exists(name), "there is no metric {name}");
    }
}
