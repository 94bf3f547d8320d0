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
}
