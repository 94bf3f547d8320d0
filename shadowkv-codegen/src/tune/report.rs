//! A page about a tuning: what was tried of every kernel, what was chosen, and what limits it.

use std::fmt::Write as _;

use super::correlation::{agreement, counterpart};
use super::file::{Entry, Tried, TunedKernel, Tuning};
use crate::report::tile;

/// Width and height of a picture, and the room for its axes.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 220.0;
const MARGIN: f64 = 48.0;

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:64em;padding:0 1em}\
table{border-collapse:collapse}td,th{padding:.15em .6em;text-align:right;border-bottom:1px solid #ddd}\
td:first-child,th:first-child,td.l{text-align:left}section{margin:2em 0}svg{background:#fafafa;border:1px solid #ddd}\
code{font-size:12px}";

/// The page, whole in itself: pictures are inline, and nothing is fetched. The same tunings give the same bytes.
pub fn html(tunings: &[Tuning]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tuning</title><style>{STYLE}</style></head><body>\n"
    );
    for tuning in tunings {
        let _ = writeln!(page, "<h1>{}</h1>", escaped(&tuning.package));
        for entry in &tuning.entries {
            entry_section(&mut page, tuning, entry);
        }
    }
    page.push_str("</body></html>\n");
    page
}

fn entry_section(page: &mut String, tuning: &Tuning, entry: &Entry) {
    let Entry {
        arch,
        size,
        judge,
        device,
        compiler,
        stated_error,
        ..
    } = entry;
    let _ = writeln!(
        page,
        "<h2>{arch}: {judge} ({})</h2>\n<p>Batch {} at {} tokens, {} % of the selected chunks missing; NVRTC {}.{}. A tile replaces the \
         default if it is more than {:.0} % faster, the judge's stated error, and passes its cases on the emulated GPU.{}</p>",
        escaped(device),
        size.batch,
        size.context,
        size.misses,
        compiler.0,
        compiler.1,
        stated_error * 100.0,
        if entry.complete {
            ""
        } else {
            " The search was cut short by its budget."
        },
    );
    let other = counterpart(&tuning.entries, entry);
    for kernel in &entry.kernels {
        let counterpart =
            other.and_then(|other| other.kernels.iter().find(|own| own.kernel == kernel.kernel));
        kernel_section(page, kernel, counterpart);
    }
}

fn kernel_section(page: &mut String, kernel: &TunedKernel, other: Option<&TunedKernel>) {
    let _ = writeln!(page, "<section><h3>{}</h3>", escaped(&kernel.kernel));
    page.push_str(&picture(kernel));
    let verdict = if kernel.chosen == kernel.heuristic {
        "the default tile stays".to_owned()
    } else {
        "the default tile is replaced".to_owned()
    };
    let seconds = kernel.seconds().map_or(String::new(), |(default, chosen)| {
        format!(
            ": {:.2} µs, and {:.2} µs with the default",
            chosen * 1e6,
            default * 1e6
        )
    });
    let limiter = kernel.tried(&kernel.chosen).and_then(|tried| tried.limiter);
    let limiter = limiter.map_or(String::new(), |limiter| {
        format!("; limited by {}", limiter.name())
    });
    let _ = writeln!(
        page,
        "<p>{} combinations, {} valid, {} compiled, {} judged at {} tokens: {verdict}{seconds}{limiter}.<br><code>{}</code></p>",
        kernel.combinations,
        kernel.valid,
        kernel.candidates.len(),
        judged(kernel).count(),
        kernel.tokens,
        escaped(&tile(&kernel.chosen, &kernel.heuristic)),
    );
    if let Some(other) = other {
        let (tiles, correlation) = agreement(kernel, other);
        let correlation = correlation.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let _ = writeln!(
            page,
            "<p>Rank correlation of the two judges over {tiles} tiles: {correlation}.</p>"
        );
    }
    page.push_str("<table><tr><th>tile</th><th>µs</th><th>limited by</th><th>registers</th><th>shared</th><th>warps/SM</th><th>refused</th></tr>\n");
    for tried in &kernel.candidates {
        let _ = writeln!(
            page,
            "<tr><td class=\"l\"><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"l\">{}</td></tr>",
            escaped(&tile(&tried.tile, &kernel.heuristic)),
            tried
                .seconds
                .map_or("-".to_owned(), |seconds| format!("{:.2}", seconds * 1e6)),
            tried
                .limiter
                .map_or("-", shadowkv_runtime::cost::Limiter::name),
            tried.registers,
            tried.shared_bytes,
            tried.warps_per_sm,
            escaped(tried.refused.as_deref().unwrap_or("")),
        );
    }
    page.push_str("</table></section>\n");
}

fn judged(kernel: &TunedKernel) -> impl Iterator<Item = (&Tried, f64)> {
    kernel
        .candidates
        .iter()
        .filter_map(|tried| tried.seconds.map(|seconds| (tried, seconds)))
}

/// Candidates by bytes (or, where nobody counted them, by resident warps) and time.
fn picture(kernel: &TunedKernel) -> String {
    let by_bytes = judged(kernel).all(|(tried, _)| tried.bytes.is_some());
    let across = |tried: &Tried| match tried.bytes {
        Some(bytes) if by_bytes => bytes as f64 / 1e6,
        _ => f64::from(tried.warps_per_sm),
    };
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((0.0, 0.0_f64), |(least, most): (f64, f64), value| {
            (least, most.max(value))
        })
    };
    let (_, most_across) = range(&mut judged(kernel).map(|(tried, _)| across(tried)));
    let (_, most_up) = range(&mut judged(kernel).map(|(_, seconds)| seconds * 1e6));
    let x = |value: f64| MARGIN + value / most_across.max(1e-9) * (WIDTH - 1.4 * MARGIN);
    let y =
        |value: f64| HEIGHT - MARGIN * 0.8 - value / most_up.max(1e-9) * (HEIGHT - 1.3 * MARGIN);
    let mut svg = format!(
        "<svg role=\"img\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-size=\"11\">\
         <path d=\"M{0} {1}V{2}H{3}\" fill=\"none\" stroke=\"#888\"/>\
         <text x=\"{4}\" y=\"{5}\" text-anchor=\"middle\">{6}, up to {most_across:.3}</text>\
         <text x=\"4\" y=\"14\">µs, up to {most_up:.2}</text>\n",
        MARGIN,
        MARGIN * 0.4,
        HEIGHT - MARGIN * 0.8,
        WIDTH - MARGIN * 0.4,
        WIDTH / 2.0,
        HEIGHT - 10.0,
        if by_bytes {
            "MB asked of memory"
        } else {
            "warps on a multiprocessor"
        },
    );
    for (tried, seconds) in judged(kernel) {
        let (colour, radius) = if tried.tile == kernel.chosen {
            ("#c22", 5.0)
        } else if tried.tile == kernel.heuristic {
            ("#26c", 5.0)
        } else if tried.refused.is_some() {
            ("#bbb", 3.5)
        } else {
            ("#777", 3.5)
        };
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\" fill=\"{colour}\" fill-opacity=\".7\"><title>{}: {:.2} µs</title></circle>",
            x(across(tried)),
            y(seconds * 1e6),
            escaped(&tile(&tried.tile, &kernel.heuristic)),
            seconds * 1e6,
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{0}\" y=\"14\" text-anchor=\"end\"><tspan fill=\"#c22\">chosen</tspan> <tspan fill=\"#26c\">default</tspan> others</text></svg>",
        WIDTH - 8.0
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
