//! The plot: one bar for each ratio, as SVG.

use std::fmt::Write;

use super::table::Bar;

const WIDTH: f64 = 760.0;
/// The left edge of the bars. The labels are to the left of it.
const LEFT: f64 = 250.0;
/// The space for the figures to the right of the bars.
const RIGHT: f64 = 70.0;
const ROW: f64 = 22.0;
const TITLE: f64 = 34.0;

/// The bars of one case.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

/// Draws the groups below each other, each with its own scale from zero.
pub(super) fn svg(groups: &[Group]) -> String {
    let mut body = String::new();
    let mut top = 8.0;
    for group in groups.iter().filter(|group| !group.bars.is_empty()) {
        top = draw(&mut body, group, top);
    }
    // The colours are readable on light and dark pages.
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" \
         height=\"{top}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#888\">\n{body}</svg>\n"
    )
}

/// Draws a group and returns the position of the next one.
fn draw(svg: &mut String, group: &Group, top: f64) -> f64 {
    let most = group.bars.iter().map(|bar| bar.range.1.max(bar.value));
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let scale = |value: f64| value / most * (WIDTH - LEFT - RIGHT);
    let mut line = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    line(format!(
        "<text x=\"8\" y=\"{:.1}\" font-weight=\"bold\">{}</text>",
        top + 18.0,
        escape(&group.title)
    ));
    let mut row = top + TITLE;
    for bar in &group.bars {
        let color = if bar.label.starts_with("wasgi") {
            "#c2410c"
        } else {
            "#64748b"
        };
        let (middle, end) = (row + 11.0, LEFT + scale(bar.range.1.max(bar.value)));
        line(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            middle + 4.0,
            escape(&bar.label)
        ));
        line(format!(
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{color}\"/>",
            row + 4.0,
            scale(bar.value)
        ));
        line(format!(
            "<path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#a8a29e\" stroke-width=\"2\"/>",
            LEFT + scale(bar.range.0),
            LEFT + scale(bar.range.1)
        ));
        line(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\">{:.2}</text>",
            end + 6.0,
            middle + 4.0,
            bar.value
        ));
        row += ROW;
    }
    row + 10.0
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        let written = match c {
            '<' => escaped.write_str("&lt;"),
            '&' => escaped.write_str("&amp;"),
            other => escaped.write_char(other),
        };
        // Writing to a string can't fail.
        let _ = written;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(values: &[f64]) -> Group {
        let bar = |&value: &f64| Bar {
            label: format!("a<{value}"),
            value,
            range: (value, value),
        };
        Group {
            title: "this & that".to_owned(),
            bars: values.iter().map(bar).collect(),
        }
    }

    #[test]
    fn the_longest_bar_has_the_whole_width_and_the_others_their_part() {
        let svg = svg(&[group(&[1.0, 0.25])]);
        assert!(svg.contains("width=\"440.0\" height=\"14\""), "{svg}");
        assert!(svg.contains("width=\"110.0\" height=\"14\""), "{svg}");
    }

    #[test]
    fn text_is_no_markup() {
        let svg = svg(&[group(&[1.0])]);
        assert!(
            svg.contains(">this &amp; that<") && svg.contains(">a&lt;1<"),
            "{svg}"
        );
    }

    #[test]
    fn groups_are_below_each_other_and_empty_ones_left_out() {
        let one = svg(&[group(&[1.0])]);
        assert_eq!(svg(&[group(&[1.0]), group(&[])]), one);
        assert!(svg(&[group(&[1.0]), group(&[1.0])]).contains("viewBox=\"0 0 760 140\""));
    }
}
