//! Pictures in SVG.

use std::fmt::Write as _;

const ROW: usize = 26;
const LABELS: usize = 320;
const BARS: usize = 480;

/// Labelled horizontal bars below a title.
pub(super) fn bars(title: &str, bars: &[(String, f64)]) -> String {
    let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let (width, height) = (LABELS + BARS + 100, ROW * (bars.len() + 2));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n<text x=\"10\" y=\"{ROW}\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    for (place, (label, value)) in bars.iter().enumerate() {
        let y = ROW * (place + 2) - ROW / 2;
        let length = if most > 0.0 {
            value / most * BARS as f64
        } else {
            0.0
        };
        let fill = if label.starts_with("full") {
            "#9aa5b1"
        } else {
            "#2f6fb7"
        };
        let text = y + ROW / 2;
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text><rect x=\"{LABELS}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{fill}\"/><text x=\"{:.1}\" y=\"{text}\">{value:.1}</text>",
            LABELS - 8,
            escaped(label),
            y - 1,
            ROW - 8,
            LABELS as f64 + length + 6.0,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Operations of one stream.
pub(super) struct Lane {
    pub(super) name: String,
    /// Label, begin and end.
    pub(super) bars: Vec<(String, f64, f64)>,
}

/// Lanes that have their time in common.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) lanes: Vec<Lane>,
}

const CHART: usize = 900;
const MARGIN: usize = 70;
/// Width of a letter of a label, about.
const LETTER: f64 = 7.0;
const COLOURS: [&str; 12] = [
    "#2f6fb7", "#5b9bd5", "#8a96a3", "#d98f3a", "#6a9c55", "#b56576", "#6d597a", "#3d8b8b",
    "#a68a64", "#c1666b", "#4f7cac", "#7b9e3d",
];

/// Panels of lanes one below the other, all to the same scale.
pub(super) fn gantt(title: &str, panels: &[Panel]) -> String {
    let bars = || {
        let lanes = panels.iter().flat_map(|panel| &panel.lanes);
        lanes.flat_map(|lane| &lane.bars)
    };
    let most = bars().map(|(_, _, end)| *end).fold(0.0, f64::max);
    let scale = if most > 0.0 { CHART as f64 / most } else { 0.0 };
    // Equal names have equal colours.
    let mut names: Vec<&str> = bars().map(|(name, ..)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let colour = |name: &str| {
        let place = names.iter().position(|own| *own == name).unwrap_or(0);
        COLOURS[place % COLOURS.len()]
    };
    let lines: usize = panels.iter().map(|panel| panel.lanes.len() + 2).sum();
    let (width, height) = (MARGIN + CHART + 20, ROW * (lines + 2));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n<text x=\"10\" y=\"{ROW}\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    let mut y = 2 * ROW;
    for panel in panels {
        let lanes = panel.lanes.iter().flat_map(|lane| &lane.bars);
        let end = lanes.map(|(_, _, end)| *end).fold(0.0, f64::max);
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{y}\" font-size=\"13\">{}: {end:.0}</text>",
            escaped(&panel.title)
        );
        for lane in &panel.lanes {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                MARGIN - 8,
                y + 24,
                escaped(&lane.name)
            );
            for (name, begin, end) in &lane.bars {
                let (x, length) = (MARGIN as f64 + begin * scale, (end - begin) * scale);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\" stroke=\"white\" stroke-width=\"0.5\"><title>{}: {:.1}</title></rect>",
                    y + 9,
                    ROW - 4,
                    colour(name),
                    escaped(name),
                    end - begin,
                );
                // What has no room for its name has it where the pointer is.
                if name.len() as f64 * LETTER < length {
                    let _ = writeln!(
                        svg,
                        "<text x=\"{:.1}\" y=\"{}\" fill=\"white\">{}</text>",
                        x + 3.0,
                        y + 24,
                        escaped(name)
                    );
                }
            }
            y += ROW;
        }
        y += 2 * ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_has_the_whole_width() {
        let picture = bars("a < b", &[("full".to_owned(), 2.0), ("x".to_owned(), 4.0)]);
        assert!(picture.contains("a &lt; b"));
        assert!(picture.contains("width=\"240.0\"") && picture.contains("width=\"480.0\""));
        assert_eq!(bars("", &[("x".to_owned(), 0.0)]).matches("NaN").count(), 0);
    }

    #[test]
    fn lanes_share_a_scale() {
        let bar = |name: &str, begin, end| (name.to_owned(), begin, end);
        let lane = |name: &str, bars| Lane {
            name: name.to_owned(),
            bars,
        };
        let panel = Panel {
            title: "a".to_owned(),
            lanes: vec![
                lane("main", vec![bar("x", 0.0, 1.0), bar("y", 1.0, 4.0)]),
                lane("fetch", vec![bar("<z>", 1.0, 2.0)]),
            ],
        };
        let picture = gantt("t", &[panel]);
        assert_eq!(picture.matches("width=\"225.0\"").count(), 2);
        assert_eq!(picture.matches("width=\"675.0\"").count(), 1);
        assert!(picture.contains("&lt;z&gt;: 1.0</title>"));
        assert!(!gantt("", &[]).contains("NaN"));
    }
}
