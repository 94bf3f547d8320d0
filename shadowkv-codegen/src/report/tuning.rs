//! What a tuning came to, for people.

use shadowkv_runtime::cost::Limiter;

use super::table;
use crate::plan::Tile;
use crate::tune::{Entry, TunedKernel};

/// What became of every kernel of an entry.
pub fn tuning_table(entry: &Entry) -> String {
    let header = [
        "kernel",
        "tokens",
        "default us",
        "best us",
        "best / default",
        "chosen",
        "limited by",
        "tried",
        "valid",
        "tile",
    ];
    table(&[0, 5, 6, 9], &header, entry.kernels.iter().map(row))
}

fn row(kernel: &TunedKernel) -> Vec<String> {
    let default = kernel.tried(&kernel.heuristic);
    let seconds = default.and_then(|tried| tried.seconds);
    let best = kernel
        .candidates
        .iter()
        .find(|tried| tried.refused.is_none());
    let best = best.and_then(|tried| tried.seconds);
    let micros = |seconds: Option<f64>| {
        seconds.map_or("-".to_owned(), |seconds| format!("{:.2}", seconds * 1e6))
    };
    let ratio = seconds.zip(best).map_or("-".to_owned(), |(default, best)| {
        format!("{:.2}", best / default)
    });
    let chosen = kernel.tried(&kernel.chosen);
    let judged = kernel
        .candidates
        .iter()
        .filter(|tried| tried.seconds.is_some())
        .count();
    vec![
        kernel.kernel.clone(),
        kernel.tokens.to_string(),
        micros(seconds),
        micros(best),
        ratio,
        if kernel.chosen == kernel.heuristic {
            "default"
        } else {
            "tuned"
        }
        .to_owned(),
        chosen
            .and_then(|tried| tried.limiter)
            .map_or("-", Limiter::name)
            .to_owned(),
        format!("{judged}/{}", kernel.candidates.len()),
        kernel.valid.to_string(),
        tile(&kernel.chosen, &kernel.heuristic),
    ]
}

/// A tile's values; those that differ from the default's with the latter behind them.
pub fn tile(tile: &Tile, default: &Tile) -> String {
    let field = |(name, value): (&String, &u32)| match default.get(name) {
        Some(other) if other != value => format!("{name} {value} ({other})"),
        _ => format!("{name} {value}"),
    };
    tile.iter().map(field).collect::<Vec<_>>().join(", ")
}
