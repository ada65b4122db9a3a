//! The plot of a soak, as SVG: memory, descriptors and latencies over time.

use std::fmt::Write;

use super::report::{Figures, ms};

const WIDTH: f64 = 760.0;
/// The left edge of the lines. The labels of the vertical axis are to the left of it.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const HEIGHT: f64 = 150.0;
/// The height of the latencies, which have more lines.
const LATENCY_HEIGHT: f64 = 260.0;
const TITLE: f64 = 26.0;
const ROW: f64 = 18.0;
/// The space for the labels of the horizontal axis, and to the next diagram.
const BOTTOM: f64 = 40.0;
/// The entries of a legend in one row.
const LEGEND_COLUMNS: usize = 3;

/// Colours that are readable on light and dark pages.
const COLOURS: [&str; 9] = [
    "#c2410c", "#0891b2", "#65a30d", "#9333ea", "#db2777", "#ca8a04", "#2563eb", "#0d9488",
    "#78716c",
];

const MIB: f64 = 1024.0 * 1024.0;

/// A line of a diagram: a value for each point in time.
struct Line {
    name: String,
    values: Vec<f64>,
}

/// A diagram: lines with a common vertical axis.
struct Diagram {
    title: &'static str,
    lines: Vec<Line>,
    height: f64,
    axis: Axis,
}

/// A vertical axis, with its marks.
enum Axis {
    /// From zero to a maximum.
    Linear(f64),
    /// Powers of ten, from the first to the last exponent.
    Decades(i32, i32),
}

/// Draws the figures of equal parts of the time, which took `minutes` in total.
pub(super) fn svg(parts: &[Figures], minutes: f64) -> String {
    let mut body = String::new();
    let mut top = 8.0;
    for diagram in [memory(parts), descriptors(parts), latencies(parts)] {
        top = diagram.draw(&mut body, top, minutes);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" \
         height=\"{top}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#888\">\n{body}</svg>\n"
    )
}

fn memory(parts: &[Figures]) -> Diagram {
    let line = |name: &str, value: fn(&Figures) -> f64| Line::new(name, parts.iter().map(value));
    Diagram::linear(
        "Memory in MiB",
        vec![
            line("the server, resident", |part| part.resident / MIB),
            line("with compiling processes, proportional", |part| {
                part.proportional / MIB
            }),
        ],
    )
}

fn descriptors(parts: &[Figures]) -> Diagram {
    let line = |name: &str, value: fn(&Figures) -> f64| Line::new(name, parts.iter().map(value));
    Diagram::linear(
        "Descriptors and threads of the server",
        vec![
            line("descriptors", |part| part.descriptors),
            line("threads", |part| part.threads),
        ],
    )
}

fn latencies(parts: &[Figures]) -> Diagram {
    let count = parts.first().map_or(0, |part| part.latencies.len());
    let line = |at: usize| {
        let loads = parts.iter().filter_map(|part| part.latencies.get(at));
        let name = loads.clone().next().map_or("", |load| load.name);
        Line::new(name, loads.map(|load| ms(load.p99)))
    };
    let lines: Vec<Line> = (0..count).map(line).collect();
    let values = || lines.iter().flat_map(|line| &line.values).copied();
    let least = values().filter(|value| *value > 0.0).fold(1.0, f64::min);
    let most = values().fold(1.0, f64::max);
    let axis = Axis::Decades(least.log10().floor() as i32, most.log10().ceil() as i32);
    Diagram {
        title: "Latency in ms, 99th percentile",
        axis,
        lines,
        height: LATENCY_HEIGHT,
    }
}

impl Line {
    fn new(name: &str, values: impl Iterator<Item = f64>) -> Self {
        Self {
            name: name.to_owned(),
            values: values.collect(),
        }
    }
}

impl Diagram {
    fn linear(title: &'static str, lines: Vec<Line>) -> Self {
        let values = lines.iter().flat_map(|line| &line.values);
        let most = values.copied().fold(1.0, f64::max);
        Self {
            title,
            lines,
            height: HEIGHT,
            axis: Axis::Linear(round_up(most)),
        }
    }

    /// Draws the diagram and returns the position of the next one.
    fn draw(&self, svg: &mut String, top: f64, minutes: f64) -> f64 {
        let mut put = |text: String| {
            svg.push_str(&text);
            svg.push('\n');
        };
        put(text(
            8.0,
            top + 16.0,
            "start",
            " font-weight=\"bold\"",
            self.title,
        ));
        let columns = (WIDTH - LEFT) / LEGEND_COLUMNS as f64;
        for (index, (line, colour)) in self.lines.iter().zip(COLOURS).enumerate() {
            let x = LEFT + (index % LEGEND_COLUMNS) as f64 * columns;
            let y = top + TITLE + (index / LEGEND_COLUMNS) as f64 * ROW + 8.0;
            put(format!(
                "<path d=\"M{x:.1} {y:.1}h14\" stroke=\"{colour}\" stroke-width=\"3\"/>"
            ));
            put(text(x + 20.0, y + 4.0, "start", "", &line.name));
        }
        let rows = self.lines.len().div_ceil(LEGEND_COLUMNS) as f64;
        let top = top + TITLE + rows * ROW + 8.0;
        let bottom = top + self.height;
        for (value, label) in self.axis.marks() {
            let y = bottom - self.axis.share(value) * self.height;
            let end = WIDTH - RIGHT;
            put(format!(
                "<path d=\"M{LEFT} {y:.1}H{end}\" stroke=\"#888\" stroke-opacity=\"0.3\"/>"
            ));
            put(text(LEFT - 6.0, y + 4.0, "end", "", &label));
        }
        for sixth in 0..=6 {
            let share = f64::from(sixth) / 6.0;
            let minute = share * minutes;
            let label = if minutes < 6.0 || minute.fract() > 0.05 {
                format!("{minute:.1} min")
            } else {
                format!("{minute:.0} min")
            };
            let x = LEFT + share * (WIDTH - LEFT - RIGHT);
            let anchor = if sixth == 6 { "end" } else { "middle" };
            put(text(x, bottom + 18.0, anchor, "", &label));
        }
        for (line, colour) in self.lines.iter().zip(COLOURS) {
            put(format!(
                "<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
                self.path(line, bottom)
            ));
        }
        bottom + BOTTOM
    }

    /// Returns the path of a line: each value is in the middle of its part of the time.
    fn path(&self, line: &Line, bottom: f64) -> String {
        let mut path = String::new();
        let step = (WIDTH - LEFT - RIGHT) / line.values.len().max(1) as f64;
        for (index, value) in line.values.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let x = LEFT + (index as f64 + 0.5) * step;
            let y = bottom - self.axis.share(*value) * self.height;
            // Writing to a string can't fail.
            let _ = write!(path, "{command}{x:.1} {y:.1}");
        }
        path
    }
}

impl Axis {
    /// Returns the position of a value, from 0 at the bottom to 1 at the top.
    fn share(&self, value: f64) -> f64 {
        let share = match *self {
            Self::Linear(most) => value / most,
            Self::Decades(first, last) => {
                let decades = f64::from((last - first).max(1));
                (value.max(f64::MIN_POSITIVE).log10() - f64::from(first)) / decades
            }
        };
        share.clamp(0.0, 1.0)
    }

    fn marks(&self) -> Vec<(f64, String)> {
        match *self {
            Self::Linear(most) => {
                let quarters = (0..=4).map(|quarter| most * f64::from(quarter) / 4.0);
                quarters.map(|value| (value, format!("{value}"))).collect()
            }
            Self::Decades(first, last) => {
                let values = (first..=last.max(first + 1)).map(|exponent| 10_f64.powi(exponent));
                values.map(|value| (value, format!("{value}"))).collect()
            }
        }
    }
}

/// Returns a round number, of which a quarter is round too, that is not less than a value.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0].map(|step| step * power);
    let least = steps.into_iter().find(|step| *step >= value);
    least.unwrap_or(value)
}

fn text(x: f64, y: f64, anchor: &str, attributes: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{attributes}>{text}</text>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagram(values: &[f64]) -> Diagram {
        Diagram::linear("a & b", vec![Line::new("a<b", values.iter().copied())])
    }

    #[test]
    fn a_value_has_its_share_of_the_height() {
        let diagram = diagram(&[0.0, 50.0, 100.0]);
        let path = diagram.path(&diagram.lines[0], 200.0);
        assert_eq!(path, "M177.3 200.0L404.0 125.0L630.7 50.0");
        let decades = Axis::Decades(-1, 2);
        assert_eq!((decades.share(0.1), decades.share(100.0)), (0.0, 1.0));
        assert!((decades.share(1.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(decades.marks().len(), 4);
    }

    #[test]
    fn the_maximum_of_an_axis_is_round() {
        for (value, rounded) in [(1.0, 1.0), (57.3, 60.0), (81.0, 100.0), (150.0, 200.0)] {
            assert!((round_up(value) - rounded).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn text_is_no_markup_and_diagrams_are_below_each_other() {
        let mut svg = String::new();
        let next = diagram(&[1.0]).draw(&mut svg, 8.0, 60.0);
        assert!(
            svg.contains(">a &amp; b<") && svg.contains(">a&lt;b<"),
            "{svg}"
        );
        assert!(svg.contains(">60 min<"), "{svg}");
        assert!((next - (8.0 + TITLE + ROW + 8.0 + HEIGHT + BOTTOM)).abs() < 1e-9);
    }

    #[test]
    fn figures_without_values_are_drawn() {
        assert!(svg(&[], 1.0).starts_with("<svg "));
        assert!(!svg(&[Figures::default()], 1.0).contains("NaN"));
    }
}
